"""`unclip inspect`."""
# Without `from __future__ import annotations`: see `_options`.

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UnclipError, UsageError
from ._options import Command
from ._result import report
from ._terminal import complain, say

if TYPE_CHECKING:
    from ..parameters import Parameters
    from ..record import Record


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", cls=Command)(Inspect)


@dataclass(frozen=True)
class Inspect:
    """Show what pictures say of how they were made.

    That is the record of `unclip`, and the parameters that Stable Diffusion web UI, ComfyUI or
    NovelAI wrote.

    \b
    Examples:
      unclip inspect a-red-car-7.png
      unclip inspect others/*.png
    """

    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="PNG, WebP or JPEG pictures.")]

    def run(self) -> None:
        """A block of lines for each; one that cannot be read is named, and the others follow."""
        failed = False
        for file in self.files:
            try:
                _inspect(file)
            except UnclipError as error:
                if len(self.files) == 1:
                    raise
                failed = True
                complain(str(error))
        if failed:
            raise typer.Exit(1)


def _inspect(file: Path) -> None:
    from ..media import read_image_and_notes
    from ..parameters import Parameters
    from ..record import Record

    picture, notes, kind = read_image_and_notes(file)
    try:
        record = Record.parse(notes["unclip"]) if "unclip" in notes else None
        parameters = Parameters.in_notes(notes)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    say(f"{file}: {kind}, {picture.width}×{picture.height}")
    told = {"file": file, "format": kind, "size": (picture.height, picture.width)}
    own = {"record": record and json.loads(record.to_json())}
    own["parameters"] = parameters and _of_parameters(parameters)
    report(pictures=[told | own])
    if record is not None:
        _show(f"record of unclip {record.version}", _of_record(record))
    if parameters is not None:
        _show(f"parameters as {parameters.program} writes them", _of_parameters(parameters))
    if record is None and parameters is None:
        say("  no record, and no parameters of a program known here")


def _show(title: str, values: Mapping[str, Any]) -> None:
    say(f"  {title}")
    for name, value in values.items():
        first, *more = str(value).split("\n")
        say(f"    {name:<16} {first}")
        for line in more:
            say(f"    {'':<16} {line}")


def _of_record(record: "Record") -> dict[str, Any]:
    """By name; what is empty is left out."""
    values = {"ability": record.ability, "prompt": record.prompt, "seed": record.seed}
    values |= {"pictures": record.n} if record.n > 1 else {}
    values |= {f"made of {name}": text for name, text in record.inputs.items()}
    values |= record.settings
    values["model"] = f"{record.model} ({record.model_hash})"
    for one in record.added:
        scale = f", scale {one.scale:g}" if one.kind == "lora" else ""
        values[f"{one.kind} {one.name}"] = f"{one.hash}{scale}"
    return {name: value for name, value in values.items() if value != ""}


def _of_parameters(parameters: "Parameters") -> dict[str, Any]:
    return dict(_known(parameters)) | dict(parameters.others)


def _known(parameters: "Parameters") -> Iterator[tuple[str, Any]]:
    names = ("prompt", "negative_prompt", "seed", "steps", "sampler", "spacing", "guidance_scale")
    for name in (*names, "model", "model_hash"):
        if (value := getattr(parameters, name)) not in (None, ""):
            yield name.replace("_", " "), value
    if parameters.size is not None:
        yield "size", f"{parameters.size[1]}×{parameters.size[0]}"

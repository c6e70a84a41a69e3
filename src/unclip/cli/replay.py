"""`unclip replay`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._version import __version__
from ..errors import UsageError
from ._chosen import BUNDLED, Chosen, choosing
from ._terminal import complain, say

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..request import Record


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(replay))


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE.png", help="A PNG that unclip made.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR/|-",
            help="Where the new picture goes; - is stdout.",
            show_default="FILE-replay.png in this folder",
        ),
    ] = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Make a picture again from its record, and compare the two.

    Exits with 0 where they are identical to the pixel, with 1 where they are not: another
    device, number format or number of threads may round differently, another model draws
    something else.

    \b
    Examples:
      unclip replay a-red-car-7.png
      unclip replay out.png -o again.png --model runs/mine/model
    """
    from ._draw import drawing
    from ._output import Target, as_one, shortened

    old, record = _read(file)
    if record.unknown:
        names = ", ".join(record.unknown)
        later = "a later version's, left out" if record.version != __version__ else "left out"
        complain(f"{file}: its record has what is not known here ({later}): {names}", "warning")
    asked = _replayable(record, file)
    name = f"{shortened(file.stem, 200)}-replay"
    target = Target.default(name) if output is None else Target.of(output)
    if target.is_folder:
        path = target.path / f"{name}.png"
        target = replace(target, path=path, is_folder=False, gives_way=True)
    target.check()
    pipe = chosen.load(None if chosen.model else _model_of(record))
    if pipe.hash != record.model_hash:
        complain(
            f"{file} was drawn by model '{record.model}' ({record.model_hash}), "
            f"this is '{pipe.name}' ({pipe.hash})",
            "warning",
        )
    with drawing(pipe, lambda cost: target.expect(cost, lambda _: [name])) as on_step:
        new = as_one(pipe.generate(**asked, on_step=on_step))
    where = target.write([new], [name], lambda: new)
    difference = _difference(old, new)
    say(f"{where}: {difference or 'identical to'} {file}", err=target.is_stdout)
    if difference:
        _say_threads(record)
        raise typer.Exit(1)


def _say_threads(record: Record) -> None:
    """Sums are added up in another order by another number of threads."""
    import torch

    here = torch.get_num_threads()
    if record.threads not in (0, here):
        complain(
            f"it was drawn with {record.threads} threads, this one with {here}: "
            f"try OMP_NUM_THREADS={record.threads}",
            "warning",
        )


def _read(file: Path) -> tuple[Image, Record]:
    """A picture and its record. Raises UsageError."""
    from ..media import read_image_and_record
    from ..request import Record

    picture, record = read_image_and_record(file)
    if record is not None:
        picture.info["unclip"] = record
    try:
        return picture, Record.of(picture)
    except UsageError as error:
        raise UsageError(f"{file}: {error}; only PNGs made by `unclip generate` do") from None


def _replayable(record: Record, file: Path) -> dict[str, Any]:
    """The arguments of `generate`. Raises UsageError."""
    from ..abilities.generate import GenerateRequest
    from ..facade import Pipeline
    from ._draw import check_settings

    if record.ability != "generate":
        command = _COMMANDS.get(record.ability, record.ability)
        inputs = record.inputs if isinstance(record.inputs, dict) else {}
        source = ", ".join(f"{name} {value}" for name, value in inputs.items())
        raise UsageError(
            f"{file} was made by `unclip {command}`{source and ' from ' + source}: "
            "give that command the same again; only pictures of `unclip generate` are replayed"
        )
    settings, own = dict(record.settings), ("prior", "best_of", "negative_prompt")
    asked = {"prompt": record.prompt, "n": record.n, "seed": record.seed}
    asked |= {name: settings.pop(name) for name in own if name in settings}
    try:
        check_settings(Pipeline.generate, settings)
        GenerateRequest.of(**asked, settings=settings)
    except UsageError as error:
        raise UsageError(f"{file}: its record cannot be followed: {error}") from None
    return settings | asked


_COMMANDS = {"image_to_image": "img2img"}
"""Abilities whose command has another name."""


def _model_of(record: Record) -> str:
    """The bundled model that made a picture, by hash, else by name. Raises UsageError."""
    from ..checkpoints.native import read_manifest
    from ..loading import bundled_models

    bundled = {name: read_manifest(folder) for name, folder in bundled_models().items()}
    for name, manifest in bundled.items():
        if manifest.hash == record.model_hash:
            return name
    for name, manifest in bundled.items():
        if record.model in (name, manifest.name):
            return name
    raise UsageError(
        f"the picture was drawn by model '{record.model}' ({record.model_hash}), which is not "
        "bundled: give its folder with --model"
    )


def _difference(old: Image, new: Image) -> str:
    """Empty where two pictures are the same, else what differs, to be followed by a name."""
    import numpy as np

    if old.size != new.size:
        return f"{new.width}×{new.height}, not {old.width}×{old.height} as"
    gap = np.abs(np.asarray(old, np.int16) - np.asarray(new.convert("RGB"), np.int16)).max(-1)
    if not gap.any():
        return ""
    share = 100 * (gap > 0).mean()
    return f"{share:.1f} % of the pixels differ, by at most {gap.max()} of 255, from"

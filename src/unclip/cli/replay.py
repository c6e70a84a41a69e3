"""`unclip replay`."""
# Without `from __future__ import annotations`: see `_options`.

import io
import os
import random
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .._version import __version__
from ..bulk.layout import Layout
from ..bulk.names import shortened
from ..errors import SettingWarning, UsageError, counted
from ._draw import deliver, drawing
from ._fields import argument, fields_of, pictures_of
from ._options import LIMITS, Command, ModelOptions, NoLimit, StrictWords, option
from ._output import SEVERAL, Target
from ._redraw import AS, hint, others_parameters, others_request
from ._result import report
from ._terminal import complain, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ..abilities import Ability
    from ..added import Added
    from ..record import Record
    from ..request import Drawing

HERE = "FILE-replay.png in this folder"
LOSSY = ("WEBP", "JPEG")
"""Formats of which no picture has exactly the pixels that were drawn."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay", cls=ReplayCommand)(Replay)


class ReplayCommand(Command):
    """Its model is the record's, whatever a user's default is."""

    shared_groups = (LIMITS,)


@dataclass(frozen=True)
class Replay(ModelOptions):
    """Draw a picture again from its record, and compare the two.

    The record is in every PNG, WebP and JPEG that unclip made. With `--as unclip` a picture of
    Stable Diffusion web UI, ComfyUI or NovelAI is drawn by a model of unclip, from the prompt,
    negative prompt, seed, steps, sampler and guidance that it names; a line says what else it
    names, and nothing is compared.

    A picture that was made of others needs their files too, in the order of its own command: IMAGE,
    then the file of --mask or the folder of --pictures.

    Exits with 0 if the two are identical to the pixel, else with 1: another device, number format
    or number of threads may round differently, another model draws something else.

    \b
    Examples:
      unclip replay a-red-car-7.png
      unclip replay fox-vary-7.png fox.png
      unclip replay pizza.png plate.png mask.png
      unclip replay out.png -o again.png --model runs/mine/model
      unclip replay --as unclip from-a1111.png
    """

    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A PNG, WebP or JPEG that unclip made.")
    ]
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="The files it was made of.")
    ] = None
    output: Annotated[
        str | None,
        option("-o --output", "FILE|DIR/|-", "Where the new picture goes; - is stdout.", HERE),
    ] = None
    draw_as: Annotated[
        str | None,
        option("--as", AS, "Draw what another program's picture was made of, with unclip."),
    ] = field(default=None, kw_only=True)
    strict_words: StrictWords = field(default=False, kw_only=True)
    no_limit: NoLimit = field(default=False, kw_only=True)

    def run(self) -> None:
        """Draw, write, compare."""
        from ..abilities import ability_of
        from ..media import read_image_and_notes
        from ..record import Record

        if self.draw_as not in (None, AS):
            raise UsageError(f"--as must be {AS}, got '{self.draw_as}'")
        old, notes, kind = read_image_and_notes(self.file)
        if self.draw_as and "unclip" not in notes:
            self._draw_others(notes)
            return
        try:
            record = Record.parse(notes.get("unclip"), "" if "unclip" in notes else hint(notes))
            if record.ability == "sweep":  # of several requests
                axes = " and ".join(f"{name} {values}" for name, values in record.inputs.items())
                raise UsageError(f"it is a sheet of `unclip sweep` over {axes}: sweep again")
            if record.ability == SEVERAL:
                raise UsageError("it is a sheet of several prompts: draw it again as before")
            ability = ability_of(record.ability)
            request = _request(ability, record, self.inputs or [])
        except UsageError as error:
            raise UsageError(f"{self.file} cannot be replayed: {error}") from None
        request.check_inputs()
        name = f"{shortened(self.file.stem, 200)}-replay"
        target, layout = self._target(name), Layout(request, name)
        again = replace(self, lora=_as_scaled(self.lora or [], record.added))
        pipe = again.load(None if self.model else _model_of(record))
        if lacking := _lacking(record.added, pipe.model.added):
            what = _to_give(lacking[0], pipe.model.added)
            raise UsageError(f"{self.file} was drawn with {lacking[0]}: {what}")
        self._warn(_unlike_here(record, pipe.name, pipe.hash))
        with drawing(pipe, lambda cost: target.expect(cost, layout)) as on_step, as_recorded():
            pictures = pipe.run(request, on_step)
        new = _counterpart(old, record, layout, pictures)
        where, difference = target.write([new], layout), _difference(old, _stored(new, kind))
        report(identical=not difference, difference=difference)
        how = f" (compared as {kind})" if kind in LOSSY else ""
        say(f"{where}: {difference or 'identical to'} {self.file}{how}", err=target.is_stdout)
        if difference:
            self._warn(_reasons(record, Record.of(pictures[0])))
            raise typer.Exit(1)

    def _draw_others(self, notes: "Mapping[str, str]") -> None:
        """Draw what another program says of its picture. Raises UsageError."""
        started, name = time.monotonic(), f"{shortened(self.file.stem, 200)}-replay"
        if self.inputs:
            raise UsageError(f"{self.file} is drawn from its text alone: give no INPUT")
        parameters, target = others_parameters(self.file, notes), self._target(name)
        pipe = self.load()
        request = others_request(self.file, parameters, pipe, random.randrange(2**31))
        layout = Layout(request, name)
        with drawing(pipe, lambda cost: target.expect(cost, layout)) as on_step:
            pictures = pipe.run(request, on_step)
        deliver(pictures, layout, target, layout.seeds(1), started)

    def _warn(self, texts: "Iterable[str]") -> None:
        for text in texts:
            complain(f"{self.file}{text}", "warning")

    def _target(self, name: str) -> Target:
        """A file, in the folder where that is what was asked for. Raises OutputError."""
        target = Target.default(name) if self.output is None else Target.of(self.output)
        if target.is_folder:
            path = target.path / f"{name}.png"
            target = replace(target, path=path, is_folder=False, numbered=True)
        target.check()
        return target


@contextmanager
def as_recorded() -> "Iterator[None]":
    """A record may hold settings that had no effect: nobody gave them now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SettingWarning)
        yield


def _request(ability: "Ability", record: "Record", files: "Sequence[str]") -> "Drawing":
    """What was asked for. Raises UsageError."""
    from ..abilities._recorded import words_of
    from ..request import Drawing

    if not issubclass(ability.request, Drawing):
        raise UsageError(f"'{record.ability}' draws no picture")
    fields = pictures_of(ability.request)
    known, said = fields_of(ability.request), words_of(record).items()
    words = {name: text for name, text in said if name in known and not os.path.isfile(text)}
    names = [name for name in fields if name not in words]
    if len(files) > len(names):
        raise UsageError(f"it was made of {counted(len(names), 'file')}, got {len(files)}")
    for name in names[len(files) :]:
        if fields[name].is_required():
            raise UsageError(
                f"it was made of {name} {record.inputs.get(name, '')}: add that file "
                "(unclip replay FILE INPUT)"
            )
    given = {
        name: argument(name, fields[name], file) for name, file in zip(names, files, strict=False)
    }
    return ability.request.of_record(record, **words, **given)


def _counterpart(
    old: "Image", record: "Record", layout: Layout, pictures: "Sequence[Image]"
) -> "Image":
    """What of the new pictures the old one shows: all on a sheet, or the one that is like it."""
    if len(pictures) == record.n or not layout.request.one_seed:
        return layout.make(pictures)
    return min(pictures, key=lambda one: _gaps(old, one).mean() if one.size == old.size else 256)


def _lacking(wanted: "Sequence[Added]", given: "Sequence[Added]") -> "list[Added]":
    """Files that a model was loaded with, and is not now."""
    left, lacking = list(given), []
    for one in wanted:
        found = next((other for other in left if one.same(other)), None)
        left.remove(found) if found else lacking.append(one)
    return lacking


def _as_scaled(files: "Sequence[str]", recorded: "Sequence[Added]") -> list[str]:
    """LoRA files that are given without a scale, with the one that the record has for the file."""
    from ..checkpoints.adapted import hash_of
    from ..checkpoints.lora import Lora

    scales: dict[str, list[float]] = {}
    for one in recorded:
        if one.kind == "lora":
            scales.setdefault(one.hash, []).append(one.scale)
    found = []
    for given in files:
        file = Lora.of(given).file
        left = scales.get(hash_of(file), []) if scales and str(file) == given else []
        found.append(f"{file}:{left.pop(0)!r}" if left else given)
    return found


def _to_give(lacking: "Added", given: "Sequence[Added]") -> str:
    """What to do about a file that a model was not loaded with."""
    if lacking.kind == "embedding":
        return f"give that file, as --embedding {lacking.name}=FILE"
    other = next((one for one in given if one.same(replace(lacking, scale=one.scale))), None)
    if other is not None:
        return f"give the file of {other} with that scale, or without one"
    return "give that file, as --lora FILE"


def _unlike_here(record: "Record", name: str, model_hash: str) -> "Iterator[str]":
    """What of a record is not known, or of another model than this one."""
    if record.unknown:
        later = "a later version's, left out" if record.version != __version__ else "left out"
        names = ", ".join(record.unknown)
        yield f": its record has what is not known here ({later}): {names}"
    if record.model_hash != model_hash:
        was = f"model '{record.model}' ({record.model_hash})"
        yield f" was drawn by {was}, this is '{name}' ({model_hash})"


def _reasons(old: "Record", new: "Record") -> "Iterator[str]":
    """Why two pictures may differ: other inputs, or sums that are added up in another order."""
    for name, found in new.inputs.items():
        if found != old.inputs.get(name, found):
            yield f" was made of {name} {old.inputs[name]}, this one of {found}"
    if old.threads not in (0, new.threads):
        again = f"try OMP_NUM_THREADS={old.threads}"
        threads = counted(old.threads, "thread")
        yield f" was drawn with {threads}, this one with {new.threads}: {again}"


def _model_of(record: "Record") -> str:
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


def _stored(picture: "Image", kind: str) -> "Image":
    """A picture as it is read again from a file of this kind."""
    from ..media import read_image
    from ..media.writing import encode

    if kind not in LOSSY:
        return picture
    bare, data = picture.copy(), io.BytesIO()
    bare.info = {}
    encode(bare, data, kind)
    return read_image(data)


def _gaps(old: "Image", new: "Image") -> "NDArray[np.int16]":
    """(H, W): how far apart two pictures of one size are, at the most of their channels."""
    import numpy as np

    gaps = np.asarray(old, np.int16) - np.asarray(new.convert("RGB"), np.int16)
    most: NDArray[np.int16] = np.abs(gaps).max(-1)
    return most


def _difference(old: "Image", new: "Image") -> str:
    """Empty where two pictures are the same, else what differs, to be followed by a name."""
    if old.size != new.size:
        return f"{new.width}×{new.height}, not {old.width}×{old.height} as"
    gaps = _gaps(old, new)
    if not gaps.any():
        return ""
    share = 100 * (gaps > 0).mean()
    return f"{share:.1f} % of the pixels differ, by at most {gaps.max()} of 255, from"

"""The folder in which an evaluation keeps what it has done, so that it can be broken off.

FOLDER/KEY/key.json        what was asked: KEY is its hash, so that another question starts anew
FOLDER/KEY/values.jsonl    one finished number or table a line
FOLDER/KEY/NAME.safetensors
FOLDER/KEY/NAME/000016.png sixteen drawn pictures side by side, lossless
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import DataError, OutputError, UsageError
from ..files import atomic_file, write_json
from ..media import read_image, to_uint8
from ..plain import parse_json
from .album import Album, OnProgress

CHUNK = 16
"""Pictures in a file: what a pipeline draws at once."""


class Work:
    """Finished parts of one evaluation.

    Args:
        folder: where evaluations are kept.
        key: all that the results depend on.

    Raises:
        OutputError: the folder cannot be made or written to.
        DataError: what it keeps is damaged; so do the methods.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        text = json.dumps(key, sort_keys=True, ensure_ascii=False)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
        write_json(self.folder / "key.json", dict(key))
        self._file = self.folder / "values.jsonl"
        self._values = _read_lines(self._file)

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """Plain data: what was kept under `name`, or what `make` gives, which is kept."""
        if name not in self._values:
            made = json.loads(json.dumps(make()))  # as it will be read
            line = json.dumps({"name": name, "value": made}, ensure_ascii=False)
            try:
                with self._file.open("a", encoding="utf-8") as opened:
                    opened.write(line + "\n")
            except OSError as error:
                raise OutputError(f"cannot write {self._file}: {error.strerror}") from None
            self._values[name] = made
        return self._values[name]

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors by name, kept as `value` keeps plain data."""
        file = self.folder / f"{name}.safetensors"
        if not file.is_file():
            made = {key: value.contiguous() for key, value in make().items()}
            with atomic_file(file) as beside:
                save_file(made, beside)
        try:
            return load_file(file)
        except SafetensorError as error:
            raise DataError(f"{file} is damaged, remove it: {error}") from None

    def drawn(
        self,
        name: str,
        captions: Sequence[str],
        draw: Callable[[Sequence[int]], Tensor],
        on_progress: OnProgress | None = None,
        specs: Sequence[dict[str, Any]] | None = None,
    ) -> Album:
        """Pictures drawn in chunks.

        Args:
            name: of their folder.
            captions: one a picture.
            draw: numbers -> (B, 3, H, W) in [-1, 1].
            on_progress: told how many there are.
            specs: what each should show.
        """
        files = []
        for start in range(0, len(captions), CHUNK):
            numbers = range(start, min(start + CHUNK, len(captions)))
            files.append(self.folder / name / f"{start:06}.png")
            if not files[-1].is_file():
                _save_strip(files[-1], draw(numbers))
            if on_progress:
                on_progress(numbers.stop, len(captions))
        return Album(tuple(captions), partial(_from_strip, tuple(files)), specs)


def _read_lines(file: Path) -> dict[str, Any]:
    """The values kept so far; a last line that was cut off is as if it were not there."""
    if not file.is_file():
        return {}
    found = {}
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = parse_json(line)
            found[entry["name"]] = entry["value"]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{file} is damaged in line {number}; remove {file.parent} to start anew"
            ) from None
    with atomic_file(file) as beside:  # without the stump, which the next line would join
        beside.write_text(whole + "\n" if whole else "", encoding="utf-8")
    return found


def _save_strip(file: Path, drawn: Tensor) -> None:
    pixels = to_uint8(drawn).permute(2, 0, 3, 1).flatten(1, 2)  # (H, B·W, 3)
    with atomic_file(file) as beside:
        Image.fromarray(np.asarray(pixels.cpu())).save(beside, format="PNG", compress_level=4)


@lru_cache(maxsize=2)
def _strip(file: Path) -> NDArray[np.uint8]:
    try:
        return np.asarray(read_image(file))
    except UsageError as error:
        raise DataError(f"{file} is damaged, remove it: {error}") from None


def _from_strip(files: tuple[Path, ...], number: int) -> NDArray[np.uint8]:
    strip = _strip(files[number // CHUNK])
    side, place = len(strip), number % CHUNK
    return strip[:, place * side : (place + 1) * side]

"""The folder in which an evaluation keeps what it has done, so that it can be broken off.

FOLDER/KEY/key.json        what was asked: KEY is its hash, so that another question starts anew
FOLDER/KEY/values.jsonl    one finished number or table a line
FOLDER/KEY/NAME.safetensors
FOLDER/KEY/NAME/000016.png sixteen drawn pictures side by side, lossless
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import DataError, UsageError
from ..files import atomic_file, write_json, writing
from ..media import read_image, to_uint8
from ..plain import parse_json
from .image_set import ImageSet, OnProgress

CHUNK = 16
"""Pictures in a file: what a pipeline draws at once."""


class Cache:
    """Finished parts of one evaluation, in `folder`; `key` is all that they depend on.

    Raises:
        OutputError: the folder cannot be made or written to.
        DataError: what it keeps is damaged; so do the methods.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        text = json.dumps(key, sort_keys=True, ensure_ascii=False)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
        write_json(self.folder / "key.json", dict(key))
        self._lines = JsonLines(self.folder / "values.jsonl", "remove its folder to start anew")
        try:
            self._values = {entry["name"]: entry["value"] for entry in self._lines.read()}
        except (KeyError, TypeError):
            raise self._lines.damaged() from None

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """Plain data: what was kept under `name`, or what `make` gives, which is kept."""
        if name not in self._values:
            made = json.loads(json.dumps(make()))  # as it will be read
            self._lines.add([{"name": name, "value": made}])
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
    ) -> ImageSet:
        """A picture for each caption, drawn in chunks and kept in the folder `name`.

        `draw` turns numbers into (B, 3, H, W) in [-1, 1].
        """
        files = []
        for start in range(0, len(captions), CHUNK):
            numbers = range(start, min(start + CHUNK, len(captions)))
            files.append(self.folder / name / f"{start:06}.png")
            if not files[-1].is_file():
                _save_strip(files[-1], draw(numbers))
            if on_progress:
                on_progress(numbers.stop, len(captions))

        def read(number: int) -> NDArray[np.uint8]:
            strip, place = _strip(files[number // CHUNK]), number % CHUNK
            held = min(CHUNK, len(captions) - (number - place))
            width = strip.shape[1] // held
            return strip[:, place * width : (place + 1) * width]

        return ImageSet(len(captions), read, lambda: captions)


class JsonLines:
    """A file of JSON, one value a line, that is added to while work goes on.

    `hint` is what errors advise where a line is damaged.
    """

    def __init__(self, path: Path, hint: str = "") -> None:
        self.path, self.hint = path, hint

    def damaged(self, where: str = "") -> DataError:
        """The error for content that is not as it was written."""
        return DataError(f"{self.path} is damaged{where}{'; ' if self.hint else ''}{self.hint}")

    def read(self) -> Iterator[Any]:
        """The values; a last line that was cut off is removed. Raises DataError."""
        if not self.path.is_file():
            return
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        for number, line in enumerate(whole.split("\n")[:-1], 1):
            try:
                yield parse_json(line)
            except ValueError:
                raise self.damaged(f" in line {number}") from None
        if whole != text:
            with atomic_file(self.path) as beside:
                beside.write_text(whole, encoding="utf-8")

    def add(self, values: Sequence[Any]) -> None:
        """Write some more. Raises OutputError."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in values)


def _save_strip(file: Path, drawn: Tensor) -> None:
    strip = to_uint8(drawn).permute(2, 0, 3, 1).flatten(1, 2)  # (H, B·W, 3)
    with atomic_file(file) as beside:
        Image.fromarray(np.asarray(strip.cpu())).save(beside, format="PNG", compress_level=4)


@lru_cache(maxsize=2)
def _strip(file: Path) -> NDArray[np.uint8]:
    try:
        return np.asarray(read_image(file))
    except UsageError as error:
        raise DataError(f"{file} is damaged, remove it: {error}") from None

"""Precomputed CLIP embeddings, from which priors train without pictures.

The layout is that of clip-retrieval, and what `unclip embed` adds to it:

    img_emb/img_emb_0.npy                (n, D) z_i, one row a pair
    text_emb/text_emb_0.npy              (n, D) z_t of the caption
    text_encodings/text_encodings_0.npy  (n, N, W') of the caption; ours
    metadata/metadata_0.parquet          with a column of captions, or metadata_0.jsonl; ours
    embeddings.json                      {"model": ..., "model_hash": ...}; ours

All but `img_emb` may be missing. Files of one number belong together, row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UnclipError, quoted
from ..files import atomic_file, text_of, write_json
from ..plain import parse_json, read_json
from ..vocabulary import Vocabulary
from ._columns import captions_of
from ._picture import Encoded
from ._shuffle import Memo
from ._stored import StoredConfig, StoredSource
from ._tables import json_rows
from .source import Sample

IMAGES, TEXTS, ENCODINGS = "img_emb", "text_emb", "text_encodings"
"""Folders, and the beginnings of the names of their files."""

FIELDS = {"image_embed": IMAGES, "text_embed": TEXTS, "text_encodings": ENCODINGS}
"""Where each field of a sample is."""

ABOUT = "embeddings.json"
"""Which model they are of."""


class EmbeddingsConfig(StoredConfig):
    """`path`: a folder with `img_emb/img_emb_0.npy`, as clip-retrieval writes it.

    `model_hash`: of the model that the embeddings must be of, as `embeddings.json` says it.
    """

    caption_column: str = "caption"
    model_hash: str = ""


class Embeddings(StoredSource):
    """Rows of embeddings, memory-mapped, with their captions where these are there.

    Raises:
        DataError: there are none, files of one number differ in length, or they are of another
            model.
    """

    Config = EmbeddingsConfig
    units = "arrays"
    stores = False

    def __init__(self, config: EmbeddingsConfig, size: tuple[int, int]) -> None:
        self.config, self.about = config, _about(config)
        self.numbers = _numbers(config.path)
        self.fields = [name for name, kind in FIELDS.items() if (config.path / kind).is_dir()]
        self._arrays = Memo(partial(_array, config.path), 4 * config.shuffle_window)
        self._captions = Memo(partial(_captions, config), config.shuffle_window + 1)
        counts = [self._length(number) for number in self.numbers]
        self.has_captions = _has_captions(config, self.numbers[0])
        super().__init__(config, size, counts)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with `img_emb/`."""
        return (path / IMAGES).is_dir()

    def sample(self, position: int) -> Sample:
        """Embeddings in float32, and the caption where it is there. Raises DataError."""
        unit, row = self.order.place(position)
        made: dict[str, Any] = {}
        for name in self.fields:
            value = self._arrays((FIELDS[name], self.numbers[unit]))[row].astype(np.float32)
            if not np.isfinite(value).all():
                where = _file(self.config.path, FIELDS[name], self.numbers[unit])
                raise DataError(f"{quoted(where)}: row {row} is not finite")
            made[name] = value
        if self.has_captions:
            made["caption"] = self._caption(position)
        return made  # type: ignore[return-value]

    def texts(self, unit: int, number: int) -> tuple[str, ...]:
        """The captions of a row; the first alone where there are embeddings of captions."""
        where = f"{self.config.path}: row {number} of metadata_{self.numbers[unit]}"
        captions = self._captions(self.numbers[unit])
        if number >= len(captions):
            raise DataError(f"{where} is missing")
        value = captions[number]
        found = captions_of(value.as_py() if hasattr(value, "as_py") else value, where)
        return found if self.fields == ["image_embed"] else found[:1]

    def picture(self, unit: int, number: int) -> Path | Encoded:
        """There is none."""
        raise DataError(f"{self.config.path} has embeddings, and no pictures")

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` rows; none where there is no metadata."""
        return super().captions(count) if self.has_captions else iter(())

    def vocabulary(self) -> Vocabulary:
        """The words of the captions; empty where there are none."""
        return super().vocabulary() if self.has_captions else Vocabulary()

    def summary(self) -> dict[str, Any]:
        """Rows, what each has, and the model."""
        first = {name: self._arrays((FIELDS[name], self.numbers[0])) for name in self.fields}
        shapes = {name: "x".join(map(str, one.shape[1:])) for name, one in first.items()}
        model = {"model": self.about["model"]} if "model" in self.about else {}
        known = {"kind": "CLIP embeddings", **super().summary(), **shapes, **model}
        return {**known, "captions": "yes" if self.has_captions else "no"}

    def _length(self, number: str) -> int:
        """Rows of the arrays of one number. Raises DataError where they differ."""
        kinds = [FIELDS[name] for name in self.fields]
        lengths = {kind: len(self._arrays((kind, number))) for kind in kinds}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{kind}_{number}.npy has {rows}" for kind, rows in lengths.items())
            raise DataError(f"{self.config.path}: arrays of one number differ in rows: {told}")
        return lengths[IMAGES]


def _numbers(path: Path) -> list[str]:
    """The numbers of the arrays, as their names write them, in order. Raises DataError."""
    pattern = re.compile(rf"{IMAGES}_(\d+)\.npy")
    found = [pattern.fullmatch(file.name) for file in (path / IMAGES).glob("*.npy")]
    numbers = sorted((one[1] for one in found if one), key=lambda one: (int(one), one))
    if not numbers:
        raise DataError(f"no embeddings at {path / IMAGES}/{IMAGES}_0.npy")
    return numbers


def _file(path: Path, kind: str, number: str) -> Path:
    return path / kind / f"{kind}_{number}.npy"


def _array(path: Path, key: tuple[str, str]) -> NDArray[Any]:
    """An array of numbers with rows, memory-mapped. Raises DataError."""
    file = _file(path, *key)
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {quoted(file)}: {error}") from None
    wanted = 3 if key[0] == ENCODINGS else 2
    if not isinstance(array, np.ndarray) or array.ndim != wanted or array.dtype.kind != "f":
        raise DataError(f"{quoted(file)} must be an array of {wanted} axes of floating point")
    return array


def _captions(config: EmbeddingsConfig, number: str) -> Sequence[Any]:
    """The cells of captions of one number. Raises DataError."""
    lines = config.path / "metadata" / f"metadata_{number}.jsonl"
    if lines.is_file():
        try:
            rows = json_rows(text_of(lines), quoted(lines))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {quoted(lines)}: {error}") from None
        return [row.get(config.caption_column) for _, row in rows]
    from .parquet import read_whole

    cells: Sequence[Any] = read_whole(lines.with_suffix(".parquet"), config.caption_column)
    return cells


def _has_captions(config: EmbeddingsConfig, number: str) -> bool:
    """Whether the metadata of one number say captions, or might: not, where pictures had none."""
    lines = config.path / "metadata" / f"metadata_{number}.jsonl"
    if not lines.parent.is_dir():
        return False
    if "caption_column" in config.model_fields_set:
        return True  # a column that is named, and not there, is no lack of captions
    try:
        if lines.is_file():
            with lines.open(encoding="utf-8") as opened:
                return config.caption_column in parse_json(opened.readline())
        from .parquet import columns_in

        found = columns_in(lines.with_suffix(".parquet"))
    except (OSError, ValueError, TypeError, UnclipError):
        return True  # what is wrong with them is said where they are read
    return config.caption_column in found


def _about(config: EmbeddingsConfig) -> dict[str, Any]:
    """What `embeddings.json` says. Raises DataError where it names another model."""
    file = config.path / ABOUT
    try:
        about = read_json(file) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {quoted(file)}: {error}") from None
    about = about if isinstance(about, dict) else {}
    if config.model_hash and about.get("model_hash") != config.model_hash:
        raise DataError(
            f"{quoted(file)}: the embeddings are of the model {about.get('model_hash')}, and "
            f"data.model_hash is {config.model_hash}: embed the data again"
        )
    return about


def write_array(folder: Path, kind: str, number: int, rows: NDArray[Any]) -> None:
    """Write the (n, ...) rows of one of `FIELDS`' folders, whole or not at all.

    Raises:
        OutputError: they cannot be written.
    """
    with atomic_file(_file(folder, kind, str(number))) as beside, beside.open("wb") as opened:
        np.save(opened, rows, allow_pickle=False)


def write_about(folder: Path, model: str, model_hash: str) -> None:
    """Say which model the embeddings are of. Raises OutputError."""
    write_json(folder / ABOUT, {"model": model, "model_hash": model_hash})


SOURCE = Embeddings

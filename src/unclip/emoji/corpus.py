"""The emoji corpus on disk: building it from drawings and names, and opening it again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError, UsageError, nearest, unknown
from ..files import atomic_folder, write_json, write_text
from ..plain import read_json
from .colours import name_pixels, tint_of
from .drawings import STYLES, Drawings, Part, Vector, extent, version
from .names import Entry, entries

Bytes = NDArray[np.uint8]
Glyph = dict[str, Any]

SIZE = 256
MIPS = (256, 128, 64, 32)
VOCABULARIES = ("everyday", "all")
VECTORS = "drawings.json"
_FORMAT = 1


def build(
    out: Path,
    assets: Path = Path("assets/node_modules"),
    vocabulary: str = "all",
    styles: Sequence[str] = tuple(STYLES),
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Render every glyph of a vocabulary and write the corpus folder whole, or not at all.

    The folder gets `glyphs.npy` ((N, 256, 256, 4) premultiplied RGBA), its smaller copies
    `glyphs_128.npy` ..., the drawings themselves for larger pictures (`drawings.json`),
    `corpus.json` (one record a glyph) and `LICENSES.md`.

    Args:
        out: the folder to write.
        assets: the npm packages, as `npm install --prefix assets` leaves them.
        vocabulary: `everyday` or `all`.
        styles: some of `STYLES`; the first is the one captions need not name.
        on_progress: called with (glyphs done, glyphs in all).

    Returns the number of glyphs.

    Raises:
        DataError: the assets are missing or a drawing is broken.
        UsageError: an unknown vocabulary or style.
        OutputError: `out` cannot be written.
    """
    if vocabulary not in VOCABULARIES:
        raise unknown("vocabulary", vocabulary, VOCABULARIES)
    sets = {name: Drawings(assets, STYLES[name]) for name in dict.fromkeys(styles)}
    if not sets:
        raise UsageError(f"no style given; known: {', '.join(STYLES)}")
    groups = {emoji: group for one in sets.values() for emoji, group in one.groups().items()}
    todo = [
        (style, entry)
        for entry in entries(assets, vocabulary, groups)
        for style in sets
        if entry.emoji in sets[style].names
    ]
    if not todo:
        raise DataError(f"{assets} holds no drawing of the vocabulary '{vocabulary}'")
    with atomic_folder(out) as folder:
        records = _render(folder, todo, sets, on_progress)
        write_json(folder / "corpus.json", _header(assets, vocabulary, list(sets)) | records)
        write_text(folder / "LICENSES.md", _licences(list(sets)))
    return len(todo)


def _render(
    folder: Path,
    todo: list[tuple[str, Entry]],
    sets: dict[str, Drawings],
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, list[Glyph]]:
    stores = {
        size: np.lib.format.open_memmap(
            folder / file_name(size), "w+", np.uint8, (len(todo), size, size, 4)
        )
        for size in MIPS
    }
    records, vectors = [], {}
    for row, (style, entry) in enumerate(todo):
        vector = sets[style].vector(entry.emoji, SIZE)
        pixels = vector.raster(SIZE, SIZE)
        for size, store in stores.items():
            store[row] = _shrink(pixels, size)
        records.append(_record(style, entry, pixels))
        vectors[records[-1]["id"]] = asdict(vector)
        if on_progress:
            on_progress(row + 1, len(todo))
    for store in stores.values():
        store.flush()
    write_json(folder / VECTORS, vectors)
    return {"glyphs": records}


def file_name(size: int) -> str:
    """The file that holds the glyphs at `size` pixels."""
    return "glyphs.npy" if size == SIZE else f"glyphs_{size}.npy"


def _shrink(pixels: Bytes, size: int) -> Bytes:
    """Average blocks of a premultiplied picture, which is exact for it."""
    if size == len(pixels):
        return pixels
    image = Image.frombuffer("RGBa", pixels.shape[:2], pixels.tobytes(), "raw", "RGBa", 0, 1)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def _record(style: str, entry: Entry, pixels: Bytes) -> Glyph:
    solid = pixels[pixels[..., 3] > 250][:, :3].astype(np.float32)  # (N, 3)
    if not len(solid):
        solid = pixels[pixels[..., 3] > 0][:, :3].astype(np.float32)
    record = asdict(entry)
    record["id"] = f"{style}/{'-'.join(f'{ord(char):x}' for char in entry.emoji)}"
    record["style"] = style
    record["licence"] = STYLES[style].licence
    record["extent"] = list(extent(pixels))
    record["mean"] = [round(float(value)) for value in solid.mean(0)]
    record["tint"] = tint_of(solid) if entry.tint else None
    record["colour"] = _main_colour(solid) if entry.colour is None else entry.colour or None
    return record


def _main_colour(solid: NDArray[np.float32]) -> str | None:
    """The one colour word that covers most of a drawing, or None."""
    words, counts = np.unique(name_pixels(solid[::7]), return_counts=True)
    best = int(counts.argmax())
    return str(words[best]) if counts[best] > 0.62 * counts.sum() else None


def _header(assets: Path, vocabulary: str, styles: list[str]) -> dict[str, Any]:
    packages = [STYLES[style].package for style in styles]
    packages += ["cldr-annotations-full", "cldr-annotations-derived-full"]
    return {
        "format": _FORMAT,
        "vocabulary": vocabulary,
        "styles": styles,
        "sources": {package: version(assets, package) for package in packages},
    }


def _licences(styles: list[str]) -> str:
    lines = ["# Where this corpus comes from", ""]
    for name in styles:
        style = STYLES[name]
        lines.append(
            f"- Drawings in style `{name}`: {style.source}, {style.author}, {style.licence}, "
            f"by way of the npm package {style.package}."
        )
    lines.append("- Names and keywords: Unicode CLDR, Unicode, Inc., Unicode-3.0.")
    return "\n".join([*lines, ""])


class Corpus:
    """A corpus folder, opened: records in memory, pictures mapped from disk."""

    def __init__(self, path: Path, glyphs: list[Glyph], header: dict[str, Any]) -> None:
        self.path = path
        self.glyphs = glyphs
        self.header = header
        self.rows = {glyph["id"]: row for row, glyph in enumerate(glyphs)}
        self.records = {glyph["id"]: glyph for glyph in glyphs}  # also of what is narrowed away

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open the folder that `build` wrote.

        Raises:
            DataError: it is not there, or not such a folder.
        """
        path = Path(path)
        try:
            header = read_json(path / "corpus.json")
            glyphs = header.pop("glyphs")
            if header["format"] != _FORMAT:
                raise DataError(f"{path} was built by another version of unclip; build it again")
        except FileNotFoundError:
            raise DataError(
                f"no emoji corpus at {path} (build one: unclip data emoji --out {path})"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path / 'corpus.json'} is damaged: {error}") from None
        for size in MIPS:
            if not (path / file_name(size)).is_file():
                raise DataError(f"{path} is incomplete: {file_name(size)} is missing")
        return cls(path, glyphs, header)

    def narrowed(self, vocabulary: str, nouns: Sequence[str] = ()) -> Self:
        """The same corpus, pictures shared, with what is "everyday" or "all", of some nouns if any.

        Raises:
            DataError: it has none of them.
            UsageError: one of `nouns` is not among them; the nearest is named.
        """
        view = copy.copy(self)
        view.glyphs = [g for g in self.glyphs if vocabulary == "all" or g["everyday"]]
        if not view.glyphs:
            raise DataError(f"{self.path} holds nothing of the vocabulary '{vocabulary}'")
        for noun in nouns:
            if noun not in view.nouns:
                hint = nearest(noun, view.nouns)
                raise UsageError(f"the corpus {self.path} has no '{noun}'{hint}")
        view.glyphs = [g for g in view.glyphs if not nouns or g["noun"] in nouns]
        return view

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles it holds; the first is the one that captions need not name."""
        return tuple(self.header["styles"])

    @property
    def nouns(self) -> tuple[str, ...]:
        """What its drawings show, each once."""
        return tuple(dict.fromkeys(glyph["noun"] for glyph in self.glyphs))

    def summary(self) -> dict[str, Any]:
        """What it holds, in plain counts."""

        def counts(key: str) -> Counter[str]:
            return Counter(glyph[key] for glyph in self.glyphs)

        return {
            "kind": "emoji corpus",
            "vocabulary": self.header["vocabulary"],
            "glyphs": len(self.glyphs),
            "nouns": len(self.nouns),
            "everyday nouns": len({glyph["noun"] for glyph in self.glyphs if glyph["everyday"]}),
            "styles": dict(counts("style")),
            "categories": dict(counts("category").most_common()),
            "licences": dict(counts("licence")),
            "sources": self.header["sources"],
        }

    def __len__(self) -> int:
        return len(self.glyphs)

    def __getitem__(self, glyph: str) -> Glyph:
        """The record of a glyph by its id.

        Raises:
            DataError: the corpus has no such glyph.
        """
        if glyph not in self.records:
            raise DataError(f"{self.path} has no glyph '{glyph}'")
        return self.records[glyph]

    @cached_property
    def _stores(self) -> dict[int, Bytes]:
        try:
            return {size: np.load(self.path / file_name(size), mmap_mode="r") for size in MIPS}
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the glyphs in {self.path}: {error}") from None

    @cached_property
    def _vectors(self) -> dict[str, Vector]:
        """The drawings; none in a folder of an earlier version."""
        path = self.path / VECTORS
        try:
            known = read_json(path) if path.is_file() else {}
            return {
                name: Vector(str(one["body"]), tuple(map(float, one["view"])))  # type: ignore[arg-type]
                for name, one in known.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged: {error}") from None

    @property
    def scales(self) -> bool:
        """Whether it holds the drawings themselves, and glyphs of any size are sharp."""
        return (self.path / VECTORS).is_file()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the mapped files and the drawings, which a process reads for itself."""
        return {k: value for k, value in self.__dict__.items() if k not in ("_stores", "_vectors")}

    def picture(self, glyph: str, width: int, height: int, part: Part | None = None) -> Bytes:
        """What can be seen of a glyph, antialiased to (height, width, 4) premultiplied RGBA.

        Args:
            glyph: its id.
            width, height: of the whole.
            part: in whole pixels, what is wanted of it.
        """
        left, top, right, bottom = self[glyph]["extent"]
        need = max(width * SIZE / (right - left), height * SIZE / (bottom - top))
        if need > SIZE and glyph in self._vectors:
            return self._drawn(glyph, width, height, part or (0, 0, width, height))
        whole = self._resampled(glyph, width, height, need)
        if part is None:
            return whole
        left, top, right, bottom = map(int, part)
        return whole[top:bottom, left:right]

    def _drawn(self, glyph: str, width: int, height: int, part: Part) -> Bytes:
        """See `picture`: of the drawing."""
        left, top, right, bottom = (side / SIZE for side in self[glyph]["extent"])
        across, down = (right - left) / width, (bottom - top) / height
        x0, y0, x1, y1 = part
        box = left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down
        return self._vectors[glyph].raster(round(x1 - x0), round(y1 - y0), box)

    def _resampled(self, glyph: str, width: int, height: int, need: float) -> Bytes:
        """See `picture`: of the glyph's pixels."""
        left, top, right, bottom = self[glyph]["extent"]
        size = next((mip for mip in reversed(MIPS) if mip >= need), SIZE)
        pixels = self._stores[size][self.rows[glyph]]
        image = Image.frombuffer("RGBa", (size, size), pixels.data, "raw", "RGBa", 0, 1)
        smaller = size >= need
        method = Image.Resampling.HAMMING if smaller else Image.Resampling.BICUBIC
        scale = size / SIZE
        box = (left * scale, top * scale, right * scale, bottom * scale)
        out = np.asarray(image.resize((width, height), method, box))
        return out if smaller else np.minimum(out, out[..., 3:])

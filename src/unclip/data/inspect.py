"""Looking at data before training on it: a contact sheet and counts."""

from __future__ import annotations

import textwrap
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .corpus import Corpus
from .listing import listing
from .source import Source

_CELL = 144  # pixels for one picture on the sheet
_GAP = 8
_LINES = 4
_TEXT = 12  # pixels
_WIDTH, _HEIGHT = _CELL + _GAP, _CELL + _GAP + _LINES * (_TEXT + 3)


def sheet_size(rows: int, columns: int) -> tuple[int, int]:
    """Width and height of a contact sheet."""
    return columns * _WIDTH + _GAP, rows * _HEIGHT + _GAP


def contact_sheet(source: Source, rows: int = 6, columns: int = 8, seed: int = 0) -> Image.Image:
    """`rows` x `columns` samples with their captions underneath; another `seed`, other samples.

    Raises:
        DataError: a sample cannot be read.
    """
    font = ImageFont.load_default(_TEXT)
    sheet = Image.new("RGB", sheet_size(rows, columns), "white")
    draw = ImageDraw.Draw(sheet)
    source.load_state_dict({"position": seed * rows * columns})
    for number, sample in enumerate(islice(source, rows * columns)):
        x, y = _GAP + number % columns * _WIDTH, _GAP + number // columns * _HEIGHT
        picture = Image.fromarray(sample["image"])
        method = Image.Resampling.BOX if picture.width > _CELL else Image.Resampling.NEAREST
        sheet.paste(picture.resize((_CELL, _CELL), method), (x, y))
        words = "\n".join(textwrap.wrap(sample["caption"], 24, max_lines=_LINES, placeholder="…"))
        draw.multiline_text((x, y + _CELL + 2), words, "black", font, spacing=2)
    return sheet


def summary(path: Path | str) -> dict[str, Any]:
    """What a corpus folder or a folder of pictures holds: plain counts.

    Raises:
        DataError: it is neither.
    """
    path = Path(path)
    return _of_corpus(path) if (path / "corpus.json").is_file() else _of_folder(path)


def _of_corpus(path: Path) -> dict[str, Any]:
    corpus = Corpus.open(path)
    glyphs = corpus.glyphs
    return {
        "kind": "emoji corpus",
        "vocabulary": corpus.header["vocabulary"],
        "glyphs": len(glyphs),
        "nouns": len({glyph["noun"] for glyph in glyphs}),
        "everyday nouns": len({glyph["noun"] for glyph in glyphs if glyph["everyday"]}),
        "styles": dict(Counter(glyph["style"] for glyph in glyphs)),
        "categories": dict(Counter(glyph["category"] for glyph in glyphs).most_common()),
        "licences": dict(Counter(glyph["licence"] for glyph in glyphs)),
        "sources": corpus.header["sources"],
    }


def _of_folder(path: Path) -> dict[str, Any]:
    found = listing(path)
    captions = [caption for _, several in found.pairs for caption in several]
    return {
        "kind": "folder of pictures",
        "pictures": len(found.pairs),
        "captions": len(captions),
        "without caption": len(found.uncaptioned),
        "without picture": len(found.unpictured),
        "different words": len({word for caption in captions for word in caption.lower().split()}),
        "formats": dict(
            Counter(picture.suffix.lower() for picture, _ in found.pairs).most_common()
        ),
    }

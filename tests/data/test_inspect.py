from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data import source_at
from unclip.data.inspect import contact_sheet
from unclip.data.shapes import Shapes, ShapesConfig
from unclip.errors import DataError

SHAPES = Shapes(ShapesConfig(seed=5), (64, 64))


def test_a_sheet_shows_the_samples_in_order() -> None:
    """Each cell is 144 pixels wide, 8 apart, and holds the picture whose number it has."""
    sheet = np.asarray(contact_sheet(SHAPES, rows=2, columns=3))
    assert sheet.shape[1] == 3 * 152 + 8
    for number in range(6):
        x, y = 8 + number % 3 * 152, 8 + number // 3 * (sheet.shape[0] - 8) // 2
        cell, picture = sheet[y : y + 144, x : x + 144], SHAPES.sample(number)["image"]
        assert (cell[::9, ::9] == picture[::4, ::4]).all()  # enlarged 9 / 4 times


def test_a_sheet_has_captions_and_a_seed() -> None:
    first, again, other = (np.asarray(contact_sheet(SHAPES, 1, 2, seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first.shape != other.shape) or (first != other).any()
    assert (first[154:, :] < 100).any()  # ink below the pictures


def test_a_sheet_keeps_proportions() -> None:
    wide = Shapes(ShapesConfig(seed=5), (48, 144))
    sheet = np.asarray(contact_sheet(wide, 1, 1))
    assert (sheet[8:56, 8:152] == wide.sample(0)["image"]).all()
    assert (sheet[56:150] == 255).all()


def test_a_shape_is_as_high_as_wide_in_any_picture() -> None:
    shapes, seen = Shapes(ShapesConfig(seed=5), (48, 144)), set()
    for number in range(20):
        sample = shapes.sample(number)
        rows, columns = (
            np.flatnonzero((sample["image"] != 255).any(-1).any(axis)) for axis in (1, 0)
        )
        assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
        seen.add(int(columns.mean()) // 48)
    assert len(seen) > 1


def test_of_a_few_pictures_each_is_shown_once(tmp_path: Path) -> None:
    """Four pictures of one colour each; one that is broken then is left blank."""
    for name in ("red", "green", "blue", "grey"):
        Image.new("RGB", (16, 16), name).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(name)
    source = source_at(tmp_path, (16, 16))
    for seed in (0, 3):
        sheet = np.asarray(contact_sheet(source, 6, 3, seed))
        assert sheet.shape[1] == 3 * 152 + 8  # two rows of three, and the last has one
        centres = [
            (80 + row * (sheet.shape[0] - 8) // 2, 80 + 152 * x) for row in (0, 1) for x in range(3)
        ]
        colours = [tuple(sheet[at]) for at in centres]
        assert len(set(colours[:4])) == 4 and colours[4:] == [(255, 255, 255)] * 2
    (tmp_path / "red.png").write_bytes(b"")
    lines: list[str] = []
    sheet = np.asarray(contact_sheet(source_at(tmp_path, (16, 16)), 1, 4, 0, lines.append))
    colours = [tuple(sheet[80, 80 + 152 * x]) for x in range(4)]
    assert len(set(colours)) == 4 and colours.count((255, 255, 255)) == 1 and len(lines) == 1


def test_a_folder_without_pictures_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        source_at(tmp_path, (8, 8))

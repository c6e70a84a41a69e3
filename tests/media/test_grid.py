"""Sheets: each picture in its place, and a size that is known before there is a picture."""

from __future__ import annotations

import pytest
from PIL import Image

from unclip.media.grid import Grid, make_grid


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("columns", [None, 1, 3, 12])
@pytest.mark.parametrize("labels", [None, ["a fox", "a rather long label of a picture"]])
def test_its_size_is_known_beforehand(
    count: int, columns: int | None, labels: list[str] | None
) -> None:
    pictures = [Image.new("RGB", (30, 20), (index, 0, 0)) for index in range(count)]
    mine = labels and (labels * count)[:count]
    grid, sheet = Grid(count, (20, 30), columns, mine), make_grid(pictures, columns, mine)
    assert sheet.size == grid.whole[::-1]
    height, width = grid.cell
    for index in range(count):
        down, across = divmod(index, grid.across)
        place = (across * width + 29, down * height + 19)
        assert sheet.getpixel(place) == (index, 0, 0)


def test_four_are_two_by_two() -> None:
    assert Grid(4, (64, 32)).whole == (132, 68)
    assert Grid(10**12, (64, 64)).whole == (68_000_000 - 4, 68_000_000 - 4)

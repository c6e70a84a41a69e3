"""Windows of a canvas, over its edge too."""

from __future__ import annotations

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from unclip.abilities._canvas import Window


@given(
    x=st.integers(-6, 6),
    y=st.integers(-6, 6),
    down=st.integers(1, 12),
    across=st.integers(1, 12),
    width=st.integers(7, 9),
    height=st.integers(7, 9),
)
def test_a_window_is_what_it_covers_and_puts_it_back(
    x: int, y: int, down: int, across: int, width: int, height: int
) -> None:
    assume(x > -across and y > -down and x < width and y < height)
    canvas = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
    piece = Window(x, y, down, across).of(canvas, 0.0)
    assert piece.shape == (1, 1, down, across)
    for row in range(down):
        for column in range(across):
            inside = 0 <= y + row < height and 0 <= x + column < width
            expected = canvas[0, 0, y + row, x + column] if inside else 0
            assert piece[0, 0, row, column] == expected
    copy = torch.zeros_like(canvas)
    Window(x, y, down, across).put(copy, piece)
    assert torch.equal(copy, torch.where(torch.isin(canvas, piece.contiguous()), canvas, 0))

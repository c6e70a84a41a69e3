"""What is carried over a border: a tint wholly, a jump for a few pixels, nothing where both fit."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from unclip.abilities._blending import CELL, FEATHER, _fade, blended

SIDES = st.integers(2, 37)


def picture(height: int, width: int, seed: int, batch: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=rng) * 2 - 1


def hole(height: int, width: int, seed: int) -> Tensor:
    """(1, 1, H, W): 1 in a rectangle of random place and size."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.zeros(1, 1, height, width)
    y0, x0 = (int(torch.randint(size, (), generator=rng)) for size in (height, width))
    mask[..., y0 : y0 + height // 2 + 1, x0 : x0 + width // 2 + 1] = 1
    return mask


@given(height=SIDES, width=SIDES, seed=st.integers(0, 99), off=st.floats(-1, 1))
def test_another_tint_vanishes_and_what_is_kept_is_kept(
    height: int, width: int, seed: int, off: float
) -> None:
    """Painted is the true picture but for a constant: the true picture comes back."""
    true, mask = torch.full((2, 3, height, width), 0.2), hole(height, width, seed)
    assume(not mask.all())
    out = blended(true + off, true, mask)
    assert torch.allclose(out, true, atol=1e-4)
    noise = picture(height, width, seed)
    assert torch.equal(blended(noise, true, mask) * (1 - mask), true * (1 - mask))


def test_where_both_fit_nothing_changes() -> None:
    """The colour is the same along the border; what is painted inside stays to the bit."""
    known, mask = torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 20:60] = 1
    painted = known.clone()
    painted[..., 18:46, 22:58] = picture(28, 36, 1, 1)
    assert torch.equal(blended(painted, known, mask), painted)


def test_a_jump_fades_within_the_feather() -> None:
    side = 4 * FEATHER
    known = torch.zeros(1, 1, side, side)
    mask = known.clone()
    mask[..., side // 2 :] = 1
    painted = mask.clone()  # 1 on the right of the border, where there is nothing to the left
    row = blended(painted, known, mask)[0, 0, side // 2, side // 2 :]
    assert row[:6].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1], abs=1e-5)


@given(height=SIDES, width=SIDES, seed=st.integers(0, 99), steps=st.integers(0, 9))
def test_the_fade_is_the_distance_to_what_is_kept(
    height: int, width: int, seed: int, steps: int
) -> None:
    """Grown by a pixel a step, as one would write it down."""
    rng = torch.Generator().manual_seed(seed)
    kept = (torch.rand(2, 1, height, width, generator=rng) > 0.97).float()
    grown, expected = kept, torch.zeros_like(kept)
    for _ in range(max(steps, 1)):
        grown = F.max_pool2d(grown, 3, 1, 1)
        expected += grown / max(steps, 1)
    assert torch.allclose(_fade(kept, steps), expected, atol=1e-5)


def test_what_a_fade_takes_does_not_grow_with_its_width() -> None:
    kept = torch.zeros(1, 1, 64, 64)
    calls = []
    for width in (2, 60):
        with patch.object(F, "max_pool1d", side_effect=F.max_pool1d) as one:
            with patch.object(F, "max_pool2d", side_effect=F.max_pool2d) as two:
                _fade(kept, width)
            calls.append(one.call_count + two.call_count)
    assert calls[0] == calls[1]


def test_a_small_hole_in_a_large_picture_is_that_of_the_picture_around_it() -> None:
    """Rows and columns of whole cells that are cut off change neither the fade nor the tint."""
    known, painted = torch.full((1, 3, 4 * CELL, 4 * CELL), 0.3), picture(512, 512, 1, 1)
    mask = torch.zeros(1, 1, 4 * CELL, 4 * CELL)
    mask[..., 1 * CELL + 9 : 2 * CELL - 9, 2 * CELL + 20 : 3 * CELL - 30] = 1
    out = blended(painted, known, mask)
    mask[..., 0, 0] = mask[..., -1, -1] = 1  # now nothing can be cut off
    whole = blended(painted, known, mask)
    inside = (..., slice(CELL, 2 * CELL), slice(2 * CELL, 3 * CELL))
    assert torch.allclose(out[inside], whole[inside], atol=0.02)


@given(height=SIDES, width=SIDES, seed=st.integers(0, 99))
def test_nothing_painted_is_what_is_known(height: int, width: int, seed: int) -> None:
    known, painted = picture(height, width, seed), picture(height, width, seed + 1)
    assert torch.equal(blended(painted, known, torch.zeros(1, 1, height, width)), known)

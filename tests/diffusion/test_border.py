"""What is known in places is carried on to all others; the tint of a network is taken back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from unclip.diffusion.border import spread
from unclip.diffusion.guidance import TINT, hold, map_x0, matched
from unclip.diffusion.schedule import Cosine
from unclip.types import Denoiser, Level, Prediction

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


@given(height=SIDES, width=SIDES, seed=st.integers(0, 99))
def test_spread_keeps_what_is_known_and_invents_nothing(height: int, width: int, seed: int) -> None:
    values, mask = picture(height, width, seed), hole(height, width, seed)
    kept = 1 - mask
    assume(kept.any())
    out = spread(values + 100 * mask, kept)  # what stands where nothing is known does not matter
    assert torch.equal(out * kept, values * kept)
    assert torch.allclose(out, spread(values, kept), atol=1e-4)
    known = torch.where(kept > 0, values, torch.nan).flatten(2)
    low, high = known.nan_to_num(9).amin(2), known.nan_to_num(-9).amax(2)
    assert (out.flatten(2) >= low[..., None] - 1e-4).all()
    assert (out.flatten(2) <= high[..., None] + 1e-4).all()
    assert torch.allclose(spread(values[:1], kept), out[:1], atol=1e-6), "each picture by itself"
    constant = torch.full_like(values, 0.3)
    assert torch.allclose(spread(constant, kept), constant, atol=1e-5)


def test_next_to_what_is_known_it_is_that_value_and_far_away_a_mean() -> None:
    values = torch.zeros(1, 1, 64, 64)
    values[..., :32, :16], values[..., 32:, :16] = 1, -1
    kept = torch.zeros_like(values)
    kept[..., :16] = 1
    out = spread(values, kept)
    assert float(out[0, 0, 8, 16]) > 0.9
    assert float(out[0, 0, 56, 16]) < -0.9
    assert out[0, 0, :, 60].abs().max() < 0.6
    assert torch.equal(spread(values, torch.zeros_like(kept)), torch.zeros_like(values))


def exact(off: float, true: Tensor) -> Denoiser:
    """A network that knows the true picture but for a tint."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        alpha, sigma = level.like(x)
        x0 = true + off
        return Prediction(x0, (x - alpha * x0) / sigma.clamp(min=1e-6))

    return denoise


@pytest.mark.parametrize("t", [1.0, 300.0, 700.0, 999.0])
@pytest.mark.parametrize(("off", "taken"), [(0.1, 0.1), (-TINT, -TINT), (0.9, TINT)])
def test_the_tint_of_a_network_is_taken_back_as_far_as_the_noise_lets_see(
    off: float, taken: float, t: float
) -> None:
    level, true, mask = Cosine().level(torch.tensor(t)), picture(16, 16, 3), hole(16, 16, 4)
    x = picture(16, 16, 5)
    said = map_x0(matched(exact(off, true), true, mask), hold(true, mask))(x, level)
    share = float(level.alpha**2 / (level.alpha**2 + level.sigma**2))
    assert torch.allclose(said.x0, true + (off - share * taken) * mask, atol=1e-3)
    assert torch.equal(said.x0 * (1 - mask), true * (1 - mask))
    alpha, sigma = level.like(x)
    assert torch.allclose(alpha * said.x0 + sigma * said.eps, x, atol=1e-3), "x_t is what it was"

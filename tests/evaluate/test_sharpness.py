"""Sharpness and saturation of pictures for which they are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.evaluate import sharpness
from unclip.evaluate.image_set import ImageSet


def grey(luma: Tensor) -> Tensor:
    """(H, W) as a grey picture (1, 3, H, W)."""
    return luma.expand(1, 3, -1, -1)


@pytest.fixture
def noise() -> Tensor:
    """Grey white noise of variance 0.09."""
    rng = torch.Generator().manual_seed(0)
    return 0.3 * torch.randn(400, 400, dtype=torch.float64, generator=rng)


def test_flat_pictures_and_even_slopes_have_no_edges() -> None:
    slope = torch.linspace(-1, 1, 32, dtype=torch.float64).expand(32, 32)
    assert float(sharpness.laplacian_energy(grey(slope))) == pytest.approx(0, abs=1e-12)
    assert float(sharpness.laplacian_energy(torch.full((1, 3, 8, 8), 0.4))) == 0


def test_a_wave_has_the_energy_of_its_frequency() -> None:
    """The Laplacian of cos(kx) is (2 cos k - 2) cos(kx), and the mean square of a cosine 1/2."""
    k = 2 * math.pi / 16
    wave = torch.cos(k * torch.arange(66, dtype=torch.float64)).expand(66, 66)  # four periods
    want = (2 * math.cos(k) - 2) ** 2 / 2
    assert float(sharpness.laplacian_energy(grey(wave))) == pytest.approx(want)
    assert float(sharpness.laplacian_energy(grey(wave.T))) == pytest.approx(want)
    assert float(sharpness.laplacian_energy(grey(0.5 * wave))) == pytest.approx(want / 4)


def test_noise_has_20_times_its_variance_and_blurred_noise_what_its_kernel_leaves(
    noise: Tensor,
) -> None:
    """The kernel's numbers, squared: 4² + 4 · 1². Of a blur first, those of both kernels in one."""
    assert float(sharpness.laplacian_energy(grey(noise))) == pytest.approx(20 * 0.09, rel=0.02)
    row = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = torch.outer(row, row)
    blurred = F.conv2d(noise[None, None], kernel[None, None])[0, 0]
    laplace = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)
    both = F.conv2d(kernel[None, None], laplace[None, None], padding=2)
    want = 0.09 * float(both.square().sum())
    assert want < 0.1 * 20 * 0.09
    assert float(sharpness.laplacian_energy(grey(blurred))) == pytest.approx(want, rel=0.03)


def test_luma_weighs_the_colours() -> None:
    """A dot of one colour: its weight, squared, of a white one's energy."""
    dots = torch.zeros(4, 3, 5, 5)
    dots[0, :, 2, 2] = 1
    for channel in range(3):
        dots[1 + channel, channel, 2, 2] = 1
    white, *colours = sharpness.laplacian_energy(dots).tolist()
    assert white == pytest.approx(20 / 9)  # of nine pixels one has -4 and four have 1
    assert colours == pytest.approx([white * w**2 for w in (0.299, 0.587, 0.114)])


def test_saturated_values_are_counted_at_both_ends() -> None:
    values = torch.tensor([-1, -0.985, -0.975, 0, 0.975, 0.985, 1, 0.5]).view(1, 1, 2, 4)
    found = sharpness.saturated_share(values.expand(1, 3, 2, 4))
    assert found.tolist() == pytest.approx([4 / 8])


def test_larger_pictures_are_averaged_down() -> None:
    """A picture of 512 px whose pixels come in fours is the one of 256 px, square or not."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (128, 256, 3), dtype=np.uint8)
    large = small.repeat(2, 0).repeat(2, 1)
    one, two = (sharpness.measure(ImageSet(17, lambda number, of=of: of)) for of in (small, large))
    assert len(one["energy"]) == 17
    assert two["energy"] == pytest.approx(one["energy"], rel=1e-4)
    assert two["saturated"] == pytest.approx(one["saturated"])
    assert one["saturated"][0] == pytest.approx(((small < 3) | (small > 252)).mean())

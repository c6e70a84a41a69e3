"""Edges become narrower and stay where they are; all else stays as it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unclip.nn.sharpening import MARGIN, pixels_seen, warp_sharpened


def edge(at: float = 31.5, width: float = 1.5, angle: float = 0.0, side: int = 64) -> Tensor:
    """(1, 3, side, side): from -0.8 to 0.8 across a line, as wide as a Gaussian's integral."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    way = (columns - at) * math.cos(angle) + (rows - at) * math.sin(angle)
    return (0.8 * torch.erf(way / (width * 2**0.5))).expand(1, 3, side, side).clone()


def spread(image: Tensor) -> tuple[float, float]:
    """Where the edge of a middle row lies, and how wide it is (mean and deviation of its slope)."""
    row = image[0, 0, 32]
    slope = row[1:] - row[:-1]
    place = torch.arange(len(slope)) + 0.5
    mean = (slope * place).sum() / slope.sum()
    return float(mean), float(((slope * (place - mean) ** 2).sum() / slope.sum()).sqrt())


@pytest.mark.parametrize("at", [30.0, 31.3, 33.5])
def test_an_edge_is_narrower_and_where_it_was(at: float) -> None:
    before, after = spread(edge(at)), spread(warp_sharpened(edge(at), 2.8))
    assert abs(after[0] - at) < 0.1
    assert after[1] < 0.7 * before[1]


@pytest.mark.parametrize("angle", [0.3, 0.8, 2.0])
def test_edges_of_any_direction_become_steeper_without_a_halo(angle: float) -> None:
    soft = edge(angle=angle)
    sharp = warp_sharpened(soft, 2.8)
    slope = [(one[..., 1:] - one[..., :-1]).abs().amax() for one in (soft, sharp)]
    assert slope[1] > 1.3 * slope[0]
    assert float(sharp.abs().max()) <= 0.8 + 0.02
    far = ((soft.abs() - 0.8).abs() < 1e-4).expand_as(soft)
    assert far.any()
    assert torch.allclose(sharp[far], soft[far], atol=1e-3)


@pytest.mark.parametrize("reach", [2.0, 3.0, 4.0])
def test_a_thin_line_stays_a_line(reach: float) -> None:
    """Both its sides move towards it; none reaches across it, which would leave a row of dots."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    away = (columns - 32) + 0.35 * (rows - 32)
    line = (0.8 - 1.4 * torch.exp(-(away**2) / 4)).expand(1, 3, 64, 64).clone()
    darkest = warp_sharpened(line, reach)[0, 0, 12:-12].amin(1)
    assert float(darkest.max() - darkest.min()) < 0.2


@pytest.mark.parametrize("reach", [1.0, 2.4, 6.0])
def test_a_pixel_depends_on_those_that_are_said_to_be_seen(reach: float) -> None:
    picture = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(3)) * 2 - 1
    cut = pixels_seen(reach) + MARGIN
    other = picture.clone()
    other[..., : 48 - cut] = 0.2
    whole, changed = warp_sharpened(picture, reach), warp_sharpened(other, reach)
    assert torch.allclose(whole[..., 48:], changed[..., 48:], atol=1e-6)


def test_flat_pictures_and_borders_stay_as_they_are() -> None:
    flat = torch.full((2, 3, 16, 24), 0.3)
    assert torch.allclose(warp_sharpened(flat, 3.0), flat, atol=1e-6)
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    sharp = warp_sharpened(picture, 3.0)
    for line in (..., 0), (..., -1), (..., 0, slice(None)), (..., -1, slice(None)):
        assert torch.allclose(sharp[line], picture[line], atol=1e-5)
    assert not torch.allclose(sharp[..., MARGIN:-MARGIN, MARGIN:-MARGIN], picture[..., 4:-4, 4:-4])


def test_turned_and_mirrored_pictures_give_turned_and_mirrored_ones() -> None:
    picture = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1
    sharp = warp_sharpened(picture, 2.0)
    assert torch.allclose(warp_sharpened(picture.flip(-1), 2.0).flip(-1), sharp, atol=1e-4)
    assert torch.allclose(warp_sharpened(picture.mT, 2.0).mT, sharp, atol=1e-4)


def test_a_picture_does_not_depend_on_its_batch_and_no_reach_is_no_change() -> None:
    batch = torch.cat([edge(), edge(28.0), edge(angle=1.0)])
    together = warp_sharpened(batch, 2.8)
    assert torch.allclose(together[1:2], warp_sharpened(batch[1:2], 2.8), atol=1e-6)
    assert warp_sharpened(batch, 0.0) is batch
    assert warp_sharpened(batch.bfloat16(), 1.0).dtype is torch.bfloat16

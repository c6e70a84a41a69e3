"""BSR degradation against Pillow's JPEG, Gaussians' moments, and seeds."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unclip.rng import BatchRng
from unclip.stages.degradation import Bsr, blurred, degraded, jpeg


def photo(height: int = 24, width: int = 40) -> Tensor:
    """(1, 3, H, W): waves, edges and colours."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([(x / 5).sin(), (y / 4 + x / 9).cos(), ((x - y) / 7).sin() * (x > 20)])
    return (0.8 * waves)[None]


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 95, 100])
@pytest.mark.parametrize("size", [(24, 40), (21, 13)])
def test_jpeg_is_pillows(quality: int, size: tuple[int, int]) -> None:
    """To the rounding of its whole-number arithmetic; the picture is changed far more."""
    image = photo(*size)
    pixels = ((image[0] + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    theirs = np.asarray(Image.open(file)).astype(float)
    ours = ((jpeg(image, quality)[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    off = np.abs(ours - theirs)
    assert off.mean() < 0.4 and np.quantile(off, 0.9) <= 1.01
    if quality <= 50:
        assert np.abs(pixels - theirs).mean() > 4 * off.mean()


@pytest.mark.parametrize(("along", "across", "angle"), [(2.0, 0.7, 0.6), (1.5, 1.5, 0.0)])
def test_a_blurred_point_has_the_gaussians_moments(
    along: float, across: float, angle: float
) -> None:
    point = torch.zeros(1, 1, 41, 41)
    point[0, 0, 20, 20] = 1
    seen = blurred(point, along, across, angle)[0, 0].double()
    place = torch.arange(41, dtype=torch.float64) - 20
    y, x = torch.meshgrid(place, place, indexing="ij")
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ).double()
    want = turn @ torch.diag(torch.tensor([along**2, across**2]).double()) @ turn.T
    assert float(seen.sum()) == pytest.approx(1, abs=1e-5)
    moments = [[(seen * a * b).sum() for b in (x, y)] for a in (x, y)]
    assert torch.allclose(torch.tensor(moments), want, rtol=0.05, atol=0.02)


def test_one_colour_stays_one_colour_but_for_noise() -> None:
    flat = torch.full((3, 3, 16, 16), 2 * 128 / 255 - 1)
    none = Bsr(noise=(0.0, 0.0), quality=(100.0, 100.0))
    assert (degraded(flat, none, BatchRng(0, 3)) - flat).abs().max() < 1.5 / 127.5
    noisy = degraded(flat, Bsr(noise=(0.05, 0.05), sigma=(0.1, 0.1), scale=(1.0, 1.0),
                               quality=(100.0, 100.0)), BatchRng(0, 3))  # fmt: skip
    assert float((noisy - flat).std()) == pytest.approx(0.1, rel=0.15)  # of a range of 2


def test_a_picture_depends_on_its_own_place_alone() -> None:
    images = photo(16, 16).repeat(5, 1, 1, 1)
    every = degraded(images, Bsr(), BatchRng("x", 5, torch.device("cpu"), 10))
    later = degraded(images[:2], Bsr(), BatchRng("x", 2, torch.device("cpu"), 13))
    assert torch.equal(every[3:], later)
    assert len({one.numpy().tobytes() for one in every}) == 5
    assert every.shape == images.shape and every.abs().max() <= 1


def test_the_order_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """All 120 orders are as likely: each step is first in a fifth of the samples."""
    first: list[int] = []
    seen: list[list[int]] = []

    def step(number: int) -> Callable[..., Tensor]:
        def note(image: Tensor, *_: Any) -> Tensor:
            seen[-1].append(number)
            return image

        return note

    def done(image: Tensor, quality: float) -> Tensor:
        first.append(seen[-1][0])
        seen.append([])
        return image

    seen.append([])
    monkeypatch.setattr("unclip.stages.degradation._STEPS", tuple(step(i) for i in range(5)))
    monkeypatch.setattr("unclip.stages.degradation.jpeg", done)
    degraded(torch.zeros(1500, 3, 8, 8), Bsr(), BatchRng("order", 1500))
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in seen[:-1])
    shares = np.bincount(first, minlength=5) / len(first)
    assert np.abs(shares - 0.2).max() < 0.04
    assert len({tuple(one) for one in seen[:-1]}) == 120


def test_a_share_is_left_alone_and_spans_rise(make_stage: Callable[..., Any]) -> None:
    images = photo(8, 8).repeat(400, 1, 1, 1)
    same = (degraded(images, Bsr(share=0.3), BatchRng(0, 400)) == images).flatten(1).all(1)
    assert float(same.float().mean()) == pytest.approx(0.7, abs=0.07)
    with pytest.raises(ValueError, match=r"quality must rise within 1 to 100, got 90\.0, 30\.0"):
        Bsr(quality=(90.0, 30.0))
    stage = make_stage("upsampler", corruption={"bsr": {}, "noise": 0.0})
    small = photo(8, 8).repeat(4, 1, 1, 1)
    found = stage.corrupt(small, torch.zeros(4), BatchRng("y", 4))
    assert torch.equal(found, degraded(small, Bsr(), BatchRng("y", 4)))

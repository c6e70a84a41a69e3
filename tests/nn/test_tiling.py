"""Wrapping: convolutions and enlargements of a picture that goes on beyond its edges."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unclip.nn.layers import conv_enlarged
from unclip.nn.tiling import wrapping
from unclip.types import Step

AXES = pytest.mark.parametrize("axes", ["x", "y", "xy"])


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


LAYERS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "3x3": (lambda: nn.Conv2d(4, 5, 3, padding=1), 1),
    "15x15": (lambda: nn.Conv2d(4, 5, 15, padding=7), 1),
    "strided": (lambda: nn.Conv2d(4, 5, 3, stride=2, padding=1), 0.5),
    "4x4": (lambda: nn.Conv2d(4, 5, 4, stride=2, padding=1), 0.5),
    "transposed": (lambda: nn.ConvTranspose2d(4, 5, 4, 2, 1), 2),
}
"""A layer, and how many times it enlarges."""


@AXES
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_rolled_picture_gives_the_rolled_result(name: str, axes: str) -> None:
    make, scale = LAYERS[name]
    torch.manual_seed(0)
    layer, x = make(), randn(2, 4, 8, 12)
    with wrapping(axes):
        plain = layer(x)
        for axis, dim in (("x", 3), ("y", 2)):
            rolled, moved = layer(x.roll(2, dim)), plain.roll(int(2 * scale), dim)
            assert torch.allclose(rolled, moved, atol=1e-5) == (axis in axes)
    assert plain.shape == layer(x).shape
    assert not torch.allclose(layer(x.roll(2, 3)), layer(x).roll(int(2 * scale), 3), atol=1e-3)


@torch.no_grad()
def test_a_convolution_is_that_of_the_picture_padded_with_itself() -> None:
    conv, x = nn.Conv2d(4, 5, 3, padding=1), randn(1, 4, 6, 6)
    bare = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), conv.weight, conv.bias)
    zeros_below = F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))
    with wrapping("xy"):
        assert torch.allclose(conv(x), bare, atol=1e-6)
    with wrapping("x"):
        half = F.conv2d(zeros_below[:, :, :, :], conv.weight, conv.bias)
        assert torch.allclose(conv(x), half, atol=1e-6)


@torch.no_grad()
def test_enlarging_within_a_convolution_and_by_interpolation() -> None:
    conv, x = nn.Conv2d(4, 5, 3, padding=1), randn(1, 4, 32, 32)
    with wrapping("xy"):
        large = conv_enlarged(x, conv)
        whole = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        assert torch.allclose(large, whole, atol=1e-5)
        assert torch.allclose(conv_enlarged(x.roll(3, 2), conv), large.roll(6, 2), atol=1e-5)
        for mode in ("bilinear", "bicubic"):
            one, other = (
                F.interpolate(y, scale_factor=4.0, mode=mode, antialias=True)
                for y in (x, x.roll(5, 3))
            )
            assert one.shape == (1, 4, 128, 128)
            assert torch.allclose(other, one.roll(20, 3), atol=1e-5)


@torch.no_grad()
def test_only_borders_of_pictures_are_wrapped() -> None:
    x, mask = randn(1, 2, 4, 4), torch.ones(2, 3, dtype=torch.bool)
    with wrapping("xy"):
        assert torch.equal(F.pad(x, (0, 1, 0, 1)), F.pad(x, (0, 1, 0, 1), mode="circular"))
        assert F.pad(mask, (0, 2), value=False).sum() == 6
        assert F.pad(x, (1, 1, 1, 1), value=7.0)[0, 0, 0, 0] == 7
        assert torch.equal(F.conv2d(x, torch.ones(1, 2, 1, 1)), x.sum(1, keepdim=True))


@torch.no_grad()
def test_it_ends_with_its_block_and_reaches_no_other_thread_and_no_callback() -> None:
    conv, x = nn.Conv2d(4, 5, 3, padding=1), randn(1, 4, 6, 6)
    usual, seen = conv(x), list[Tensor]()

    def look(step: Step) -> None:
        seen.append(conv(x))

    with wrapping("xy", look) as on_step:
        assert on_step is not None
        on_step(Step("decoder", 1, 1, x))
        other = threading.Thread(target=look, args=(None,))
        other.start()
        other.join()
        assert not torch.allclose(conv(x), usual)
    seen.append(conv(x))
    assert len(seen) == 3
    assert all(torch.equal(one, usual) for one in seen)
    with pytest.raises(RuntimeError), wrapping("xy"):
        raise RuntimeError
    assert torch.equal(conv(x), usual)
    with wrapping("", look) as same:
        assert same is look
        assert torch.equal(conv(x), usual)

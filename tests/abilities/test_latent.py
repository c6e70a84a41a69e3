"""The bipartite latent: inverted where that can be done, and paths on the sphere."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from unclip import Pipeline
from unclip.abilities._latent import (
    Latent,
    blurred,
    decode_latents,
    of_picture,
    slerp,
    with_detail,
)
from unclip.media import to_pictures, to_tensor
from unclip.rng import Rng


def units(seed: int, *shape: int) -> torch.Tensor:
    """Two samples of unit norm."""
    x = Rng([f"{seed}/0", f"{seed}/1"]).randn(math.prod(shape)).double()
    return F.normalize(x, dim=1).view(2, *shape)


@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), shape=st.sampled_from([(5,), (3, 2, 2)]))
def test_slerp_keeps_the_norm_and_turns_in_proportion(
    seed: int, share: float, shape: tuple[int, ...]
) -> None:
    a, b = units(seed, *shape), units(seed + 1, *shape)
    between = slerp(a, b, share).flatten(1)
    assert torch.allclose(between.norm(dim=1), torch.ones(2).double(), atol=1e-6)
    whole = (a.flatten(1) * b.flatten(1)).sum(1).clamp(-1, 1).acos()
    angle = (a.flatten(1) * between).sum(1).clamp(-1, 1).acos()
    rest = (b.flatten(1) * between).sum(1).clamp(-1, 1).acos()
    assert torch.allclose(angle, share * whole, atol=1e-5)
    assert torch.allclose(rest, (1 - share) * whole, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 7.3, 1e-3])
def test_slerp_ends_are_exact(scale: float) -> None:
    a, b = torch.randn(2, 3, 4), scale * torch.randn(2, 3, 4)
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.equal(slerp(a, b, 1.0), b)


def test_slerp_of_the_same_is_the_same() -> None:
    a = torch.randn(2, 6)
    for share in (0.0, 0.3, 1.0):
        assert torch.allclose(slerp(a, a.clone(), share), a, atol=1e-6)
    assert torch.allclose(slerp(a, 3 * a, 0.5), 2 * a, atol=1e-5)


def test_x_t_of_a_picture_is_known_where_the_network_is_exact(
    exact: Pipeline, gaussian: Callable[..., Image.Image]
) -> None:
    """The probability-flow ODE only scales a Gaussian: x_T is x0 / 0.5."""
    latent = of_picture(exact, gaussian(), 0, {"steps": 50})
    assert latent.picture is not None and latent.detail is not None
    x_t = latent.noises["decoder"]
    ratio = float((x_t * latent.picture).sum() / latent.picture.square().sum())
    assert torch.allclose(x_t, ratio * latent.picture, atol=1e-3)
    assert ratio == pytest.approx(2.0, rel=0.1)  # of first order in 50 steps
    assert float(latent.detail.abs().max()) < 1e-3
    other = latent.noises["decoder"].flip(-1)
    changed = Latent(latent.image_embed, 0, {"decoder": other})
    (mirrored, _) = decode_latents(exact, [changed], [5], {})
    assert not torch.allclose(mirrored, latent.picture, atol=0.1)


def test_what_cannot_be_inverted_gets_the_noise_of_its_seed(
    exact: Pipeline, few: dict[str, int]
) -> None:
    gray = Image.new("RGB", (8, 8), (128, 128, 128))  # x_T would be next to 0 everywhere
    settings = {"steps": few["steps"]}
    first, again, other = (of_picture(exact, gray, seed, settings) for seed in (0, 0, 1))
    assert not first.noises
    assert torch.equal(first.detail, again.detail)  # type: ignore[arg-type]
    assert not torch.allclose(first.detail, other.detail, atol=0.1)  # type: ignore[arg-type]


def test_detail_comes_back_where_the_small_picture_stayed() -> None:
    small, changed = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    changed[..., :, 5:] = 1.0
    drawn = torch.zeros(1, 3, 16, 16)
    # half a period every two columns: all of it detail, with a mean of nothing
    truth = 0.3 * torch.tensor([1.0, -1.0]).repeat(8).expand(1, 3, 16, 16)
    latent = Latent(torch.zeros(1, 4), 0, {}, truth, truth - drawn, small)
    image = with_detail(drawn, changed, latent)
    assert torch.allclose(image[..., :6], truth[..., :6], atol=0.1)
    assert torch.allclose(image[..., 10:], drawn[..., 10:], atol=0.1)
    half = with_detail(drawn, small, latent, 0.5)
    assert torch.allclose(half, truth / 2)
    assert torch.allclose(with_detail(drawn, small, latent), truth, atol=1e-6)
    tint = Latent(latent.image_embed, 0, {}, drawn, torch.full_like(drawn, 0.3), small)
    tinted = with_detail(drawn, changed, tint)[0, 0, 8]
    assert tinted[0] > 0.25 and tinted[15] < 0.1, "a tint fades towards what changed"
    assert tinted.diff().abs().max() < 0.15, "and has no edge there"
    assert with_detail(drawn, small, Latent(torch.zeros(1, 4), 0)) is drawn
    coarse = Latent(latent.image_embed, 0, {}, truth, torch.full((1, 3, 8, 8), 0.3), small)
    assert torch.allclose(with_detail(drawn, small, coarse), drawn + 0.3, atol=1e-5)


def test_means_over_a_large_picture_are_those_of_it_reduced() -> None:
    x = F.interpolate(torch.rand(1, 1, 6, 6), (1024, 1024), mode="bilinear")
    reach = 1024 // 8
    every = F.avg_pool2d(x, 2 * reach + 1, 16, padding=reach, count_include_pad=False)
    assert torch.allclose(blurred(x)[..., ::16, ::16], every, atol=0.01)


def test_latents_are_drawn_in_batches_of_any_length(
    pipe: Pipeline, few: dict[str, int], noise: Callable[..., Image.Image]
) -> None:
    ends = [
        Latent(F.normalize(torch.randn(1, 32), dim=1), 0, {"decoder": torch.randn(1, 3, 8, 8)})
        for _ in range(18)
    ]
    images, small = decode_latents(pipe, ends, list(range(18)), few)
    assert images.shape == (18, 3, 16, 16) and small.shape == (18, 3, 8, 8)
    for index in (0, 15, 16, 17):
        alone, _ = decode_latents(pipe, [ends[index]], [index], few)
        assert torch.allclose(images[index], alone[0], atol=1e-3)
    assert to_tensor(to_pictures(images)).shape == images.shape

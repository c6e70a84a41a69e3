"""Autoencoders of latents: shapes, their norms and edges by the definition, the codebook."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.families.latent._autoencoder import (
    AttentionBlock,
    Autoencoder,
    AutoencoderConfig,
    Norm,
    SpatialNorm,
)
from unclip.families.latent._unet import Resample

TINY: dict[str, Any] = {"channels": (32, 64), "depth": 1, "groups": 8}


def make(**changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(**{**TINY, **changes})).eval()


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_each_level_halves_the_side(levels: int) -> None:
    net = make(channels=(32,) * levels, latent_channels=3)
    assert net.config.factor == 2 ** (levels - 1)
    latents = net.encode(randn(2, 3, 16, 8))
    assert latents.shape == (2, 3, 16 // net.config.factor, 8 // net.config.factor)
    assert net.decode(latents).shape == (2, 3, 16, 8)


def test_latents_are_the_mean_times_the_scale_and_the_way_back_undoes_it() -> None:
    plain, scaled = make(), make(scale=0.18215)
    scaled.load_state_dict(plain.state_dict())
    image = randn(1, 3, 8, 8)
    mean, log_variance = plain.moments(image)
    assert torch.allclose(scaled.encode(image), 0.18215 * mean)
    assert log_variance is not None
    assert log_variance.shape == mean.shape
    assert torch.allclose(scaled.decode(scaled.encode(image)), plain.decode(mean), atol=1e-5)


def test_the_log_variance_stays_in_bounds() -> None:
    net = make()
    with torch.no_grad():
        net.quant.bias[4:6], net.quant.bias[6:] = 1e4, -1e4
    log_variance = net.moments(randn(1, 3, 8, 8))[1]
    assert log_variance is not None
    assert (log_variance[:, :2] == 20).all()
    assert (log_variance[:, 2:] == -30).all()


def test_without_a_gaussian_there_is_no_variance() -> None:
    net = make(output="latents", codes=6)
    latents, log_variance = net.moments(randn(1, 3, 8, 8))
    assert log_variance is None
    assert torch.equal(net.encode(randn(1, 3, 8, 8)), latents)


@pytest.mark.parametrize("corner", [(0, 0), (1, 1), (2, 2)])
def test_downsampling_reaches_over_the_right_and_lower_edge_alone(corner: tuple[int, int]) -> None:
    down = Resample(1, enlarges=False, corner=True)
    with torch.no_grad():
        down.conv.weight.zero_()
        down.conv.weight[0, 0, corner[0], corner[1]] = 1
        down.conv.bias.zero_()  # type: ignore[union-attr]
    x = randn(1, 1, 6, 6)
    beyond = F.pad(x, (0, 2, 0, 2))  # what a kernel's taps meet, two pixels apart
    assert torch.equal(down(x), beyond[..., corner[0] :: 2, corner[1] :: 2][..., :3, :3])


def test_upsampling_repeats_pixels_before_it_convolves() -> None:
    up = Resample(1, enlarges=True, corner=True)
    with torch.no_grad():
        up.conv.weight.zero_()
        up.conv.weight[0, 0, 1, 1] = 1
        up.conv.bias.zero_()  # type: ignore[union-attr]
    x = randn(1, 1, 3, 3)
    assert torch.equal(up(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_a_spatial_norm_scales_and_shifts_by_the_latent_at_each_place() -> None:
    """MoVQ, eq. 4, in the order that it is written in: the latents enlarged, then convolved."""
    norm, x, z = SpatialNorm(32, 4), randn(2, 32, 8, 8), randn(2, 4, 4, 4, seed=2)
    large = z.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = F.group_norm(x, 32, eps=1e-6) * norm.scale(large) + norm.shift(large)
    assert torch.allclose(norm(x, z), expected, atol=1e-5)


def test_a_norm_that_is_not_spatial_does_not_look_at_the_latents() -> None:
    norm, x = Norm(8, 32), randn(2, 32, 4, 4)
    assert torch.equal(norm(x, randn(2, 4, 2, 2)), norm(x))


def test_spatial_norms_are_the_decoders_alone_and_see_the_latents() -> None:
    net = make(spatial=True, output="latents")
    kinds = {
        half: {type(m) for m in getattr(net, half).modules()} for half in ("encoder", "decoder")
    }
    assert SpatialNorm not in kinds["encoder"]
    assert Norm not in kinds["decoder"]
    z = randn(1, 4, 4, 4)
    whole = net.decode(z)
    blind = net.decoder(net.post_quant(z), torch.zeros_like(z))
    assert not torch.allclose(whole, blind, atol=1e-3)


def test_attention_is_one_head_over_all_places() -> None:
    block, x = AttentionBlock(AutoencoderConfig(**TINY), 32, spatial=False), randn(2, 32, 3, 5)
    places = block.norm(x).flatten(2).transpose(1, 2)  # (B, 15, 32)
    q, k, v = block.qkv(places).chunk(3, dim=2)
    weights = (q @ k.transpose(1, 2) / 32**0.5).softmax(-1)
    expected = x + block.proj(weights @ v).transpose(1, 2).view(x.shape)
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_attention_stands_in_the_middle_and_where_it_is_wanted() -> None:
    def count(net: Autoencoder) -> tuple[int, int]:
        halves = (net.encoder, net.decoder)
        a, b = (sum(isinstance(m, AttentionBlock) for m in half.modules()) for half in halves)
        return a, b

    assert count(make()) == (1, 1)
    assert count(make(attention=(1,))) == (2, 3)  # of one block there, and of two back


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 24}, "channels 32 is not a multiple of 24 groups"),
        (
            {"channels": (48, 64), "groups": 16, "spatial": True},
            "48 is not a multiple of 32 groups",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AutoencoderConfig.parse({**TINY, **changes})

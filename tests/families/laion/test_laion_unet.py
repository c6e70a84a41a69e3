"""LAION's U-Net: its conditions, its parts against the plain formula, and the sizes it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from unclip.families.laion._blocks import CrossEmbed, LinearAttention
from unclip.families.laion._layers import sinusoid
from unclip.families.laion._unet import LaionUNet, LaionUNetConfig
from unclip.types import Cond

BASE: dict[str, Any] = {
    "image_size": 8, "channels": 8, "multipliers": (1, 2), "depth": (1, 1), "groups": (4, 4),
    "attention": (False, True), "heads": 2, "head_dim": 4, "context_dim": 6,
}  # fmt: skip
GUIDED = {"embed_dim": 10, "text_width": 12, "context": 5}
UPSAMPLER = {"low_res": True, "low_res_noise": True, "out_channels": 3}


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


def make(**changes: Any) -> LaionUNet:
    torch.manual_seed(0)
    net = LaionUNet(LaionUNetConfig(**{**BASE, **changes})).eval()
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def cond(batch: int = 2) -> Cond:
    torch.manual_seed(1)
    return Cond(
        image_embed=F.normalize(torch.randn(batch, 10), dim=-1),
        text_encodings=torch.randn(batch, 4, 12),
        text_mask=torch.arange(4) < torch.arange(batch)[:, None] + 2,
        low_res=torch.randn(batch, 3, 8, 8),
        low_res_level=torch.full((batch,), 0.2),
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "guided": GUIDED,
    "old": {**GUIDED, "dialect": "1.1.0", "linear_attention": True, "down_first": True},
    "oldest": {**GUIDED, "dialect": "0.15.4", "upsample": "transpose"},
    "upsampler": UPSAMPLER,
    "odd": {
        **GUIDED, "first_kernels": (5,), "down_kernels": (2, 4), "upsample": "nearest",
        "scale_skips": True, "last_kernel": 3, "cosine": True, "cosine_cross": True,
        "image_in_time": False, "depth": (2, 1), "linear_attention": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_picture_is_its_own_whatever_the_layout(variant: str) -> None:
    net, given = make(**VARIANTS[variant]), cond(3)
    x, t = torch.randn(3, 3, 8, 8), torch.tensor([0.0, 3.5, 999.0])
    out = net(x, t, net.encode(of(given)))
    assert out.shape == (3, net.config.out_channels, 8, 8)
    alone = net(x[1:2], t[1:2], net.encode(of(given.map(lambda v: v[1:2]))))
    torch.testing.assert_close(out[1:2], alone, atol=1e-5, rtol=1e-4)
    last = net(x.contiguous(memory_format=torch.channels_last), t, net.encode(of(given)))
    torch.testing.assert_close(out, last, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_condition_that_it_reads_is_felt_and_no_other() -> None:
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 900.0])
    for variant, felt in (
        ("guided", {"image_embed", "text_encodings", "text_mask"}),
        ("upsampler", {"low_res", "low_res_level"}),
    ):
        net, given = make(**VARIANTS[variant]), cond()
        out = net(x, t, net.encode(of(given)))
        changes = {name: value.flip(0) for name, value in given.items()}
        changes["low_res_level"] = torch.full((2,), 0.7)
        changed = {
            name
            for name, value in changes.items()
            if not torch.allclose(out, net(x, t, net.encode(of(given.replace(**{name: value})))))
        }
        assert changed == felt
    assert make(**GUIDED).config.reads == {"image_embed", "text_encodings", "text_mask"}
    assert make(**UPSAMPLER).config.reads == set()


@torch.no_grad()
def test_what_is_hidden_does_not_get_through() -> None:
    net, given = make(**GUIDED), cond()
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 900.0])
    gone, there = torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
    hidden = given.replace(keep_text=gone, keep_image=gone)
    out = net(x, t, net.encode(of(hidden)))
    torch.testing.assert_close(out, net(x, t, net.encode(of(hidden.replace(**_other(given))))))
    shown = net(x, t, net.encode(of(given)))
    kept = given.replace(keep_text=there, keep_image=there)
    torch.testing.assert_close(shown, net(x, t, net.encode(of(kept))))
    half = net(x, t, net.encode(of(kept.replace(keep_text=torch.tensor([True, False])))))
    torch.testing.assert_close(half[0], shown[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(half[1], shown[1])


def _other(given: Cond) -> dict[str, torch.Tensor]:
    assert given.image_embed is not None and given.text_encodings is not None
    return {"image_embed": -given.image_embed, "text_encodings": -given.text_encodings}


@torch.no_grad()
def test_padding_is_learned_vectors_up_to_the_context() -> None:
    net, given = make(**GUIDED), cond()
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 900.0])
    out = net(x, t, net.encode(of(given)))
    assert given.text_encodings is not None and given.text_mask is not None
    junk = torch.where(given.text_mask[..., None], given.text_encodings, torch.randn(1))
    torch.testing.assert_close(out, net(x, t, net.encode(of(given.replace(text_encodings=junk)))))
    longer = given.replace(
        text_encodings=F.pad(given.text_encodings, (0, 0, 0, 1)),
        text_mask=F.pad(given.text_mask, (0, 1)),
    )
    torch.testing.assert_close(out, net(x, t, net.encode(of(longer))))
    keys = [k.shape[2] for k, _ in net.encode(of(given)).context]
    assert keys == [5, 10, 10, 5, 5]  # a learned one, 4 of z_i, and in the middle 5 of the text


@torch.no_grad()
def test_the_text_is_encoded_once_a_prompt() -> None:
    net = make(**GUIDED)
    encoded = net.encode(of(cond()))
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 900.0])
    first = net(x, t, encoded)
    for name in ("text_in", "image_tokens", "image_vector"):
        getattr(net, name).weight.fill_(torch.nan)
    torch.testing.assert_close(net(x, t, encoded), first)


@pytest.mark.parametrize("tamed", [False, True])
@torch.no_grad()
def test_linear_attention_is_its_formula(tamed: bool) -> None:
    torch.manual_seed(0)
    attention = LinearAttention(8, heads=2, head_dim=4, tamed=tamed)
    pixels = torch.randn(3, 10, 8)
    qkv = attention.qkv(attention.norm(pixels)).view(3, 10, 3, 2, 4)
    q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))  # (B, heads, H·W, 4)
    weights = q.softmax(-1) / 2 @ k.softmax(-2).transpose(-1, -2)  # (B, heads, H·W, H·W)
    v = F.normalize(v, dim=-1) / 10 if tamed else v
    mixed = F.gelu((weights @ v).transpose(1, 2).flatten(2))
    expected = attention.norm_out(attention.proj(mixed))
    torch.testing.assert_close(attention(pixels), expected)


def test_convolutions_side_by_side_share_the_channels() -> None:
    layer = CrossEmbed(3, 12, (15, 3, 7), stride=1)
    assert [(c.kernel_size[0], c.out_channels) for c in layer.convs] == [(3, 6), (7, 3), (15, 3)]  # type: ignore[union-attr]
    assert layer(torch.zeros(1, 3, 5, 5)).shape == (1, 12, 5, 5)
    for kernels in ((2,), (4,), (2, 4)):
        assert CrossEmbed(3, 8, kernels, stride=2)(torch.zeros(1, 3, 6, 6)).shape == (1, 8, 3, 3)


def test_timesteps_are_sines_down_to_a_ten_thousandth() -> None:
    features = sinusoid(torch.tensor([0.0, 2.0]), 6)
    angles = 2 * torch.tensor([1.0, 0.01, 0.0001])
    assert torch.equal(features[0], torch.tensor([0.0, 0, 0, 1, 1, 1]))
    torch.testing.assert_close(features[1], torch.cat([angles.sin(), angles.cos()]))


@torch.no_grad()
def test_an_upsampler_takes_pictures_of_other_sizes() -> None:
    net = make(**UPSAMPLER)
    x, given = torch.randn(1, 3, 4, 12), cond(1).replace(low_res=torch.randn(1, 3, 4, 12))
    assert net(x, torch.tensor([5.0]), net.encode(of(given))).shape == (1, 3, 4, 12)


@torch.no_grad()
def test_bfloat16_is_near_float32() -> None:
    net, given = make(**GUIDED), cond()
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 900.0])
    exact = net(x, t, net.encode(of(given)))
    half = net.to(torch.bfloat16)
    out = half(x.bfloat16(), t, half.encode(of(given)))
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": (1,)}, "depth needs 2 entries"),
        ({"attention": (True,) * 3}, "attention needs 2 entries"),
        ({"multipliers": (2, 2)}, "the first of multipliers is 1 unless down_first"),
        ({"image_size": 7}, "image_size 7 is not a multiple of 2"),
        ({"image_size": 6, "down_first": True}, "image_size 6 is not a multiple of 4"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LaionUNetConfig(**{**BASE, **changes})

"""The U-Net of latent diffusion: what it makes of text and z_i, and its blocks by definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.families.latent._unet import (
    GatedMlp,
    ImageVector,
    LatentUNet,
    LatentUNetConfig,
    TransformerBlock,
)
from unclip.nn.layers import timestep_embedding
from unclip.types import Cond

TEXT: dict[str, Any] = {
    "width": 16, "depth": 1, "heads": 2, "vocab_size": 40, "context": 6, "learned_padding": False,
}  # fmt: skip
TINY: dict[str, Any] = {
    "image_size": 4, "channels": (16, 32), "depth": 1, "attention": (0,), "heads": (2, 4),
    "groups": 8, "text": TEXT, "pad_id": 7, "empty": (1, 2),
}  # fmt: skip


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


def make(**changes: Any) -> LatentUNet:
    torch.manual_seed(0)
    net = LatentUNet(LatentUNetConfig.parse({**TINY, **changes})).eval()
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def cond(*rows: list[int], **more: Any) -> Cond:
    tokens = torch.full((len(rows), 6), 39)
    mask = torch.zeros(len(rows), 6, dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)], mask[index, : len(row)] = torch.tensor(row), True
    return Cond(text_tokens=tokens, text_mask=mask, **more)


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def out(net: LatentUNet, given: Cond) -> Tensor:
    x = randn(1, 4, 4, 4).expand(len(given), -1, -1, -1)
    return net(x, torch.full((len(given),), 300.0), net.encode(of(given)))


def test_it_denoises_latents_of_any_size_that_halves() -> None:
    net = make()
    encoded = net.encode(of(cond([1, 5, 2], [1, 2])))
    for side in (4, 6, 10):
        assert net(randn(2, 4, side, 4), torch.tensor([3.0, 900.0]), encoded).shape == (
            2, 4, side, 4,
        )  # fmt: skip


def test_padding_is_the_token_that_the_file_wants_and_is_looked_at() -> None:
    net, short = make(), cond([1, 5, 2])
    spelt = cond([1, 5, 2, 7, 7, 7])
    assert torch.equal(out(net, short), out(net, spelt))
    assert torch.equal(net._tokens(of(short)), spelt.text_tokens)
    other = make(pad_id=2)
    other.load_state_dict(net.state_dict())
    assert not torch.allclose(out(net, short), out(other, short), atol=1e-4)


def test_a_hidden_text_is_the_empty_one() -> None:
    net = make()
    hidden = cond([1, 5, 2], [1, 5, 2], keep_text=torch.tensor([False, True]))
    both = out(net, hidden)
    assert torch.allclose(both[:1], out(net, cond([1, 2])), atol=1e-5)
    assert torch.allclose(both[1:], out(net, cond([1, 5, 2])), atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-3)


def test_a_prompt_of_several_rows_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen = make(), []
    read = net.text.forward
    monkeypatch.setattr(net.text, "forward", lambda t, m: seen.append(len(t)) or read(t, m))
    rows = ([1, 9, 2], [1, 2], [1, 9, 2], [1, 2])
    context = net.encode(of(cond(*rows))).context[0]
    assert seen == [2]
    for index, row in enumerate(rows):
        assert torch.allclose(context[index], net.encode(of(cond(row))).context[0][0], atol=1e-6)


def test_what_is_behind_a_token_does_not_change_it() -> None:
    """The text encoder is causal."""
    net = make()
    a, b = (net.encode(of(cond(row))).context[0] for row in ([1, 9, 4, 2], [1, 9, 5, 2]))
    assert torch.allclose(a[:, :, :2], b[:, :, :2], atol=1e-6)
    assert not torch.allclose(a[:, :, 2], b[:, :, 2], atol=1e-3)


def test_a_transformer_block_by_its_definition() -> None:
    block, x, context = TransformerBlock(8, 2, 6), randn(1, 5, 8), randn(1, 3, 6, seed=2)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = []
        for h in range(2):
            part = slice(4 * h, 4 * h + 4)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / 4**0.5
            heads.append(scores.softmax(-1) @ v[..., part])
        return torch.cat(heads, dim=-1)

    h = x + block.proj1(attend(*block.qkv(block.norm1(x)).chunk(3, dim=2)))
    k, v = block.kv(context).chunk(2, dim=2)
    h = h + block.proj2(attend(block.q(block.norm2(h)), k, v))
    value, gate = block.mlp.fc1(block.norm3(h)).chunk(2, dim=2)
    h = h + block.mlp.fc2(value * F.gelu(gate))
    assert torch.allclose(block(x, block.keys_values(context)), h, atol=1e-5)


@torch.no_grad()
def test_the_second_half_is_the_gate() -> None:
    mlp = GatedMlp(1)
    with torch.no_grad():
        mlp.fc1.weight.zero_()
        mlp.fc1.bias.copy_(torch.tensor([2.0] * 4 + [-50.0] * 4))
        mlp.fc2.bias.zero_()
    assert mlp(torch.ones(1, 1, 1)).abs().max() < 1e-6  # a closed gate
    with torch.no_grad():
        mlp.fc1.bias[4:] = 3.0
        mlp.fc2.weight.fill_(1.0)
    assert float(mlp(torch.ones(1, 1, 1))) == pytest.approx(
        4 * 2 * float(F.gelu(torch.tensor(3.0)))
    )


def test_z_i_is_noised_where_it_is_white() -> None:
    vector = ImageVector(8, 4)
    vector.mean.copy_(randn(8, seed=2))
    vector.std.copy_(randn(8, seed=3).abs() + 0.5)
    z_i, noise = randn(2, 8), randn(2, 8, seed=4)
    one, none = torch.ones(()), torch.zeros(())
    assert torch.allclose(vector.noised(z_i, noise, one, none), z_i, atol=1e-6)
    only_noise = vector.noised(z_i, noise, none, one)
    assert torch.allclose(only_noise, noise * vector.std + vector.mean)
    half = vector.noised(z_i, noise, one * 0.6, one * 0.8)
    white = (half - vector.mean) / vector.std
    expected = 0.6 * (z_i - vector.mean) / vector.std + 0.8 * noise
    assert torch.allclose(white, expected, atol=1e-5)


def test_its_features_are_z_i_and_the_level() -> None:
    vector, z_i = ImageVector(8, 4), randn(2, 8)
    t = torch.tensor([0.0, 250.0])
    features = vector.features(z_i, t)
    assert torch.equal(features[:, :8], z_i)
    assert torch.equal(features[:, 8:], timestep_embedding(t, 8))
    plain = vector(vector.features(z_i, torch.zeros(2)), None)
    assert torch.equal(plain[0], vector(features, None)[0])
    assert not torch.allclose(plain[1], vector(features, None)[1], atol=1e-3)


def test_a_hidden_z_i_is_all_zeros_its_level_too() -> None:
    vector = ImageVector(8, 4)
    features = vector.features(randn(2, 8), torch.tensor([3.0, 250.0]))
    hidden = vector(features, torch.tensor([False, True]))
    nothing = vector.fc2(F.silu(vector.fc1(torch.zeros(1, 16))))
    assert torch.allclose(hidden[:1], nothing)
    assert torch.allclose(hidden[1:], vector(features[1:], None))


def test_it_says_what_it_reads() -> None:
    assert make().config.reads == {"text_tokens", "text_mask"}
    net = make(embed_dim=8)
    assert net.config.reads == {"text_tokens", "text_mask", "image_embed"}
    a, b = (out(net, cond([1, 2], image_embed=randn(1, 8, seed=s))) for s in (1, 2))
    assert not torch.allclose(a, b, atol=1e-4)
    z_i = randn(1, 8, seed=1)
    clean, noised = (net.image.features(z_i, torch.tensor([t])) for t in (0.0, 250.0))
    assert torch.equal(out(net, cond([1, 2], noised_image_embed=clean)), a)
    assert not torch.allclose(out(net, cond([1, 2], noised_image_embed=noised)), a, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": (2,)}, "heads (2,) are not one a level"),
        ({"heads": (3, 4)}, "channels 16 is not a multiple of its heads 3"),
        ({"groups": 32}, "and of groups 32"),
        ({"image_size": 5}, "image_size 5 is not a multiple of 2"),
        ({"empty": (1,) * 9}, "is longer than 6 tokens"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        LatentUNetConfig.parse({**TINY, **changes})
    assert message in str(caught.value)

"""The transformer, written out by hand, and its cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.nn.transformer import Transformer, TransformerConfig, causal_mask

CONFIG = TransformerConfig(width=12, depth=3, heads=3)


@pytest.fixture
def tokens() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 7, 12)


def make(causal: bool) -> Transformer:
    torch.manual_seed(0)
    net = Transformer(CONFIG, causal)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def by_hand(net: Transformer, x: Tensor, causal: bool) -> Tensor:
    """Pre-norm blocks with explicit softmax attention over heads of 4 numbers."""
    count = x.shape[1]
    for block in net.blocks:
        q, k, v = block.attention.qkv(block.norm1(x)).split(12, dim=-1)
        heads = []
        for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
            scores = q[..., part] @ k[..., part].transpose(1, 2) / 4**0.5
            if causal:
                future = torch.arange(count)[:, None] < torch.arange(count)
                scores = scores.masked_fill(future, float("-inf"))
            heads.append(scores.softmax(-1) @ v[..., part])
        x = x + block.attention.proj(torch.cat(heads, dim=-1))
        h = F.gelu(block.mlp[0](block.norm2(x)))
        x = x + block.mlp[2](h)
    return x


@pytest.mark.parametrize("causal", [True, False])
def test_it_is_the_formula(causal: bool, tokens: Tensor) -> None:
    net = make(causal)
    assert torch.allclose(net(tokens)[0], by_hand(net, tokens, causal), atol=1e-5)


@pytest.mark.parametrize("cuts", [(1,), (5,), (2, 3, 6), (1, 2, 3, 4, 5, 6)])
def test_in_pieces_it_is_the_same_as_at_once(cuts: tuple[int, ...], tokens: Tensor) -> None:
    net = make(causal=True)
    whole, whole_caches = net(tokens)
    caches, parts = None, []
    for piece in torch.tensor_split(tokens, cuts, dim=1):
        out, caches = net(piece, caches)
        parts.append(out)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5)
    assert caches is not None
    for (k, v), (whole_k, whole_v) in zip(caches, whole_caches, strict=True):
        assert k.shape == (2, 3, 7, 4)
        assert torch.allclose(k, whole_k, atol=1e-5)
        assert torch.allclose(v, whole_v, atol=1e-5)


def test_a_causal_one_never_looks_ahead(tokens: Tensor) -> None:
    changed = tokens.clone()
    changed[:, 4] = torch.randn(12)
    for causal, earlier_stay in ((True, True), (False, False)):
        net = make(causal)
        same = torch.isclose(net(tokens)[0], net(changed)[0], atol=1e-6).all(-1).all(0)
        assert same[:4].all() == earlier_stay
        assert not same[4:].any()


def test_causal_mask_lets_the_last_tokens_see_their_past() -> None:
    mask = causal_mask(2, 4, torch.device("cpu"))
    assert mask.tolist() == [[True, True, True, False], [True] * 4]


def test_a_deeper_one_starts_no_louder() -> None:
    """Residual outputs are scaled down by depth (GPT-2), so the stream stays of one size."""
    torch.manual_seed(0)
    x = torch.randn(8, 4, 64)
    for depth in (2, 32):
        out = Transformer(TransformerConfig(width=64, depth=depth, heads=4), False)(x)[0]
        assert 1.0 < float(out.detach().std()) < 2.5


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UsageError, match="width 10 is not a multiple of heads 3"):
        TransformerConfig.parse({"width": 10, "depth": 1, "heads": 3})

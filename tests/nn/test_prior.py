"""The prior's token order, its mask, its nulls and its cached prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.nn.prior import PriorConfig, PriorNet
from unclip.types import Cond

CONTEXT, EMBED, TEXT_WIDTH = 6, 10, 7
SEQUENCE = ["text"] * CONTEXT + ["z_t", "t", "x_t", "query"]


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


@pytest.fixture
def net() -> PriorNet:
    torch.manual_seed(0)
    config = PriorConfig(
        width=16, depth=3, heads=2, embed_dim=EMBED, text_width=TEXT_WIDTH, context=CONTEXT
    )
    net = PriorNet(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return net.requires_grad_(False)


@pytest.fixture
def cond() -> Cond:
    torch.manual_seed(1)
    lengths = torch.tensor([6, 3])
    return Cond(
        text_encodings=torch.randn(2, CONTEXT, TEXT_WIDTH),
        text_mask=torch.arange(CONTEXT) < lengths[:, None],
        text_embed=torch.randn(2, EMBED),
    )


@pytest.fixture
def noisy() -> tuple[Tensor, Tensor]:
    """x_t and t."""
    torch.manual_seed(2)
    return torch.randn(2, EMBED), torch.tensor([10.0, 700.0])


def sequence(net: PriorNet, cond: Cond, x: Tensor, t: Tensor) -> Tensor:
    """All N + 4 tokens in the paper's order: text, z_t, timestep, noised z_i, query."""
    assert cond.text_encodings is not None
    assert cond.text_embed is not None
    assert cond.text_mask is not None
    shown = torch.ones(len(x), dtype=torch.bool) if cond.keep_text is None else cond.keep_text
    keep = (cond.text_mask & shown[:, None])[..., None]
    text = torch.where(keep, net.text_in(cond.text_encodings), net.null_text)
    z_t = torch.where(shown[:, None], net.text_embed_in(cond.text_embed), net.null_text_embed)
    rest = [z_t, net.time(t), net.image_embed_in(x), net.query.expand(len(x), -1)]
    tokens = torch.cat([text, torch.stack(rest, dim=1)], dim=1)
    return tokens + net.positions


@pytest.mark.parametrize("keep_text", [None, torch.tensor([True, False])])
def test_the_cached_prefix_is_one_causal_pass_over_all_tokens(
    net: PriorNet, cond: Cond, noisy: tuple[Tensor, Tensor], keep_text: Tensor | None
) -> None:
    cond = cond.replace(keep_text=keep_text)
    tokens = sequence(net, cond, *noisy)
    assert tokens.shape == (2, CONTEXT + 4, 16)
    hidden, _ = net.transformer(tokens)
    expected = net.out(net.norm(hidden[:, -1]))
    got = net(*noisy, net.encode(of(cond)))
    assert got.shape == (2, EMBED)
    assert torch.allclose(got, expected, atol=1e-5)


def test_the_prefix_is_computed_once_for_all_steps(
    net: PriorNet, cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    encoded = net.encode(of(cond))
    assert [k.shape for k, _ in encoded.past] == [(2, 2, CONTEXT + 1, 8)] * 3
    first = net(*noisy, encoded)
    net(noisy[0] + 1, noisy[1] / 2, encoded)
    assert torch.equal(net(*noisy, encoded), first), "a step leaves the cache alone"
    count: list[int] = []
    net.transformer.register_forward_hook(lambda _m, inputs, _o: count.append(inputs[0].shape[1]))
    net(*noisy, encoded)
    assert count == [3]


def changes(net: PriorNet, cond: Cond, x: Tensor, t: Tensor) -> dict[str, Callable[[], Any]]:
    """For each part of the sequence, (cond, x, t, net) with that part changed."""
    assert cond.text_encodings is not None
    assert cond.text_embed is not None
    text = cond.text_encodings.clone()
    text[:, 1] += torch.randn(TEXT_WIDTH)

    def other_query() -> Any:
        net.query.add_(torch.randn(16))
        return cond, x, t

    return {
        "text": lambda: (cond.replace(text_encodings=text), x, t),
        "z_t": lambda: (cond.replace(text_embed=cond.text_embed + torch.randn(EMBED)), x, t),
        "t": lambda: (cond, x, t + 100),
        "x_t": lambda: (cond, x + torch.randn(EMBED), t),
        "query": other_query,
    }


@pytest.mark.parametrize(
    ("part", "first"), [("text", 1), ("z_t", 6), ("t", 7), ("x_t", 8), ("query", 9)]
)
def test_a_change_reaches_its_own_token_and_later_ones_alone(
    part: str, first: int, net: PriorNet, cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    """Watches the keys of every token in the last layer, and the prediction."""

    def run(cond: Cond, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        kept: list[Tensor] = []
        last = net.transformer.blocks[-1]
        hook = last.register_forward_hook(lambda _m, _i, out: kept.append(out[1][0]))
        out = net(x, t, net.encode(of(cond)))
        hook.remove()
        return kept[-1], out  # (B, heads, N + 4, head_dim)

    keys, out = run(cond, *noisy)
    new_keys, new_out = run(*changes(net, cond, *noisy)[part]())
    assert keys.shape[2] == CONTEXT + 4 == len(SEQUENCE)
    moved = (keys - new_keys).abs().amax((0, 1, 3)) > 1e-6
    assert moved.tolist() == [index >= first for index in range(CONTEXT + 4)]
    assert SEQUENCE[first] == part
    assert (out - new_out).abs().amin(1).min() > 1e-6


def test_a_dropped_text_leaves_no_trace(
    net: PriorNet, cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    def run(cond: Cond) -> Tensor:
        out: Tensor = net(*noisy, net.encode(of(cond)))
        return out

    other = cond.replace(
        text_encodings=torch.randn(2, CONTEXT, TEXT_WIDTH),
        text_embed=torch.randn(2, EMBED),
        text_mask=cond.text_mask.flip(0),
    )
    keep = torch.tensor([True, False])
    a, b = run(cond.replace(keep_text=keep)), run(other.replace(keep_text=keep))
    assert not torch.isclose(a[0], b[0]).any()
    assert torch.equal(a[1], b[1])
    assert torch.allclose(run(cond)[0], a[0], atol=1e-6)
    assert not torch.isclose(run(cond)[1], a[1]).any()
    moved = noisy[0] + torch.tensor([[0.0], [1.0]]) * torch.randn(EMBED)
    c: Tensor = net(moved, noisy[1], net.encode(of(cond.replace(keep_text=keep))))
    assert not torch.isclose(c[1], a[1]).any(), "the null branch still sees the noised z_i"


def test_what_stands_in_the_padding_does_not_matter(
    net: PriorNet, cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    assert cond.text_encodings is not None
    text = cond.text_encodings.clone()
    text[1, 3:] = 1e4
    out = net(*noisy, net.encode(of(cond)))
    assert torch.equal(out, net(*noisy, net.encode(of(cond.replace(text_encodings=text)))))
    text[1, 2] += torch.randn(TEXT_WIDTH)
    assert not torch.equal(out, net(*noisy, net.encode(of(cond.replace(text_encodings=text)))))


@pytest.fixture
def masked(net: PriorNet) -> PriorNet:
    """One that does not look at padding."""
    torch.manual_seed(0)
    other = PriorNet(net.config.model_copy(update={"padding": "masked"}))
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return other.requires_grad_(False)


def test_masked_padding_is_looked_at_by_nobody(
    masked: PriorNet, cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    assert not any("null" in name for name, _ in masked.named_parameters())
    assert cond.text_encodings is not None and cond.text_mask is not None
    noise = torch.where(cond.text_mask[..., None], 0.0, torch.randn(2, CONTEXT, TEXT_WIDTH))
    other = cond.replace(text_encodings=cond.text_encodings + noise)
    a, b = (masked(*noisy, masked.encode(of(one))) for one in (cond, other))
    assert torch.allclose(a, b, atol=1e-5)
    heard = masked(*noisy, masked.encode(of(cond.replace(text_encodings=-cond.text_encodings))))
    assert not torch.allclose(a, heard, atol=1e-3)


def test_masked_padding_is_trimmed_where_no_caption_needs_it(
    masked: PriorNet, cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    short = cond.map(lambda value: value[1:])
    x, t = noisy[0][1:], noisy[1][1:]
    encoded = masked.encode(of(short))
    assert encoded.mask is None, "nothing is left to be hidden"
    assert encoded.past[0][0].shape[2] == 3 + 1
    together = masked(*noisy, masked.encode(of(cond)))[1:]
    assert torch.allclose(masked(x, t, encoded), together, atol=1e-5)

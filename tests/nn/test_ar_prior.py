"""The autoregressive prior's token order, cache, nulls, and what it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unclip.nn.ar_prior import ArPriorConfig, ArPriorNet
from unclip.types import Cond

CONTEXT, EMBED, TEXT_WIDTH, DIMS, BUCKETS, DOTS = 6, 10, 7, 4, 5, 6


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


def build(**changes: int) -> ArPriorNet:
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 3, "heads": 2, "embed_dim": EMBED, "text_width": TEXT_WIDTH}
    own = {"context": CONTEXT, "dims": DIMS, "buckets": BUCKETS, "dot_buckets": DOTS}
    return ArPriorNet(ArPriorConfig.parse({**sizes, **own, **changes}))


@pytest.fixture
def net() -> ArPriorNet:
    net = build()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    torch.nn.init.normal_(net.out.weight, std=4.0)  # so that the likeliest token varies
    net.values.centres.normal_()  # as fitted ones do, they differ from component to component
    return net.requires_grad_(False)


def condition(batch: int) -> Cond:
    return Cond(
        text_encodings=torch.randn(batch, CONTEXT, TEXT_WIDTH),
        text_mask=torch.arange(CONTEXT) < (torch.arange(batch) % 4 + 3)[:, None],
        text_embed=torch.nn.functional.normalize(torch.randn(batch, EMBED), dim=-1),
    )


@pytest.fixture
def cond() -> Cond:
    torch.manual_seed(1)
    return condition(2)


TOKENS = torch.tensor([[0, 4, 2, 1], [3, 3, 0, 2]])
DOT = torch.tensor([1, 5])


@pytest.mark.parametrize("keep_text", [None, torch.tensor([True, False])])
def test_token_by_token_is_one_causal_pass(
    net: ArPriorNet, cond: Cond, keep_text: Tensor | None
) -> None:
    cond = cond.replace(keep_text=keep_text)
    whole = net(of(cond), DOT, TOKENS)
    assert whole.shape == (2, DIMS, BUCKETS)
    logits, past = net.begin(of(cond), DOT)
    for number in range(DIMS):
        assert torch.allclose(logits, whole[:, number], atol=1e-5)
        if number + 1 < DIMS:
            logits, past = net.step(TOKENS[:, number], number, past)


def test_greedy_sampling_with_a_cache_is_greedy_sampling_without(
    net: ArPriorNet, cond: Cond
) -> None:
    tokens = torch.zeros(2, DIMS, dtype=torch.long)
    for number in range(DIMS):  # what is not known yet is 0, and may not matter
        tokens[:, number] = net(of(cond), DOT, tokens)[:, number].argmax(-1)
    logits, past = net.begin(of(cond), DOT)
    cached = [logits.argmax(-1)]
    for number in range(DIMS - 1):
        logits, past = net.step(cached[-1], number, past)
        cached.append(logits.argmax(-1))
    assert torch.equal(torch.stack(cached, dim=1), tokens)
    assert len(set(tokens.flatten().tolist())) > 1


@pytest.mark.parametrize("number", range(DIMS))
def test_a_component_changes_later_ones_alone(net: ArPriorNet, cond: Cond, number: int) -> None:
    other = TOKENS.clone()
    other[:, number] = (other[:, number] + 1) % BUCKETS
    moved = (net(of(cond), DOT, TOKENS) - net(of(cond), DOT, other)).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [later > number for later in range(DIMS)]


def test_the_text_z_t_and_the_dot_product_reach_every_component(
    net: ArPriorNet, cond: Cond
) -> None:
    assert cond.text_encodings is not None
    assert cond.text_embed is not None
    plain = net(of(cond), DOT, TOKENS)
    text = cond.text_encodings.clone()
    text[:, 2] += 1
    for changed in (
        net(of(cond.replace(text_encodings=text)), DOT, TOKENS),
        net(of(cond.replace(text_embed=-cond.text_embed)), DOT, TOKENS),
        net(of(cond), (DOT + 1) % DOTS, TOKENS),
    ):
        assert ((changed - plain).abs().amax(2) > 1e-6).all()


def test_a_dropped_text_leaves_no_trace_nor_does_padding(net: ArPriorNet, cond: Cond) -> None:
    torch.manual_seed(2)
    assert cond.text_encodings is not None
    assert cond.text_mask is not None
    keep = torch.tensor([True, False])
    a = net(of(cond.replace(keep_text=keep)), DOT, TOKENS)
    b = net(of(condition(2).replace(keep_text=keep)), (DOT + 1) % DOTS, TOKENS)
    assert torch.equal(a[1], b[1])
    assert not torch.isclose(a[0], b[0]).any()
    assert not torch.isclose(a[1], net(of(cond), DOT, TOKENS)[1]).any()
    padded = torch.where(cond.text_mask[..., None], cond.text_encodings, 1e4)
    again = net(of(cond.replace(text_encodings=padded)), DOT, TOKENS)
    assert torch.equal(again, net(of(cond), DOT, TOKENS))


def test_embeddings_become_tokens_and_come_back() -> None:
    net = build(dims=EMBED, buckets=64)
    z = torch.nn.functional.normalize(torch.randn(4000, EMBED) * 0.8 ** torch.arange(EMBED), dim=-1)
    coarse = build(dims=EMBED, buckets=4)
    for one in (net, coarse):
        one.fit(z, z.flip(0))
    tokens = net.tokens(z)
    assert tokens.shape == (4000, EMBED)
    assert (tokens.min(), tokens.max()) == (0, 63)
    error = (net.embed(tokens) - z).square().sum(-1).mean()
    assert error < 0.005
    assert (coarse.embed(coarse.tokens(z)) - z).square().sum(-1).mean() > 10 * error
    assert torch.allclose(net.embed(tokens[:, :3]).norm(dim=-1), torch.ones(4000), atol=1e-5)


def test_the_dot_product_is_quantised_and_sampled_from_its_top_half() -> None:
    net = build()
    torch.manual_seed(3)
    z_i, z_t = (torch.nn.functional.normalize(torch.randn(6000, EMBED), dim=-1) for _ in "it")
    net.fit(z_i, z_t)
    tokens = net.dot_tokens(z_i, z_t)
    order = (z_i * z_t).sum(-1).argsort()
    assert (tokens[order].diff() >= 0).all(), "more alike is a higher token"
    assert torch.bincount(tokens).tolist() == pytest.approx([1000] * DOTS, abs=1)
    drawn = net.top_half(torch.linspace(0, 1, 3001)[:-1])
    assert torch.bincount(drawn).tolist() == [0, 0, 0, 1000, 1000, 1000]
    odd = build(dot_buckets=5).top_half(torch.tensor([0.0, 0.49, 0.51, 1.0]))
    assert odd.tolist() == [3, 3, 4, 4], "never from the lower half, nor beyond the last"


def test_fitting_stays_in_the_state_and_takes_no_gradient() -> None:
    net, twin = build(), build()
    z = torch.randn(500, EMBED)
    net.fit(z, z)
    before = {name for name, value in net.state_dict().items() if value is not None}
    assert {"pca.basis", "values.edges", "values.centres", "dots.edges"} <= before
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin.tokens(z), net.tokens(z))
    assert not any(name.startswith(("pca", "values", "dots")) for name, _ in net.named_parameters())

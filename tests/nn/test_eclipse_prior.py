"""The one-pass prior: the query sees everything but padding."""

from __future__ import annotations

import torch
from torch import Tensor

from unclip.nn.eclipse_prior import EclipsePriorConfig, EclipsePriorNet
from unclip.types import Cond

CONTEXT, EMBED, TEXT_WIDTH = 6, 10, 7


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


def test_the_last_token_of_one_pass_over_text_z_t_and_query() -> None:
    torch.manual_seed(0)
    config = EclipsePriorConfig(
        width=16, depth=2, heads=2, embed_dim=EMBED, text_width=TEXT_WIDTH, context=CONTEXT
    )
    net = EclipsePriorNet(config).requires_grad_(False)
    cond = Cond(
        text_encodings=torch.randn(2, CONTEXT, TEXT_WIDTH),
        text_mask=torch.arange(CONTEXT) < torch.tensor([[6], [3]]),
        text_embed=torch.randn(2, EMBED),
    )
    assert cond.text_encodings is not None
    assert cond.text_embed is not None
    out = net(of(cond))
    text = net.text_in(cond.text_encodings)
    text[1, 3:] = net.null_text[3:]
    rest = [net.text_embed_in(cond.text_embed), net.query.expand(2, -1)]
    tokens = torch.cat([text, torch.stack(rest, dim=1)], dim=1) + net.positions
    hidden, _ = net.transformer(tokens)
    assert torch.allclose(out, net.out(net.norm(hidden[:, -1])), atol=1e-6)
    assert not net.transformer.causal

    noisy = cond.text_encodings.clone()
    noisy[1, 3:] = 1e4
    assert torch.equal(net(of(cond.replace(text_encodings=noisy))), out), "padding does not matter"
    noisy[1, 2] += 1
    assert not torch.isclose(net(of(cond.replace(text_encodings=noisy)))[1], out[1]).any()
    assert not torch.isclose(net(of(cond.replace(text_embed=-cond.text_embed))), out).any()

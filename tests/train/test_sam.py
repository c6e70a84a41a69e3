"""Sharpness-aware minimization on a loss whose gradients are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from unclip.train.sam import climbed
from unclip.train.trainer import Trainer


def test_the_gradient_is_that_at_the_top_of_the_ball() -> None:
    """Of w'Aw/2 it is A(w + r·Aw/|Aw|); before and after, the weights are w."""
    net = nn.Linear(2, 1, bias=False)
    matrix, w = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, -2.0]])
    net.weight.data.copy_(w)

    def loss() -> Any:
        return (net.weight @ matrix @ net.weight.T).squeeze() / 2

    loss().backward()
    slope = w @ matrix
    assert net.weight.grad is not None and torch.allclose(net.weight.grad, slope)
    with climbed([net], 0.1):
        top = w + 0.1 * slope / slope.norm()
        assert torch.allclose(net.weight, top)
        loss().backward()
    assert torch.equal(net.weight.data, w)
    assert torch.allclose(net.weight.grad, top @ matrix)


@pytest.mark.parametrize("kind", ["clip", "prior"])
def test_a_step_descends_by_the_gradient_at_the_top(
    kind: str, make_trainer: Callable[..., Trainer]
) -> None:
    """The second pass sees the same samples and draws as the first."""
    usual, other = make_trainer(kind, "usual"), make_trainer(kind, "sam", sam=0.05)
    batch = usual.feed.next()
    usual._backward(batch)
    with climbed([usual.net], 0.05):
        usual._backward(batch)
    for learner in usual.learners.values():
        learner.clip()
        learner.update(0)
    told = other.advance()
    mine, its = usual.net.state_dict(), other.net.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in its.items())
    plain = make_trainer(kind, "plain")
    assert float(told["loss"]) == float(plain.advance()["loss"])
    assert any(not torch.equal(one, its[name]) for name, one in plain.net.state_dict().items())

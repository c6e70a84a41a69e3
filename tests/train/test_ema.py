"""The moving average against its recursion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unclip.train.ema import Ema


def test_it_follows_the_recursion_with_a_warm_decay() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 5.0)
    ema, expected = Ema(net, 0.5), 5.0
    for step in range(20):
        nn.init.constant_(net.weight, float(step))
        ema.update(net, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert float(ema.average.weight.detach()) == pytest.approx(expected, rel=1e-5)  # type: ignore[operator]
    assert float(net.weight.detach()) == 19


def test_early_averages_forget_the_start() -> None:
    net = nn.Linear(2, 2)
    ema = Ema(net, 0.9999)
    nn.init.constant_(net.weight, 1.0)
    for step in range(30):
        ema.update(net, step)
    assert torch.allclose(ema.average.weight, net.weight, atol=1e-3)  # type: ignore[arg-type]


def test_it_is_a_copy_that_does_not_train_and_takes_buffers_whole() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    ema = Ema(net, 0.99)
    assert not ema.average.training
    assert not any(parameter.requires_grad for parameter in ema.average.parameters())
    net(torch.randn(8, 2) + 3)
    ema.update(net, 0)
    for mine, theirs in zip(ema.average.buffers(), net.buffers(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine is not theirs
    assert net.training

"""The learning rate's shape, what decays, and the optimizer's state as flat tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from unclip.train.optim import (
    Muon,
    hidden_matrices,
    learning_rate,
    make_optimizers,
    optimizer_tensors,
    orthogonal,
    restore_optimizers,
)
from unclip.train.recipe import TrainConfig


def test_the_learning_rate_rises_stays_and_falls() -> None:
    config = TrainConfig(steps=100, learning_rate=1.0, warmup=9, decay=0.2)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:81] == [1.0] * 71
    assert rates[80:] == pytest.approx([1 - i / 20 for i in range(21)])
    assert rates[99] > 0, "no step is wasted"


def test_without_decay_it_stays_and_never_turns_negative() -> None:
    config = TrainConfig(steps=10, learning_rate=2.0, warmup=0, decay=0.0)
    assert [learning_rate(config, step) for step in (0, 5, 9, 50)] == [2.0] * 4
    assert learning_rate(TrainConfig(steps=10, decay=1.0), 50) == 0


def test_a_longer_run_has_the_same_constant_stretch() -> None:
    short, long = TrainConfig(steps=400, warmup=10), TrainConfig(steps=4000, warmup=10)
    for step in (0, 9, 10, 299):
        assert learning_rate(short, step) == learning_rate(long, step)


BOTH = pytest.mark.parametrize("optimizer", ["adamw", "muon"])


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def step(net: nn.Module, optimizers: list[torch.optim.Optimizer], seed: int) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
    net.zero_grad()
    net(x).pow(2).sum().backward()
    for optimizer in optimizers:
        optimizer.step()


@BOTH
def test_matrices_decay_and_vectors_do_not(optimizer: Any) -> None:
    mine = net()
    mine[0].bias.requires_grad_(False)  # type: ignore[index]
    config = TrainConfig(learning_rate=0.1, weight_decay=0.5, optimizer=optimizer)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    for parameter in mine.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    for one in make_optimizers(mine, config):
        one.step()
    for name, value in mine.state_dict().items():
        factor = 1 - 0.1 * 0.5 if value.ndim == 2 else 1.0
        assert torch.allclose(value, factor * before[name]), name


@BOTH
def test_every_parameter_has_one_optimizer(optimizer: Any, make_stage: Any) -> None:
    mine = make_stage("decoder").net
    optimizers = make_optimizers(mine, TrainConfig(optimizer=optimizer))
    held = [p for one in optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, mine.parameters()))


def test_muon_takes_the_hidden_matrices(make_stage: Any) -> None:
    mine = make_stage("decoder").net
    by_muon = {id(parameter) for parameter in hidden_matrices(mine)}
    names = {name for name, p in mine.named_parameters() if id(p) in by_muon}
    assert {"down.0.block.conv1.weight", "time.fc1.weight", "text_context.weight"} <= names
    rest = {name for name, _ in mine.named_parameters()} - names
    assert {"conv_in.weight", "conv_out.weight", "text.embed.weight", "text.positions"} <= rest
    assert not any(name.endswith("bias") or "norm" in name for name in names)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (1, 20, 6)])
def test_newton_schulz_brings_singular_values_near_one_and_keeps_their_vectors(
    shape: tuple[int, int, int],
) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.2, 5, u.shape[2])
    near = orthogonal(u * values @ v).float()
    assert near.shape == shape
    turned = u.mT @ near @ v.mT  # diagonal where the vectors are kept
    diagonal = turned.diagonal(dim1=1, dim2=2)
    assert 0.6 < float(diagonal.min()) < float(diagonal.max()) < 1.3
    assert (turned - torch.diag_embed(diagonal)).abs().max() < 0.1


def test_a_muon_step_is_the_orthogonal_gradient_with_adamws_size() -> None:
    """arXiv 2502.16982, section 2.2: 0.2 sqrt(max(m, n)) times the orthogonal direction."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 3, 2, 2))
    before, gradient = weight.detach().clone(), torch.randn(6, 3, 2, 2)
    weight.grad = gradient.clone()
    Muon([weight], lr=0.1, weight_decay=0.0).step()
    moved = (before - weight.detach()).flatten(1)  # (6, 12)
    # the first momentum is 0.05 g, Nesterov's is 0.05 g + 0.95 * 0.05 g: the same direction
    u, _, v = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    values = (u.T @ moved @ v.T).diagonal() / (0.1 * 0.2 * 12**0.5)
    assert 0.6 < float(values.min()) < float(values.max()) < 1.3


@BOTH
def test_state_goes_through_flat_tensors_exactly(optimizer: Any) -> None:
    config = TrainConfig(betas=(0.8, 0.9), optimizer=optimizer)
    mine, theirs = net(), net()
    optimizers = make_optimizers(mine, config)
    for seed in range(3):
        step(mine, optimizers, seed)
    tensors = optimizer_tensors(optimizers, mine)
    theirs.load_state_dict(mine.state_dict())
    others = make_optimizers(theirs, config)
    restore_optimizers(others, theirs, {key: value.clone() for key, value in tensors.items()})
    assert optimizer_tensors(others, theirs).keys() == tensors.keys()
    for seed in range(3, 6):
        step(mine, optimizers, seed)
        step(theirs, others, seed)
    for ours, its in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours, its)


def test_every_parameter_has_its_moments() -> None:
    mine = net()
    optimizers = make_optimizers(mine, TrainConfig())
    assert optimizer_tensors(optimizers, mine) == {}
    step(mine, optimizers, 0)
    assert set(optimizer_tensors(optimizers, mine)) == {
        f"{key}/{name}"
        for key in ("step", "exp_avg", "exp_avg_sq")
        for name, _ in mine.named_parameters()
    }

"""Optimizers and their learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from .recipe import TrainConfig

EDGES = ("conv_in", "conv_out", "patch")
"""Layers at a network's edge, whose weights are no map from features to features."""


def make_optimizers(net: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """What `config.optimizer` names: AdamW for everything, or Muon with AdamW for the rest.

    Weights of two or more dimensions decay, biases, norms and single vectors do not.
    """
    matrices = hidden_matrices(net) if config.optimizer == "muon" else []
    taken = {id(parameter) for parameter in matrices}
    rest = [p for p in net.parameters() if p.requires_grad and id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, foreach=True)
    if not matrices:
        return [adamw]
    return [Muon(matrices, config.learning_rate, config.weight_decay), adamw]


def hidden_matrices(net: nn.Module) -> list[Tensor]:
    """Weights of linear layers and convolutions, those at the network's edge left out."""
    return [
        module.weight
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and name.rpartition(".")[2] not in EDGES
    ]


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: every direction of a weight matrix moves by the same amount.

    After Jordan et al., "Muon" (2024), with the scale of Liu et al. (arXiv 2502.16982, section
    2.2), which gives updates AdamW's size, so that both use one learning rate. A kernel counts as
    the matrix (out, in · height · width).
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update; matrices of one shape are made orthogonal together."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    direction = self._direction(parameter, group["momentum"])
                    alike.setdefault((direction.shape[0], direction.shape[1]), []).append(
                        (parameter, direction)
                    )
            for shape, pairs in alike.items():
                updates = orthogonal(torch.stack([direction for _, direction in pairs]))
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(update.view(parameter.shape).to(parameter.dtype), alpha=scale)

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov momentum of the gradient, as a matrix (out, rest)."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        matrix: Tensor = parameter.grad.lerp(state["momentum"], momentum).flatten(1)
        return matrix


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """(K, m, n) -> (K, m, n) with singular values near 1, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315  # chosen by Muon's authors for a steep start
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x.mT if tall else x
    return out


def _moments(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Names of what an optimizer keeps for a parameter."""
    return ("momentum",) if isinstance(optimizer, Muon) else ("step", "exp_avg", "exp_avg_sq")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant, then linearly down over the last `decay` of the steps.

    The constant stretch does not know where training ends, so a run can be prolonged.
    """
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    tail = config.decay * config.steps
    fall = min(1.0, (config.steps - step) / tail) if tail else 1.0
    return config.learning_rate * rise * max(fall, 0.0)


def optimizer_tensors(
    optimizers: Iterable[torch.optim.Optimizer], net: nn.Module
) -> dict[str, Tensor]:
    """The optimizers' state as flat tensors, `moment/parameter name`."""
    tensors = {}
    for optimizer in optimizers:
        for name, parameter in net.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = torch.as_tensor(value)
    return tensors


def restore_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], net: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Undo `optimizer_tensors`.

    Raises:
        TrainingError: the tensors are another optimizer's, or of another network.
    """
    parameters = dict(net.named_parameters())
    owners = {
        id(parameter): optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        parameter = parameters.get(name)
        owner = owners.get(id(parameter))
        if parameter is None or owner is None or moment not in _moments(owner):
            raise TrainingError(f"the saved optimizer state does not fit the recipe: '{key}'")
        # strides as the parameter's: in another layout kernels may round otherwise, and are slower
        like = value if moment == "step" else torch.empty_like(parameter.detach())
        owner.state[parameter][moment] = like.copy_(value)

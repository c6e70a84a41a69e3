"""The optimizer and its learning rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .recipe import TrainConfig


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; weights of two or more dimensions decay, biases, norms and single vectors do not."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, foreach=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant, then linearly down over the last `decay` of the steps.

    The constant stretch does not know where training ends, so a run can be prolonged.
    """
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    tail = config.decay * config.steps
    fall = min(1.0, (config.steps - step) / tail) if tail else 1.0
    return config.learning_rate * rise * max(fall, 0.0)


def optimizer_tensors(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors, `moment/parameter name`."""
    tensors = {}
    for name, parameter in net.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = torch.as_tensor(value)
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, net: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Undo `optimizer_tensors`."""
    parameters = dict(net.named_parameters())
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        device = "cpu" if moment == "step" else parameters[name].device
        optimizer.state[parameters[name]][moment] = value.to(device)

"""Sharpness-aware minimization: descend by the gradient from where the loss is worst near by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from .sharded import grad_norm, local


@contextmanager
def climbed(nets: Sequence[nn.Module], radius: float) -> Iterator[None]:
    """Within, weights are `radius` up the gradient that they have, and gradients begin anew.

    Foret et al., arXiv 2010.01412, eq. 2 and algorithm 1: what is computed here is the gradient to
    descend by. Afterwards the weights are what they were, bit for bit.
    """
    every = [one for net in nets for one in net.parameters() if one.grad is not None]
    grads = [one.grad for one in every if one.grad is not None]
    norm = grad_norm(grads)
    with torch.no_grad():
        held = [local(one) for one in every]
        before = [one.clone() for one in held]
        for weight, grad, mine in zip(every, grads, held, strict=True):
            mine.add_(local(grad) * (radius / (norm + 1e-12)))
            weight.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for mine, was in zip(held, before, strict=True):
                mine.copy_(was)

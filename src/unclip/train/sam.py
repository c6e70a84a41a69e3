"""Sharpness-aware minimization: descend by the gradient from where the loss is worst near by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def climbed(nets: Sequence[nn.Module], radius: float) -> Iterator[None]:
    """Within, weights are `radius` up the gradient that they have, and gradients begin anew.

    Foret et al., arXiv 2010.01412, eq. 2 and algorithm 1: what is computed here is the gradient to
    descend by. Afterwards the weights are what they were, bit for bit.
    """
    every = [one for net in nets for one in net.parameters() if one.grad is not None]
    before = [one.detach().clone() for one in every]
    grads = [one.grad for one in every if one.grad is not None]
    norm = nn.utils.get_total_norm(grads)
    with torch.no_grad():
        for weight, grad in zip(every, grads, strict=True):
            weight.add_(grad * (radius / (norm + 1e-12)))
            weight.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, was in zip(every, before, strict=True):
                weight.copy_(was)

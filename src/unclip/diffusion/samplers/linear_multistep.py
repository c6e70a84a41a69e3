"""Samplers that extrapolate eps by the linear multistep method of Adams and Bashforth."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...types import Level, Prediction
from .base import Move, Walk, sampler

WEIGHTS = (
    (1.0,),
    (-1 / 2, 3 / 2),
    (5 / 12, -16 / 12, 23 / 12),
    (-9 / 24, 37 / 24, -59 / 24, 55 / 24),
)
"""Of the last 1 to 4 eps, the latest last: the method of Adams and Bashforth."""

NOISIEST = 100.0
"""Largest sigma/alpha from which eps is extrapolated: x0 has its error as many times over."""


@sampler(eta=0.0, order=2)
def pndm(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """Pseudo linear multistep (PNDM, arXiv 2202.09778, eq. 9 and 12); it is of order 2.

    As Stable Diffusion's published samples have it (PLMS): the first step, with a second network
    call, is the improved Euler method's; the weights are those of evenly spaced timesteps.
    """
    move = Move.between(now, then, walk.eta)
    if float(now.sigma) > NOISIEST * float(now.alpha):
        return move.start(said, said.eps, walk.rng)
    eps, is_first = said.eps, not walk.guesses
    walk.guesses = [*walk.guesses[-3:], eps]
    if not is_first:
        weights = torch.tensor(WEIGHTS[len(walk.guesses) - 1], dtype=eps.dtype, device="cpu")
        eps = torch.tensordot(weights.to(eps.device), torch.stack(walk.guesses), 1)
    elif move.sigma > 0:
        trial = move.alpha * said.x0 + move.sigma * eps
        eps = (eps + walk.denoise(trial, then).eps) / 2
    alpha, sigma = now.like(x)
    x0 = said.x0 + sigma / alpha * (said.eps - eps)
    return move.start(replace(said, x0=x0), eps, walk.rng)

"""EDM's one-step samplers (arXiv 2206.00364), in x/alpha as a function of sigma/alpha."""

from __future__ import annotations

import math

from torch import Tensor

from ...types import Level, Prediction
from .base import Move, Walk, sampler


@sampler(eta=0.0)
def euler(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """Euler's method for d(x/alpha)/d(sigma/alpha) = eps (EDM, eq. 4).

    With eta 0 this is DDIM, with eta 1 DDPM. Otherwise it goes down as far as the reverse SDE of
    strength eta decays, and adds noise to return. EDM's churn would evaluate the network at levels
    that are not in `levels`.
    """
    return Move.between(now, then, walk.eta).start(said, said.eps, walk.rng)


@sampler(eta=1.0)
def euler_ancestral(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """Euler's method to a lower level than the next, and noise to return to it (k-diffusion).

    The noise is eta·s'·sqrt(1 − s'²/s²) of s = sigma/alpha: DDIM's (arXiv 2010.02502, eq. 16),
    which this is by another name, with another eta.
    """
    move = Move.between(now, then, walk.eta)
    if move.eta == 0 or move.sigma == 0:
        return move.alpha * said.x0 + move.sigma * said.eps
    fresh = move.sigma * min(move.eta * math.sqrt(-math.expm1(-2 * move.h)), 1.0)
    x = move.alpha * said.x0 + math.sqrt(move.sigma**2 - fresh**2) * said.eps
    return x + fresh * walk.rng.randn(*x.shape[1:])


@sampler(eta=0.0, order=2, calls=2)
def heun(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """Heun's second-order method (EDM, algorithm 1): two network calls per step, one on the last.

    The second call is at the end of Euler's step without noise; the noise of eta is as in `euler`.
    """
    move = Move.between(now, then, walk.eta)
    x = move.start(said, said.eps, walk.rng)
    if move.sigma > 0:
        trial = move.alpha * said.x0 + move.sigma * said.eps
        change = walk.denoise(trial, then).x0 - said.x0
        x = x + move.alpha * _trapezoid(move) * change
    return x


def _trapezoid(move: Move) -> float:
    """Weight of the change in x0 between a step's two ends, s = sigma/alpha and s' below it.

    The trapezoid rule for the slope eps, which changes by (x0 − x0')/s', along the way from s to
    s_down = s'·e^(−eta²h), gives (s − s_down)²/(2·s'·(s − s')): without noise EDM's (s/s' − 1)/2.
    It is valid only for moderate s/s': the exact weight stays below 1, but from almost pure noise
    (the cosine schedule starts at s = 20,000) EDM's is in the thousands. So it is limited to 2,
    which no step of EDM's own grid of 18 exceeds.
    """
    wide = math.exp(min(move.h, 20.0))  # s / s'
    down = math.exp(-(move.eta**2) * move.h) if move.eta else 1.0
    return min((wide - down) ** 2 / (2 * (wide - 1)), 2.0)

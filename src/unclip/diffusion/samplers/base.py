"""The registry of samplers, and the coefficients of one step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, Self

import torch
from torch import Tensor

from ...errors import UsageError
from ...registry import Named
from ...rng import Rng
from ...types import Denoiser, Level, Prediction
from .about import ABOUT, About

OnX0 = Callable[[int, int, Tensor], None]
"""(step from 1, steps, current x0), called after each step."""


class Sampler(Protocol):
    """x_T at `levels[0]` -> x at `levels[-1]`.

    Each level has shape (). Rising levels of a deterministic sampler give inversion, from data to
    noise. `eta` is the strength of the added noise, by default as in the sampler's paper.

    Raises:
        UsageError: the levels rise and eta is not 0.
    """

    def __call__(
        self,
        denoise: Denoiser,
        x: Tensor,
        levels: list[Level],
        rng: Rng,
        on_step: OnX0 | None = None,
        eta: float = 0.0,
    ) -> Tensor: ...


@dataclass
class Walk:
    """A sampler's arguments, the number of its step from 0, and the state of multistep samplers.

    `moves` are the steps so far and `guesses` x0 (PNDM: eps) at the start of each, latest last;
    `base` is x without extrapolation.
    """

    denoise: Denoiser
    levels: list[Level]
    rng: Rng
    eta: float
    index: int = 0
    moves: list[Move] = field(default_factory=list)
    guesses: list[Tensor] = field(default_factory=list)
    base: Tensor | None = None


OneStep = Callable[[Walk, Tensor, Prediction, Level, Level], Tensor]
"""(walk, x, prediction for x, level now, level then) -> x then."""

SAMPLERS: Named[Sampler] = Named("sampler")


def sampler(
    eta: float, inverts: bool = True, name: str = "", order: int = 1, calls: int = 1
) -> Callable[[OneStep], Sampler]:
    """Turn a function of one step into a sampler, registered under the function's name.

    Args:
        eta: the default, from its paper.
        inverts: whether the levels may rise.
        name: another name.
        order: of convergence without noise, with steps of even length.
        calls: of the network in a step.
    """

    def register(one: OneStep) -> Sampler:
        called, usual = name or one.__name__, eta

        def run(
            denoise: Denoiser,
            x: Tensor,
            levels: list[Level],
            rng: Rng,
            on_step: OnX0 | None = None,
            eta: float = usual,
        ) -> Tensor:
            check_direction(levels, eta, called, inverts)
            walk = Walk(denoise, levels, rng, eta)
            for walk.index, (now, then) in enumerate(pairwise(levels)):
                prediction = denoise(x, now)
                x = one(walk, x, prediction, now, then)
                if on_step is not None:
                    on_step(walk.index + 1, len(levels) - 1, prediction.x0)
            return x

        run.__name__, run.__doc__ = called, one.__doc__
        SAMPLERS[called], ABOUT[called] = run, About(usual, order, calls)
        return run

    return register


@dataclass(frozen=True)
class Move:
    """The coefficients of one step, in float64: x at `now` -> alpha·x0 + kept·eps + fresh·noise.

    This is the exact solution for constant x0 (DPM-Solver++, arXiv 2211.01095, eq. 8,
    with SA-Solver's tau as eta): kept = sigma·e^(−eta²h) and kept² + fresh² = sigma².
    """

    alpha: float  # of the next level, like sigma
    sigma: float
    h: float  # rise of lambda = ln(alpha / sigma); infinite to a clean or from a pure noise level
    eta: float

    @classmethod
    def between(cls, now: Level, then: Level, eta: float) -> Self:
        """From one level to another."""
        return cls(float(then.alpha), float(then.sigma), _lambda(then) - _lambda(now), eta)

    @property
    def span(self) -> float:
        """(1 + eta²)·h: the length of the step as x0's weight e^(−span) feels it."""
        return (1 + self.eta**2) * self.h

    @property
    def kept(self) -> float:
        """The coefficient of eps."""
        return self.sigma * math.exp(-(self.eta**2) * self.h) if self.eta else self.sigma

    def start(self, prediction: Prediction, eps: Tensor, rng: Rng) -> Tensor:
        """The first-order step from alpha_now·x0 + sigma_now·eps, with added noise."""
        x = self.alpha * prediction.x0 + self.kept * eps
        if self.eta == 0 or self.sigma == 0:
            return x
        fresh = self.sigma * math.sqrt(-math.expm1(-2 * self.eta**2 * self.h))
        return x + fresh * rng.randn(*x.shape[1:])


def check_direction(levels: list[Level], eta: float, name: str, inverts: bool = True) -> None:
    """Raise UsageError if the levels rise and the sampler cannot invert."""
    if _lambda(levels[-1]) >= _lambda(levels[0]):
        return
    if not inverts:
        raise UsageError(f"{name} cannot invert: it averages over noise; use ddim, euler or heun")
    if eta > 0:
        raise UsageError(f"{name} inverts (rising levels) only without noise: eta 0, got {eta:g}")


def zeros_or_noise(x: Tensor, then: Level, rng: Rng) -> Tensor:
    """Standard normal noise, or zero on the step to the clean level."""
    return rng.randn(*x.shape[1:]) if then.sigma > 0 else torch.zeros_like(x)


def _lambda(level: Level) -> float:
    """ln(alpha / sigma): infinite at the clean level, minus infinity at pure noise."""
    alpha, sigma = float(level.alpha), float(level.sigma)
    if alpha > 0 and sigma > 0:
        return math.log(alpha / sigma)
    return math.inf if alpha > 0 else -math.inf

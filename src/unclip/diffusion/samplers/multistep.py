"""Samplers that remember: DPM-Solver++ (2M) and UniPC, one network call a step.

With lambda = ln(alpha/sigma) and c = 1 + eta², a step of length h has the exact solution

    x' = (sigma'/sigma)·e^(−eta²h)·x + alpha'·∫ c·e^(−c·(lambda' − lambda))·x0(lambda) dlambda

and noise (DPM-Solver++, arXiv 2211.01095, eq. 8; SA-Solver, arXiv 2309.05019, for any eta). These
samplers replace x0(lambda) by a polynomial through what the network has said so far. An infinite
h (to the clean level, or from pure noise) leaves only the constant one.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from ...rng import Rng
from ...types import Denoiser, Level
from .base import Move, OnX0, check_direction, sampler, tell


@sampler
def dpmpp_2m(
    denoise: Denoiser,
    x: Tensor,
    levels: list[Level],
    rng: Rng,
    on_step: OnX0 | None = None,
    eta: float = 0.0,
) -> Tensor:
    """DPM-Solver++ (2M) (arXiv 2211.01095, algorithm 2); with eta 1 its SDE variant."""
    check_direction(levels, eta, "dpmpp_2m")
    past: tuple[Move, Tensor] | None = None  # the last step and its x0
    for index, (now, then) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        move = Move.between(now, then, eta)
        x = move.start(prediction, prediction.eps, rng)
        if past is not None:
            x = x + _ahead(move, past[0]) * (prediction.x0 - past[1])
        past = move, prediction.x0
        tell(on_step, index, levels, prediction)
    return x


@sampler
def dpmpp_2m_sde(
    denoise: Denoiser,
    x: Tensor,
    levels: list[Level],
    rng: Rng,
    on_step: OnX0 | None = None,
    eta: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++ (2M) (arXiv 2211.01095); with eta 0 `dpmpp_2m`."""
    check_direction(levels, eta, "dpmpp_2m_sde")
    return dpmpp_2m(denoise, x, levels, rng, on_step, eta)


@sampler
def unipc(
    denoise: Denoiser,
    x: Tensor,
    levels: list[Level],
    rng: Rng,
    on_step: OnX0 | None = None,
    eta: float = 0.0,
) -> Tensor:
    """UniPC-2 with data prediction and B(h) = e^h − 1 (arXiv 2302.04867, section 3 and appendix).

    Its predictor is DPM-Solver++ (2M). The network's next answer, at what was predicted, also
    serves to correct it, which makes the order 3; the correction keeps the prediction's noise.
    """
    check_direction(levels, eta, "unipc")
    base, moves, guesses = x, list[Move](), list[Tensor]()  # of the steps so far, the latest last
    for index, (now, then) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        guesses.append(prediction.x0)
        eps = prediction.eps
        if moves and math.isfinite(moves[-1].h):
            right = base + _corrected(moves, guesses)
            eps = eps + (right - x) / moves[-1].sigma
        moves.append(Move.between(now, then, eta))
        x = base = moves[-1].start(prediction, eps, rng)
        if index > 0:
            x = base + _ahead(*moves[:-3:-1]) * (guesses[-1] - guesses[-2])
        moves, guesses = moves[-2:], guesses[-2:]
        tell(on_step, index, levels, prediction)
    return x


def _ahead(move: Move, last: Move) -> float:
    """Weight of the latest change in x0, carried on for half of this step (2M, algorithm 2).

    A step is taken for at most one and a half times the last. On smooth grids that changes
    nothing; but evenly spaced timesteps end in ever longer steps of lambda (a step of 3.7 after
    one of 0.6, for 7 steps of the cosine schedule), where carrying on overshoots.
    """
    if not math.isfinite(move.h):
        return 0.0
    return -move.alpha * math.expm1(-move.span) * min(move.h / last.h, 1.5) / 2


def _corrected(moves: list[Move], guesses: list[Tensor]) -> Tensor:
    """What the x0 at the end of the last step adds to its first-order solution (UniC).

    Args:
        moves: the last step, before it perhaps another one.
        guesses: x0 at the ends of these steps, the latest last.
    """
    move, change = moves[-1], guesses[-1] - guesses[-2]
    if len(moves) == 1:  # a line through two guesses, UniPC's own weight of 1/2
        return -move.alpha * math.expm1(-move.span) / 2 * change
    # The parabola x0 = guesses[-2] + first·u + second·u² through u = before, 0 and 1, and the
    # integrals of u and u² against the weight of the exact solution
    before = -moves[-2].h / move.h
    second = (change - (guesses[-3] - guesses[-2]) / before) / (1 - before)
    of_u = 1 + math.expm1(-move.span) / move.span
    of_u2 = 1 - 2 * of_u / move.span
    return move.alpha * (of_u * (change - second) + of_u2 * second)

"""Multistep samplers: DPM-Solver++ (2M) and UniPC, with one network call per step.

With lambda = ln(alpha/sigma) and c = 1 + eta², a step of length h has the exact solution

    x' = (sigma'/sigma)·e^(−eta²h)·x + alpha'·∫ c·e^(−c·(lambda' − lambda))·x0(lambda) dlambda

and noise (DPM-Solver++, arXiv 2211.01095, eq. 8; SA-Solver, arXiv 2309.05019, for any eta). These
samplers approximate x0(lambda) by a polynomial through the latest predictions; for an infinite h
(to the clean level, or from pure noise) by a constant.
"""

from __future__ import annotations

import math

from torch import Tensor

from ...types import Level, Prediction
from .base import Move, Walk, sampler


def _two_steps(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """DPM-Solver++ (2M) (arXiv 2211.01095, algorithm 2); with eta 1 its SDE variant."""
    move = Move.between(now, then, walk.eta)
    x = move.start(said, said.eps, walk.rng)
    if walk.moves:
        x = x + _ahead(move, walk.moves[-1]) * (said.x0 - walk.guesses[-1])
    walk.moves, walk.guesses = [move], [said.x0]
    return x


dpmpp_2m = sampler(eta=0.0, name="dpmpp_2m", order=2)(_two_steps)
dpmpp_2m_sde = sampler(eta=1.0, name="dpmpp_2m_sde", order=2)(_two_steps)


@sampler(eta=0.0, order=3)
def unipc(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """UniPC-2 with data prediction and B(h) = e^h − 1 (arXiv 2302.04867, section 3 and appendix).

    Its predictor is DPM-Solver++ (2M). The network's next prediction, at the predicted x, also
    corrects it, which gives order 3; the correction keeps the noise of the prediction.
    """
    moves, guesses, eps = walk.moves, [*walk.guesses, said.x0], said.eps
    if moves and math.isfinite(moves[-1].h):
        assert walk.base is not None
        right = walk.base + _corrected(moves, guesses)
        eps = eps + (right - x) / moves[-1].sigma
    moves = [*moves, Move.between(now, then, walk.eta)]
    walk.base = moves[-1].start(said, eps, walk.rng)
    walk.moves, walk.guesses = moves[-2:], guesses[-2:]
    if walk.index == 0:
        return walk.base
    return walk.base + _ahead(*moves[:-3:-1]) * (guesses[-1] - guesses[-2])


def _ahead(move: Move, last: Move) -> float:
    """Weight of the latest change in x0, extrapolated by half of this step (2M, algorithm 2).

    A step counts as at most 1.5 times the last one. This has no effect on smooth grids; but evenly
    spaced timesteps end with ever longer steps of lambda (3.7 after 0.6, for 7 steps of the cosine
    schedule), where extrapolation overshoots.
    """
    if not math.isfinite(move.h):
        return 0.0
    return -move.alpha * math.expm1(-move.span) * min(move.h / last.h, 1.5) / 2


def _corrected(moves: list[Move], guesses: list[Tensor]) -> Tensor:
    """Correction of the last step's first-order solution by the x0 at its end (UniC).

    Args:
        moves: the last step, optionally with the one before it.
        guesses: x0 at the ends of these steps, the latest last.
    """
    move, change = moves[-1], guesses[-1] - guesses[-2]
    if len(moves) == 1:  # a line through two guesses, with UniPC's weight of 1/2
        return -move.alpha * math.expm1(-move.span) / 2 * change
    # The parabola x0 = guesses[-2] + first·u + second·u² through u = before, 0 and 1, and the
    # integrals of u and u² against the weight of the exact solution
    before = -moves[-2].h / move.h
    second = (change - (guesses[-3] - guesses[-2]) / before) / (1 - before)
    of_u = 1 + math.expm1(-move.span) / move.span
    of_u2 = 1 - 2 * of_u / move.span
    return move.alpha * (of_u * (change - second) + of_u2 * second)

"""Consistency distillation: a student that goes from any level of a teacher's path to its end."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..rng import Rng
from ..types import Denoiser, Level, Prediction
from .few_steps import ConsistencyObjective
from .objective import huber, masked_mean
from .parameterization import Parameterization
from .schedule import Schedule


@dataclass(frozen=True)
class Segment:
    """A piece of the path from noise to data, a sample each: where it begins, and its two levels.

    Args:
        x: (B, ...) x_t at `now`.
        now: the noisier level, fields (B,).
        then: where the teacher's step leads; the clean level may be it.
        stop: where the path ends that is learnt: the clean level, or the end of its part.
        as_sampled: (B,) whether sampling in few steps draws its picture from such an x: where the
            last part of the path begins, or noise on the student's own picture.
    """

    x: Tensor
    now: Level
    then: Level
    stop: Level
    as_sampled: Tensor


def sample_segment(
    x0: Tensor,
    schedule: Schedule,
    config: ConsistencyObjective,
    progress: float,
    rng: Rng,
    student: Denoiser | None = None,
) -> Segment:
    """A random piece of the path to each of (B, ...) clean `x0`.

    Args:
        x0: in diffusion space.
        schedule: whose grid of `config.levels` levels the path is.
        config: how often it begins at pure noise, and how many levels it spans.
        progress: share of the training done, 0 to 1.
        rng: for the level and the noise.
        student: as it samples, for `config.own_share`.
    """
    path = path_levels(schedule, config.levels, x0.device)
    noisy = rng.bernoulli(config.noise_share)
    start = torch.where(noisy, 0, (rng.rand() * config.levels).long())
    own = torch.zeros_like(noisy)
    if student is not None and config.own_share:
        own = rng.bernoulli(config.own_share)
        start = torch.where(own, config.own_place, start)
        noise = level_at(path, torch.zeros_like(start))
        with torch.no_grad():
            drawn = student(noise.like(x0)[1] * rng.randn(*x0.shape[1:]), noise).x0
        x0 = torch.where(own.view(-1, *(1,) * (x0.ndim - 1)), drawn, x0)
    stop = (start // config.span + 1) * config.span
    end = torch.minimum(start + config.stride(progress), stop)
    now = level_at(path, start)
    alpha, sigma = now.like(x0)
    x = alpha * x0 + sigma * rng.randn(*x0.shape[1:])
    drawn_from = own | (start == config.levels - config.span)
    return Segment(x, now, level_at(path, end), level_at(path, stop), drawn_from)


def path_levels(schedule: Schedule, levels: int, device: torch.device) -> Level:
    """The levels from pure noise to clean, fields (levels + 1,).

    Those of the spacing `trailing`: its grids of fewer steps are on the path, if theirs divide it.
    """
    each = schedule.grid(levels, "trailing")
    fields = ([getattr(one, name) for one in each] for name in ("t", "alpha", "sigma"))
    return Level(*(torch.stack(values).to(device) for values in fields))


def level_at(path: Level, place: Tensor) -> Level:
    """The levels of a path at (B,) places, 0 pure noise."""
    return Level(path.t[place], path.alpha[place], path.sigma[place])


@torch.no_grad()
def consistency_target(part: Segment, average: Denoiser, teacher: Denoiser) -> Tensor:
    """(B, ...) x0 that leads to the end of the path (arXiv 2303.01469, algorithm 2).

    The teacher takes one DDIM step over the segment, and the averaged student says where the path
    ends from there; where it ends already, the teacher has said it. The teacher is guided, so that
    the student needs no guidance (arXiv 2310.04378, section 4.2).
    """
    x = _at(part.then, teacher(part.x, part.now))
    ended = part.then.like(x)[1] == part.stop.like(x)[1]
    x = torch.where(ended, x, _at(part.stop, average(x, part.then)))
    return leading_to(x, part.x, part.now, part.stop)


def leading_to(end: Tensor, x: Tensor, now: Level, stop: Level) -> Tensor:
    """(B, ...) x0 from which one DDIM step goes from `x` at `now` to `end` at the cleaner `stop`.

    At the clean level it is `end`. (Appendix G of arXiv 2202.00512; arXiv 2403.06807, section 3.)
    """
    alpha, sigma = now.like(x)
    to_alpha, to_sigma = stop.like(x)
    kept = to_sigma / sigma  # of the noise
    return (end - kept * x) / (to_alpha - kept * alpha)


@dataclass(frozen=True)
class Paths:
    """Points between noise and data, and where a teacher's paths from there end.

    Args:
        x: (B, L, ...) x_t, from pure noise on.
        levels: of these, fields (L,).
        end: (B, L, ...) x0 that leads there.
    """

    x: Tensor
    levels: Level
    end: Tensor

    def distances(
        self, student: Denoiser, config: ConsistencyObjective, counts: Tensor | None = None
    ) -> list[Tensor]:
        """(B,) how far a student's x0 is from the end, at each point from the least noisy on.

        All points count alike: weighted as in training, those at which a teacher errs little, too,
        would hide what is drawn from pure noise.
        """
        config, found = config.model_copy(update={"v_gamma": 1.0}), []
        for place in reversed(range(self.x.shape[1])):
            now = level_at(self.levels, torch.full((len(self.x),), place, device=self.x.device))
            said = student(self.x[:, place], now).x0
            found.append(weighted_distance(said, self.end[:, place], now, config, counts))
        return found


@torch.no_grad()
def paths_of(
    teacher: Denoiser,
    x0: Tensor,
    schedule: Schedule,
    config: ConsistencyObjective,
    count: int,
    rng: Rng,
) -> Paths:
    """Where a teacher comes to by DDIM, level by level, from (B, ...) `x0` noised.

    Args:
        teacher: guided.
        x0: in diffusion space.
        schedule: whose grid of `config.levels` levels the paths are on.
        config: in how many parts they are.
        count: points to begin from, evenly spaced, the first pure noise.
        rng: for the noise.
    """
    levels, span = config.levels, config.span
    path = path_levels(schedule, levels, x0.device)
    count = min(count, levels)
    starts = torch.tensor([number * levels // count for number in range(count)], device=x0.device)
    points, ends = list[Tensor](), list[Tensor]()
    for start in starts:
        stop = int(start) // span * span + span
        each = [level_at(path, place.expand(len(x0))) for place in torch.arange(start, stop + 1)]
        alpha, sigma = each[0].like(x0)
        x = alpha * x0 + sigma * rng.randn(*x0.shape[1:])
        points.append(x)
        for now, then in pairwise(each):
            x = _at(then, teacher(x, now))
        ends.append(leading_to(x, points[-1], each[0], each[-1]))
    return Paths(torch.stack(points, 1), level_at(path, starts), torch.stack(ends, 1))


def _at(level: Level, said: Prediction) -> Tensor:
    """(B, ...) x_t at another level of what was said: a step of DDIM."""
    alpha, sigma = level.like(said.x0)
    return alpha * said.x0 + sigma * said.eps


def weighted_distance(
    said: Tensor,
    end: Tensor,
    now: Level,
    config: ConsistencyObjective,
    counts: Tensor | None = None,
) -> Tensor:
    """(B,) weighted pseudo-Huber distance, each value alone.

    `counts`: see `masked_mean`.
    """
    error = huber((said - end).float() ** 2, config.huber)
    weight = Parameterization(kind="x0").v_weight(now, config.v_gamma)
    return weight * masked_mean(error, counts)

"""Spacings: which noise levels of a schedule the steps of sampling visit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ..errors import UsageError
from ..registry import Named
from ..types import Level


class Timesteps(Protocol):
    """What a spacing asks of a schedule: see `Schedule`."""

    whole: ClassVar[bool]

    @property
    def length(self) -> int: ...
    def ends(self) -> Level: ...
    def at(self, index: Tensor) -> Level: ...
    def at_log_snr(self, log_snr: Tensor) -> Level: ...


Spacing = Callable[[Timesteps, int], Level]
"""(schedule, steps) -> the levels of a grid without the clean one, fields (steps,), falling."""

SPACINGS: Named[Spacing] = Named("spacing")


def spacing(fn: Spacing) -> Spacing:
    """Register a spacing under its function's name."""
    SPACINGS[fn.__name__] = fn
    return fn


@spacing
def uniform(schedule: Timesteps, steps: int) -> Level:
    """Evenly spaced with both ends, as in Karlo: i·(T − 1)/(n − 1), halves rounded to even.

    On the EDM schedule this is EDM's grid (arXiv 2206.00364, eq. 5).
    """
    place = _indices(steps)
    # in the order of numpy, as in Karlo: the rounding of exact halves depends on it
    index = (
        place * ((schedule.length - 1) / (steps - 1)) if steps > 1 else schedule.length - 1 + place
    )
    return schedule.at(index.round() if schedule.whole else index)


@spacing
def linspace(schedule: Timesteps, steps: int) -> Level:
    """Evenly spaced with both ends, between whole timesteps where they fall so (k-diffusion)."""
    return schedule.at(line(schedule.length - 1, 0, steps))


@spacing
def leading(schedule: Timesteps, steps: int) -> Level:
    """Every (length // steps)-th from the clean end (DDIM; arXiv 2305.08891, table 2).

    It omits the noisiest levels. For networks whose published samples used it.
    """
    stride = schedule.length // steps if schedule.whole else schedule.length / steps
    return schedule.at(stride * _indices(steps))


@spacing
def leading_after(schedule: Timesteps, steps: int) -> Level:
    """As `leading`, but from timestep 1 on, as in Stable Diffusion's published samples."""
    stride = schedule.length // steps if schedule.whole else schedule.length / steps
    index = stride * _indices(steps)
    return schedule.at(index + min(1.0, schedule.length - 1 - float(index[0])))


@spacing
def trailing(schedule: Timesteps, steps: int) -> Level:
    """Evenly spaced, without the cleanest (arXiv 2305.08891, table 2 and section 3.3).

    The last step is as long as the others, which is best for few steps.
    """
    stride = schedule.length / steps
    index = schedule.length - stride * _indices(steps).flip(0)
    return schedule.at((index.round() if schedule.whole else index) - 1)


@spacing
def karras(schedule: Timesteps, steps: int) -> Level:
    """The 7th root of sigma/alpha evenly spaced between the ends (EDM, arXiv 2206.00364, eq. 5).

    Not for few steps of the cosine schedule: its noisy end (20,000) would take most of them.
    """
    noisy, clear = (schedule.ends().snr().double() ** (-1 / 14)).tolist()
    ratio = line(noisy, clear, steps) ** 7
    return schedule.at_log_snr(-2 * ratio.log())


@spacing
def logsnr(schedule: Timesteps, steps: int) -> Level:
    """log(alpha²/sigma²) evenly spaced between the ends (DPM-Solver, arXiv 2206.00927)."""
    noisy, clear = schedule.ends().snr().double().log().tolist()
    return schedule.at_log_snr(line(noisy, clear, steps))


SECTIONS = (10, 10, 3, 2, 2)


@spacing
def fast27(schedule: Timesteps, steps: int) -> Level:
    """Five equal sections of the timesteps, of 27 steps 10, 10, 3, 2 and 2 from the clean end on.

    For upsamplers, with the noisiest step two timesteps lower (GLIDE, arXiv 2112.10741). Another
    number of steps is divided in proportion.

    Raises:
        UsageError: a section has not so many timesteps.
    """
    size = schedule.length / len(SECTIONS)
    ends = [round(steps * share / sum(SECTIONS)) for share in accumulate(SECTIONS, initial=0)]
    index: list[int] = []
    for section, (first, last) in enumerate(pairwise(ends)):
        start, end = (round(size * one) for one in (section, section + 1))
        if last - first > end - start:
            raise UsageError(f"spacing fast27 has at most {int(2.7 * size)} steps, got {steps}")
        stride = (end - start - 1) / max(last - first - 1, 1)
        index.extend(start + round(stride * one) for one in range(last - first))
    index[-1] = schedule.length - 3
    return schedule.at(torch.tensor(index[::-1], dtype=torch.float64, device="cpu"))


def line(start: float, end: float, steps: int) -> Tensor:
    """(steps,) float64, evenly spaced, with both ends."""
    return torch.linspace(start, end, steps, dtype=torch.float64, device="cpu")


def _indices(steps: int) -> Tensor:
    """steps - 1 down to 0, (steps,) float64."""
    return torch.arange(steps - 1, -1, -1, dtype=torch.float64, device="cpu")

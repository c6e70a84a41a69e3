"""What samplers are, beside their functions: for lists of them, and for those who look for one."""

from __future__ import annotations

from typing import NamedTuple


class About(NamedTuple):
    """What a sampler is, beside its function: see `sampler`."""

    eta: float
    order: int
    calls: int


ABOUT: dict[str, About] = {}

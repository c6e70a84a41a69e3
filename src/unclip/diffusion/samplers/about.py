"""What samplers are, beside their functions: for lists of them, and for those who look for one."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from ...aliases import nearest_sampler
from ...errors import UsageError
from ...registry import Named

T = TypeVar("T")


class Samplers(Named[T]):
    """By name, which may be one of other tools to find the nearest."""

    def __missing__(self, name: str) -> T:
        hint, known = nearest_sampler(name, self), ", ".join(self)
        raise UsageError(f"unknown sampler '{name}'{hint}; known: {known}")


class About(NamedTuple):
    """What a sampler is, beside its function: see `sampler`."""

    eta: float
    order: int
    calls: int


ABOUT: dict[str, About] = {}

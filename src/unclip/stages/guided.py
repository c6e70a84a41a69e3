"""Classifier-free guidance of a stage, by one condition or by several that are to hold at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from ..diffusion.guidance import cfg, cfg_two, switch, within
from ..types import Cond, Denoiser
from .sampling import Sampling

_OF_TEXT = ("text_", "null_", "image_embed", "noised_image_embed")
"""How the fields begin that a condition has of its text."""


@dataclass(frozen=True)
class Conjunction(Cond):
    """Conditions that are to hold at once (arXiv 2206.01714): this one, and others.

    The others have fields of their own for what comes of their texts, and share the rest.
    """

    weight: float = 1.0
    others: tuple[tuple[Cond, float], ...] = ()

    def map(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """See `Cond`; of the others too."""
        others = tuple((one.map(fn), weight) for one, weight in self.others)
        return replace(super().map(fn), others=others)

    @property
    def every(self) -> list[tuple[Cond, float]]:
        """See `Cond`."""
        alone = Cond(**dict(self.items()))
        own = [
            ({n: v for n, v in one.items() if n.startswith(_OF_TEXT)}, weight)
            for one, weight in self.others
        ]
        return [(alone, self.weight), *((alone.replace(**one), weight) for one, weight in own)]

    def each(self, fn: Callable[[Cond], Cond]) -> Cond:
        """See `Cond`."""
        (first, weight), *others = ((fn(one), weight) for one, weight in self.every)
        made: dict[str, Any] = dict(first.items())
        return type(self)(**made, weight=weight, others=tuple(others))


Bind = Callable[[Cond], Denoiser]
"""The network as a denoiser, under one condition a sample."""


def guided(bind: Bind, cond: Cond, options: Sampling, composes: bool) -> Denoiser:
    """The network with guidance, within its interval.

    Args:
        bind: see `Bind`.
        cond: with `others` that are to hold too.
        options: of the sampling.
        composes: whether the others count.
    """
    if options.inpainting == "repaint":
        cond = cond.replace(known=None, mask=None)
    every = cond.every if composes else [(cond, 1.0)]
    scale, image_scale = options.guidance_scale, options.image_guidance_scale
    inside = _at(bind, every, scale, image_scale, options.guidance_rescale)
    low, high = options.guidance_interval
    if (low, high) == (0.0, 1.0) or (scale, image_scale) == (1.0, None):
        return inside
    return switch(inside, _at(bind, every, 1.0), within(low, high))


def _at(
    bind: Bind,
    every: list[tuple[Cond, float]],
    scale: float,
    image_scale: float | None = None,
    rescale: float = 0.0,
) -> Denoiser:
    """All in one batch."""
    cond, weights = every[0][0], [weight for _, weight in every]
    if (len(every), scale, image_scale) == (1, 1.0, None):
        return bind(cond)
    shown = [one.dropped((True, True)) for one, _ in every]
    none = cond.dropped((False, False))
    if image_scale is None:
        return cfg(bind(Cond.joined([*shown, none])), scale, rescale, weights)
    image = cond.dropped((False, True))
    bound = bind(Cond.joined([*shown, image, none]))
    return cfg_two(bound, scale, image_scale, rescale, weights)

"""Classifier-free guidance of a stage, by one condition or by several that are to hold at once."""

from __future__ import annotations

from collections.abc import Callable

from ..diffusion.guidance import cfg, cfg_two, switch, within
from ..types import Cond, Denoiser
from .sampling import Sampling

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
    every = cond.every if composes else [cond]
    scale, image_scale = options.guidance_scale, options.image_guidance_scale
    inside = _at(bind, every, scale, image_scale, options.guidance_rescale)
    low, high = options.guidance_interval
    if (low, high) == (0.0, 1.0) or (scale, image_scale) == (1.0, None):
        return inside
    return switch(inside, _at(bind, every, 1.0), within(low, high))


def _at(
    bind: Bind,
    every: list[Cond],
    scale: float,
    image_scale: float | None = None,
    rescale: float = 0.0,
) -> Denoiser:
    """All in one batch."""
    cond, weights = every[0], [one.weight for one in every] if len(every) > 1 else [1.0]
    if (len(every), scale, image_scale) == (1, 1.0, None):
        return bind(cond)
    shown = [one.dropped((True, True)) for one in every]
    none = cond.dropped((False, False))
    if image_scale is None:
        return cfg(bind(Cond.joined([*shown, none])), scale, rescale, weights)
    image = cond.dropped((False, True))
    bound = bind(Cond.joined([*shown, image, none]))
    return cfg_two(bound, scale, image_scale, rescale, weights)

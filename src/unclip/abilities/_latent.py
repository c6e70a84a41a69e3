"""A picture as what the decoder draws it from: the bipartite latent (z_i, x_T).

Hierarchical Text-Conditional Image Generation with CLIP Latents (arXiv 2204.06125), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..media import Source, fit_image, read_image, to_tensor
from ..nn.tiling import wrapping
from ..pipeline import Chain
from ..stages import DiffusionStage
from ..types import Cond, Control, OnStep, named
from ._drawing import ddim_settings

NOISE_STD = (0.8, 1.25)
"""An x_T outside is no noise: that stage cannot be inverted, and gets fresh noise instead."""


SEEN = 256
"""Pixels of a side that means over a quarter of it are taken of."""


@dataclass(frozen=True)
class Latent:
    """Where a picture comes from.

    `image_embed` (1, D) is z_i, `noises` holds x_T (1, ...) by stage, `seed` draws the noise of
    stages that have none. `picture` (1, 3, H, W) is the truth where there is one, and `detail`
    (1, 3, h, w) what the networks do not carry of it: the truth less what the latent gives. Where
    optional upsamplers enlarge a picture that is smaller, it is of the size before them: their
    sharpness is not taken for a fault.
    """

    image_embed: Tensor
    seed: int
    noises: Mapping[str, Tensor] = field(default_factory=dict)
    picture: Tensor | None = None
    detail: Tensor | None = None
    small: Tensor | None = None  # (1, 3, h, w), the decoder's part of what it gives


def of_picture(
    pipe: Chain,
    source: Source,
    seed: int,
    settings: Mapping[str, Any],
    on_step: OnStep | None = None,
) -> Latent:
    """Encode a picture with CLIP and invert the decoder and the upsamplers with DDIM."""
    pipe.model.check_embedding("encoding a picture")
    clip = pipe.model.clip("encoding a picture", "vision")
    given = read_image(source)
    picture = to_tensor([fit_image(given, pipe.model.size)]).to(pipe.device)
    z_i = clip.embed_images(picture)
    noises = _invert(pipe, picture, z_i, settings, on_step)
    drawn, small = decode_latents(pipe, [Latent(z_i, seed, noises)], [seed], settings, on_step)
    detail, further = picture - drawn, pipe.model.running
    larger = math.prod(pipe.model.stages[name].factor for name in further)
    side = max(min(given.size), min(pipe.model.size) // larger)
    if side < min(pipe.model.size):
        sizes = [side * one // min(pipe.model.size) for one in pipe.model.size]
        detail = F.interpolate(detail, sizes, mode="area")
    return Latent(z_i, seed, noises, picture, detail, small)


def _invert(
    pipe: Chain,
    image: Tensor,
    z_i: Tensor,
    settings: Mapping[str, Any],
    on_step: OnStep | None,
) -> dict[str, Tensor]:
    """x_T by stage, from the last to the first."""
    sampling = pipe.model.by_stage(ddim_settings(settings))
    noises: dict[str, Tensor] = {}
    for name, stage in reversed(pipe.model.image_stages.items()):
        assert isinstance(stage, DiffusionStage)
        cond, size = stage.condition_for(pipe.image_only(z_i), image), stage.image_size
        if cond.image is None:
            image = image if image.shape[-2:] == size else F.interpolate(image, size, mode="area")
        if stage.inverts:
            with wrapping(pipe.model.tile, named(on_step, name)) as seen:
                noise = stage.invert(cond, image, sampling.get(name), seen)
            if NOISE_STD[0] < float(noise.std()) < NOISE_STD[1]:
                noises[name] = noise
        image = image if cond.image is None else cond.image
    return noises


def decode_latents(
    pipe: Chain,
    latents: list[Latent],
    seeds: list[int],
    settings: Mapping[str, Any],
    on_step: OnStep | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what latents stand for.

    Args:
        latents: one a picture.
        seeds: of each picture's fresh noise: that of eta, and of stages without an x_T.

    Returns:
        (n, 3, H, W), and the decoder's own pictures (n, 3, h, w).
    """
    first = next(iter(pipe.model.image_stages))
    small: list[Tensor] = []

    def keep(name: str, cond: Cond) -> None:
        if name == first and cond.image is not None:
            small.append(cond.image.float())

    cond = pipe.image_only(_rows([one.image_embed for one in latents]))
    names = set.intersection(*(set(one.noises) for one in latents))
    controls = {n: Control(noise=_rows([one.noises[n] for one in latents])) for n in names}
    images = pipe.sample(cond, seeds, controls, ddim_settings(settings), on_step, on_stage=keep)
    return images, torch.cat(small)


def _rows(values: Sequence[Tensor]) -> Tensor:
    """(n, ...) of n tensors (1, ...); of one tensor n times over in the memory of one."""
    first = values[0]
    if all(value is first for value in values):
        return first.expand(len(values), *first.shape[1:])
    return torch.cat([*values])


def with_detail(image: Tensor, small: Tensor, latent: Latent, share: float = 1.0) -> Tensor:
    """Give back the detail that a latent's networks do not carry, where the picture stayed.

    The difference between the true picture and what its latent draws is added, in so far as the
    decoder's picture did not change there: fully where it is the same, not at all where it
    differs by more than about a tenth of the range.

    Args:
        image: (B, 3, H, W), drawn from latents made of `latent`.
        small: (B, 3, h, w), the decoder's pictures of them.
        latent: the original's.
        share: how much of the detail, 0 to 1.
    """
    if latent.detail is None or latent.small is None or share == 0:
        return image
    change = (small - latent.small).abs().amax(1, keepdim=True)  # (B, 1, h, w)
    change = F.max_pool2d(change, 3, stride=1, padding=1)
    change = F.interpolate(change, image.shape[-2:], mode="bilinear")
    stays = (1 - (change - 0.1) / 0.1).clamp(0, 1)
    detail = _enlarged(latent.detail, image)
    shade = blurred(detail)  # a tint that ended where something changed would show as a stain
    return image + share * (blurred(stays) * shade + stays * (detail - shade))


def blurred(x: Tensor) -> Tensor:
    """Means over a quarter of the side, reckoned of `SEEN` pixels at most."""
    seen = F.avg_pool2d(x, max(1, x.shape[-1] // SEEN))
    reach = seen.shape[-1] // 8
    means = F.avg_pool2d(seen, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
    return _enlarged(means, x)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    """(B, C, h, w) brought to the size of `like`."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bicubic")


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation of (B, ...): exactly `a` at 0 and `b` at 1, lengths in between."""
    if share in (0.0, 1.0):
        return b if share else a
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    cosine = F.cosine_similarity(flat_a, flat_b, dim=1).clamp(-1, 1)
    angle = cosine.acos().view(-1, *(1,) * (a.ndim - 1))
    sine = angle.sin()
    near = sine < 1e-4  # parallel: a straight line is the same
    safe = torch.where(near, torch.ones_like(sine), sine)
    weight_a = torch.where(
        near, torch.full_like(sine, 1 - share), ((1 - share) * angle).sin() / safe
    )
    weight_b = torch.where(near, torch.full_like(sine, share), (share * angle).sin() / safe)
    return weight_a * a + weight_b * b

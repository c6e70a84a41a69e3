"""The data types shared by all layers, and the letters for shapes.

    B  batch          N  text tokens      D  width of a CLIP embedding
    C  channels       H, W  picture       W' width of a transformer (noted where it occurs)

Pictures are float32 in [-1, 1], (B, 3, H, W), sRGB. Embeddings are float32, and L2-normalised
if the model's CLIP does so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """A noise level: x_t = alpha * x0 + sigma * eps.

    Each field is a float32 tensor, () for a batch at one level or (B,) for one level per sample.
    `t` is the timestep of the network's training.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    def like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) on the device of `x`, shaped to broadcast against it."""
        shape = (-1,) + (1,) * (x.ndim - 1) if self.alpha.ndim else ()
        return self.alpha.to(x.device).view(shape), self.sigma.to(x.device).view(shape)

    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2."""
        return (self.alpha / self.sigma) ** 2

    def to(self, device: torch.device | str) -> Level:
        """The same level on another device."""
        return Level(self.t.to(device), self.alpha.to(device), self.sigma.to(device))


@dataclass(frozen=True)
class Prediction:
    """A denoiser's prediction for x_t: the clean x0 and the noise eps (both shaped as x_t).

    `variance` is the fraction (0 to 1, shaped as x_t) between the smallest and the largest
    posterior log-variance, if the network has learnt it (Improved DDPM, eq. 15).
    """

    x0: Tensor
    eps: Tensor
    variance: Tensor | None = None


Denoiser = Callable[[Tensor, Level], Prediction]
"""A network with its conditioning bound: (x_t, level) -> Prediction."""


@dataclass(frozen=True)
class Step:
    """The argument of `on_step` after each step of a sampler."""

    stage: str
    index: int  # 1-based
    total: int
    x0: Tensor  # current prediction of x0, in diffusion space


OnStep = Callable[[Step], None]
"""Called after each step; may raise an exception (`Cancelled`) to stop."""


def named(on_step: OnStep | None, stage: str) -> OnStep | None:
    """`on_step` with a stage's name in its model instead of its kind."""
    if on_step is None:
        return None
    return lambda step: on_step(replace(step, stage=stage))


@dataclass(frozen=True)
class Cond:
    """Everything that a stage may read or add. The first axis of every field is the batch.

    `keep_text` and `keep_image` say for each sample whether the condition is shown (True) or
    replaced by the network's own null; None means shown. Each network decides what null means.

    If a model's null is a text (the empty or negative prompt) or an embedding, the `null_` fields
    contain it and replace what `dropped` hides.
    """

    text_tokens: Tensor | None = None  # (B, N) int64
    text_mask: Tensor | None = None  # (B, N) bool, True on real tokens
    text_weights: Tensor | None = None  # (B, N) of each token's encoding; None: all are 1
    text_embed: Tensor | None = None  # (B, D) z_t
    text_encodings: Tensor | None = None  # (B, N, W')
    negative_tokens: Tensor | None = None  # (B, N) a hard negative caption, in training
    negative_mask: Tensor | None = None  # (B, N)
    image_embed: Tensor | None = None  # (B, D) z_i
    noised_image_embed: Tensor | None = None  # (B, 2·D) noised z_i, and features of the noise level
    predicted_embed: Tensor | None = None  # (B, D), z_i from a prior, in training
    image_patches: Tensor | None = None  # (B, patches, W'), CLIP's patch features, row by row
    image: Tensor | None = None  # (B, 3, H, W), the picture so far
    latents: Tensor | None = None  # (B, c, h, w), an autoencoder's of `image`, in training
    low_res: Tensor | None = None  # (B, 3, H, W), input of an upsampler
    low_res_level: Tensor | None = None  # (B,) how corrupted low_res is, 0 to 1
    known: Tensor | None = None  # (B, 3, H, W), a picture to repaint in part
    mask: Tensor | None = None  # (B, 1, H, W), 1 where to paint, 0 where `known` stays
    loss_mask: Tensor | None = None  # (B, 1, H, W) how much a pixel counts, 0 to 1, in training
    known_latents: Tensor | None = None  # (B, 1 + c, h, w), the mask, latents of what is not in it
    keep_text: Tensor | None = None  # (B,) bool
    keep_image: Tensor | None = None  # (B,) bool
    null_text_tokens: Tensor | None = None  # each shaped as the field that it replaces
    null_text_mask: Tensor | None = None
    null_text_weights: Tensor | None = None
    null_text_embed: Tensor | None = None
    null_text_encodings: Tensor | None = None
    null_image_embed: Tensor | None = None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def map(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """A copy with `fn` applied to every field that is not None."""
        return replace(self, **{name: fn(value) for name, value in self.items()})

    @property
    def every(self) -> list[tuple[Cond, float]]:
        """The conditions that are to hold at once, and their weights: this one alone."""
        return [(self, 1.0)]

    def each(self, fn: Callable[[Cond], Cond]) -> Cond:
        """A copy with `fn` applied to each of them."""
        return fn(self)

    def items(self) -> list[tuple[str, Tensor]]:
        """(name, tensor) of every field that is not None."""
        pairs = [(name, getattr(self, name)) for name in _TENSORS]
        return [(name, value) for name, value in pairs if value is not None]

    def __len__(self) -> int:
        """B."""
        return next((len(value) for _, value in self.items()), 0)

    def __getitem__(self, part: slice) -> Self:
        """A copy of some of the samples."""
        return self.map(lambda value: value[part].clone())

    def expand(self, count: int) -> Self:
        """The only sample expanded to `count`, without copying."""
        return self.map(lambda value: value.expand(count, *value.shape[1:]))

    def dropped(self, *shown: tuple[bool, bool]) -> Self:
        """(k·B): k copies of this condition, for guidance in one forward.

        Args:
            shown: k pairs: whether the copy has the text, and whether it has z_i.
        """
        return self.joined([self._shown(*which) for which in shown])

    @classmethod
    def joined(cls, several: Sequence[Self]) -> Self:
        """The samples of conditions that have the same fields, in this order."""
        each = [dict(one.items()) for one in several]
        return cls(**{name: torch.cat([one[name] for one in each]) for name in each[0]})

    def hidden(self) -> Self:
        """A copy in which samples that do not keep a condition have its null instead.

        Only where a `null_` field says what that is; else the network hides what is not kept.
        """
        changes: dict[str, Tensor | None] = {}
        for kind in ("text", "image"):
            keep = getattr(self, f"keep_{kind}")
            nulls = [name for name in _NULLS if name.startswith(f"null_{kind}")]
            there = {n.removeprefix("null_"): getattr(self, n) for n in nulls}
            for name, null in there.items():
                own = getattr(self, name)
                if keep is not None and null is not None and own is not None:
                    shape = (-1,) + (1,) * (own.ndim - 1)
                    changes[name] = torch.where(keep.view(shape), own, null)
                    changes[f"keep_{kind}"] = None
        return self.replace(**changes)

    def _shown(self, text: bool, image: bool) -> Self:
        """One copy: hidden parts are replaced by their null, or marked as hidden."""
        first = self.items()[0][1]
        keep = torch.ones(len(first), dtype=torch.bool, device=first.device)
        changes: dict[str, Tensor | None] = dict.fromkeys(_NULLS)
        for kind, visible, field in (("text", text, "keep_text"), ("image", image, "keep_image")):
            own = {name: getattr(self, f"null_{name}", None) for name, _ in self.items()}
            nulls = {n: v for n, v in own.items() if n.startswith(kind) and v is not None}
            kept = getattr(self, field)
            kept = keep if kept is None else kept
            changes[field] = kept if visible or nulls else kept & False
            changes |= {} if visible else nulls
        return replace(self, **changes)


_TENSORS = [field.name for field in fields(Cond)]
_NULLS = [name for name in _TENSORS if name.startswith("null_")]


@dataclass(frozen=True)
class Control:
    """Start and guidance of a diffusion stage, in addition to its condition.

    `noise` (B, ...) replaces the random x_T. `start` (B, ...) is data to start from, noised by
    `strength` (0 none, 1 all). `score` returns (B,) similarities of (B, ...) data;
    `Sampling.clip_guidance_scale` is the weight of its gradient.
    """

    noise: Tensor | None = None
    start: Tensor | None = None
    strength: float = 1.0
    score: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        """B; 0 if no field has samples."""
        return next((len(one) for one in (self.noise, self.start) if one is not None), 0)

    def __getitem__(self, part: slice) -> Self:
        """A copy for some of the samples."""
        noise = None if self.noise is None else self.noise[part].clone()
        start = None if self.start is None else self.start[part].clone()
        return replace(self, noise=noise, start=start)


FREE = Control()
"""No start or guidance, only the condition."""

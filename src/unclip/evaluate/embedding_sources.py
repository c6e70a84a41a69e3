"""Where the z_i that the decoder draws from may come from, as unCLIP's ablations vary it.

Hierarchical Text-Conditional Image Generation with CLIP Latents (arXiv 2204.06125), section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, counted
from ..facade import Pipeline
from ..rng import Rng
from ..stages.clip import ClipStage
from ..stages.model import NO_PRIOR
from ..types import Cond
from .image_set import ImageSet

Begin = Callable[[Pipeline, ImageSet, Sequence[int], Rng], Cond]
"""(pipeline, images, which of them, one generator an image) -> where sampling begins."""


@dataclass(frozen=True)
class EmbeddingSource:
    """One source of z_i on the way from a caption to a picture."""

    name: str  # of its results
    title: str  # for the report
    begin: Begin  # the condition that it starts from
    prior: str | None = None  # which one draws z_i where `begin` gives none
    settings: Mapping[str, Any] = field(default_factory=dict)  # that differ from the model's

    def provider(
        self, pipe: Pipeline, images: ImageSet, seed: int
    ) -> Callable[[Sequence[int]], Tensor]:
        """Numbers -> (B, 3, H, W); picture i is drawn from `seed + i`, as `generate` does."""

        def draw(numbers: Sequence[int]) -> Tensor:
            seeds = [seed + number for number in numbers]
            with torch.inference_mode():
                cond = self.begin(pipe, images, numbers, Rng(seeds, pipe.device))
                return finite(pipe.sample(cond, seeds, settings=self.settings, prior=self.prior))

        return draw

    def guided(self, scale: float, name: str) -> EmbeddingSource:
        """The same with another guidance scale."""
        title = f"{self.title}, guidance {scale:g}"
        return replace(
            self, name=name, title=title, settings={**self.settings, "guidance_scale": scale}
        )


def finite(drawn: Tensor) -> Tensor:
    """The pictures (B, 3, H, W) as they came. Raises CheckpointError where one is no picture."""
    bad = int((~drawn.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise CheckpointError(
            f"the model draws NaN or infinity in {bad} of {counted(len(drawn), 'picture')}: "
            "its weights are damaged, or its settings do not suit them"
        )
    return drawn


def from_text(pipe: Pipeline, images: ImageSet, numbers: Sequence[int], rng: Rng) -> Cond:
    """As `generate` does: a prior is to follow."""
    return pipe.read([images.captions[number] for number in numbers])


def from_truth(pipe: Pipeline, images: ImageSet, numbers: Sequence[int], rng: Rng) -> Cond:
    """The caption, and the z_i of the true image: what a perfect prior would give."""
    z_i = pipe.model.clip("the true z_i").net.encode_image(images.tensor(numbers).to(pipe.device))
    return from_text(pipe, images, numbers, rng).replace(image_embed=z_i)


def from_text_alone(pipe: Pipeline, images: ImageSet, numbers: Sequence[int], rng: Rng) -> Cond:
    """The caption without any z_i, which the decoder takes for its null."""
    hidden = torch.zeros(len(numbers), dtype=torch.bool, device=pipe.device)
    width = pipe.model.clip("a decoder without z_i").net.config.embed_dim
    none = torch.zeros(len(numbers), width, device=pipe.device)
    cond = from_text(pipe, images, numbers, rng)
    return cond.replace(image_embed=none, keep_image=hidden)


def from_truth_alone(pipe: Pipeline, images: ImageSet, numbers: Sequence[int], rng: Rng) -> Cond:
    """The z_i of the true image without the caption."""
    z_i = from_truth(pipe, images, numbers, rng).image_embed
    assert z_i is not None
    return pipe.image_only(z_i)


def from_prior_alone(pipe: Pipeline, images: ImageSet, numbers: Sequence[int], rng: Rng) -> Cond:
    """The z_i of the model's own prior without the caption: what CLIP's space carries of it."""
    z_i = pipe.sample_prior(from_text(pipe, images, numbers, rng), rng).image_embed
    assert z_i is not None
    return pipe.image_only(z_i)


DEFAULT = EmbeddingSource("default", "as it comes", from_text)


def embedding_sources(pipe: Pipeline) -> list[EmbeddingSource]:
    """Where z_i may come from in this model, and whether the decoder sees the text beside it.

    Only what the model has: no true z_i without CLIP's vision encoder, nothing hidden that is not
    there.
    """
    if "image_embed" not in _decoder(pipe).consumes:
        return []
    reads = bool(_decoder(pipe).consumes & {"text_tokens", "text_encodings", "text_embed"})
    vision, text = has_tower(pipe, "vision"), has_tower(pipe, "text")
    beside = ", decoder with its text" if reads else ""
    priors = pipe.model.priors
    own = priors[0] if priors else ""
    found: list[tuple[Any, str, str, Begin, str | None]] = [
        (vision, "oracle", f"true z_i (oracle){beside}", from_truth, None),
        (vision and reads, "oracle-embedding", "true z_i (oracle), text hidden",
         from_truth_alone, None),
        *((True, f"prior-{name}", f"{name}{beside}", from_text, name) for name in priors),
        (own and reads, "embedding", f"{own}, text hidden (z_i only)", from_prior_alone, None),
        (text, "z_t", f"z_t in z_i's place{beside}", from_text, NO_PRIOR),
        (text and reads, "text", "text only (z_i hidden)", from_text_alone, None),
    ]  # fmt: skip
    return [EmbeddingSource(*one[1:]) for one in found if one[0]]


def _decoder(pipe: Pipeline) -> Any:
    return next(iter(pipe.model.image_stages.values()))


def has_tower(pipe: Pipeline, tower: str) -> bool:
    """Whether the model's CLIP has a "vision" or a "text" encoder, which make z_i and z_t."""
    clip = next((one for one in pipe.stages.values() if isinstance(one, ClipStage)), None)
    return clip is not None and getattr(clip.config.network, tower) is not None


def decoder_only(pipe: Pipeline) -> Pipeline:
    """The pipeline without its upsamplers: what the ablations are about, and much faster."""
    stages = {n: one for n, one in pipe.stages.items() if one.factor == 1}
    return pipe.with_stages(stages)

"""What unCLIP's parts are worth: where z_i comes from, guidance, inversion.

Hierarchical Text-Conditional Image Generation with CLIP Latents (arXiv 2204.06125), sections 3
and 5. Everything here is a function of a pipeline and of pictures with captions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..abilities.latent import decode_latents, of_picture
from ..errors import CheckpointError
from ..facade import Pipeline
from ..rng import Rng
from ..stages.clip import ClipStage
from ..stages.model import NO_PRIOR
from ..types import Cond, OnStep
from .album import Album

Begin = Callable[[Pipeline, Album, Sequence[int], Rng], Cond]
"""(pipeline, pictures, which of them, one generator a picture) -> where drawing begins."""


@dataclass(frozen=True)
class Way:
    """One way to come from a caption to a picture.

    Args:
        name: of its results.
        title: for the report.
        begin: the condition that it starts from.
        prior: which prior draws z_i where `begin` gives none.
        settings: sampling settings that differ from the model's.
    """

    name: str
    title: str
    begin: Begin
    prior: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def drawer(
        self, pipe: Pipeline, pictures: Album, seed: int, on_step: OnStep | None = None
    ) -> Callable[[Sequence[int]], Tensor]:
        """Numbers -> (B, 3, H, W); picture i is drawn from `seed + i`, as `generate` does."""

        def draw(numbers: Sequence[int]) -> Tensor:
            seeds, settings = [seed + number for number in numbers], self.settings
            with torch.inference_mode():
                cond = self.begin(pipe, pictures, numbers, Rng(seeds, pipe.device))
                drawn = pipe.sample(
                    cond, seeds, settings=settings, on_step=on_step, prior=self.prior
                )
            return finite(drawn)

        return draw

    def at(self, guidance_scale: float, name: str) -> Way:
        """The same, guided otherwise."""
        settings = {**self.settings, "guidance_scale": guidance_scale}
        return Way(
            name, f"{self.title}, guidance {guidance_scale:g}", self.begin, self.prior, settings
        )


def finite(drawn: Tensor) -> Tensor:
    """The pictures (B, 3, H, W) as they came. Raises CheckpointError where one is no picture."""
    bad = int((~drawn.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise CheckpointError(
            f"the model draws NaN or infinity in {bad} of {len(drawn)} pictures: "
            "its weights are damaged, or its settings do not suit them"
        )
    return drawn


def from_text(pipe: Pipeline, pictures: Album, numbers: Sequence[int], rng: Rng) -> Cond:
    """As `generate` does: a prior is to follow."""
    return pipe.read([pictures.captions[number] for number in numbers])


def from_truth(pipe: Pipeline, pictures: Album, numbers: Sequence[int], rng: Rng) -> Cond:
    """The caption, and the z_i of the true picture: what a perfect prior would give."""
    z_i = pipe.model.clip("the true z_i").net.encode_image(pictures.tensor(numbers).to(pipe.device))
    return from_text(pipe, pictures, numbers, rng).replace(image_embed=z_i)


def from_text_alone(pipe: Pipeline, pictures: Album, numbers: Sequence[int], rng: Rng) -> Cond:
    """The caption without any z_i, which the decoder takes for its null."""
    hidden = torch.zeros(len(numbers), dtype=torch.bool, device=pipe.device)
    width = pipe.model.clip("a decoder without z_i").net.config.embed_dim
    none = torch.zeros(len(numbers), width, device=pipe.device)
    cond = from_text(pipe, pictures, numbers, rng)
    return cond.replace(image_embed=none, keep_image=hidden)


def from_truth_alone(pipe: Pipeline, pictures: Album, numbers: Sequence[int], rng: Rng) -> Cond:
    """The z_i of the true picture without the caption."""
    z_i = from_truth(pipe, pictures, numbers, rng).image_embed
    assert z_i is not None
    return pipe.image_only(z_i)


def from_embedding_alone(pipe: Pipeline, pictures: Album, numbers: Sequence[int], rng: Rng) -> Cond:
    """The z_i of the model's own prior without the caption: what CLIP's space carries of it."""
    z_i = pipe.sample_prior(from_text(pipe, pictures, numbers, rng), rng).image_embed
    assert z_i is not None
    return pipe.image_only(z_i)


DEFAULT = Way("default", "as it comes", from_text)


def ways(pipe: Pipeline) -> list[Way]:
    """Where z_i may come from in this model, and whether the decoder sees the text beside it.

    Only what the model has: no true z_i without CLIP's eye, nothing hidden that is not there.
    """
    first = next(iter(pipe.model.image_stages.values()))
    if "image_embed" not in first.consumes:
        return []
    reads = reads_text(pipe)
    beside = ", decoder with its text" if reads else ""
    found: list[Way] = []
    if has_tower(pipe, "vision"):
        found.append(Way("oracle", f"true z_i (oracle){beside}", from_truth))
        if reads:
            found.append(
                Way("oracle-embedding", "true z_i (oracle), text hidden", from_truth_alone)
            )
    found += [
        Way(f"prior-{name}", f"{name}{beside}", from_text, name) for name in pipe.model.priors
    ]
    if pipe.model.priors and reads:
        title = f"{pipe.model.priors[0]}, text hidden (z_i only)"
        found.append(Way("embedding", title, from_embedding_alone))
    if has_tower(pipe, "text"):
        found.append(Way("z_t", f"z_t in z_i's place{beside}", from_text, NO_PRIOR))
    if reads and has_tower(pipe, "text"):
        found.append(Way("text", "text only (z_i hidden)", from_text_alone))
    return found


def has_tower(pipe: Pipeline, tower: str) -> bool:
    """Whether the model's CLIP has a "vision" or a "text" encoder, which make z_i and z_t."""
    clip = next((one for one in pipe.stages.values() if isinstance(one, ClipStage)), None)
    return clip is not None and getattr(clip.config.network, tower) is not None


def reads_text(pipe: Pipeline) -> bool:
    """Whether the decoder has a path for the text beside z_i."""
    first = next(iter(pipe.model.image_stages.values()))
    return bool(first.consumes & {"text_tokens", "text_encodings", "text_embed"})


def decoder_only(pipe: Pipeline) -> Pipeline:
    """The pipeline without its upsamplers: what the science is about, and much faster."""
    stages = {n: one for n, one in pipe.stages.items() if one.factor == 1}
    return pipe.with_stages(stages)


@dataclass(frozen=True)
class Inverted:
    """Peak signal-to-noise ratios in dB: of the decoder's own picture, and of the whole."""

    decoder: float
    whole: float


def inversion(
    pipe: Pipeline, pictures: Album, number: int, on_step: OnStep | None = None
) -> Inverted:
    """Invert one picture to (z_i, x_T) and draw it again.

    The detail that the abilities add to a redrawn picture is left out: this is what the networks
    carry themselves.
    """
    latent = of_picture(pipe, pictures.picture(number), 0, {}, on_step)
    whole, small = decode_latents(pipe, [latent], [0], {}, on_step)
    assert latent.picture is not None
    truth = F.interpolate(latent.picture, small.shape[-2:], mode="area")
    return Inverted(psnr(small, truth), psnr(whole, latent.picture))


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in [-1, 1], in dB; the range is 2."""
    error = float((a.float() - b.float()).square().mean())
    return float(10 * torch.log10(torch.tensor(4 / max(error, 1e-12), dtype=torch.float64)))

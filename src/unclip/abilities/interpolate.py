"""Interpolate between two pictures or sentences.

An argument that names a file is a picture, cropped to its middle square.

\b
Examples:
  unclip interpolate fox.png car.png -o strip.png
  unclip interpolate "a fox" "a red car" --frames 24 --seed 7 -o loop.gif
  unclip interpolate fox.png "a cat" --noise fixed --fps 8 -o loop.mp4
  unclip interpolate fox.png car.png --frames 16 -o frames/
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeGuard, Unpack

from PIL import Image
from pydantic import Field, ValidationInfo, field_validator

from ..arguments import check_prompt
from ..cost import Work
from ..errors import UsageError
from ..media import SUFFIXES, Source, digest, read_image, to_pictures
from ..request import Frames, Guided, Input, Option, Prior, stem
from ..weighting import plain
from . import Ability
from ._drawing import attach_record, check_request, ddim_settings
from ._settings import PictureSettings
from ._sized import Sized

if TYPE_CHECKING:
    from ..pipeline import Chain
    from ..types import OnStep
    from ._latent import Latent


End = Annotated[
    Input,
    Field(description="A picture file, or what to draw."),
    Option(metavar="IMAGE|PROMPT", positional=True),
]


class InterpolateRequest(Sized, Guided):
    """See `interpolate`."""

    ability: ClassVar[str] = "interpolate"
    one_seed: ClassVar[bool] = True
    film: ClassVar[bool] = True
    prior_alone: ClassVar[bool] = True
    a: End
    b: End
    frames: Frames = 8
    noise: Annotated[Literal["slerp", "fixed"], Option(metavar="slerp|fixed")] = Field(
        "slerp", description="Whether the noise moves too, or stays that of the first."
    )
    prior: Prior = None

    @field_validator("a", "b")
    @classmethod
    def _end(cls, end: Any, info: ValidationInfo) -> Any:
        if not _is_prompt(end):
            return end
        if Path(end).suffix.lower() in SUFFIXES:
            raise UsageError(f"cannot read {end}: there is no such file")
        check_prompt(end, info.field_name or "")
        return end

    def title(self, command: str) -> list[str]:
        """Such as fox-to-a-red-car."""
        a, b = (end if _is_prompt(end) else stem(end) for end in (self.a, self.b))
        return [a, "to", b]

    def check_inputs(self) -> None:
        """Each end that is one."""
        for end in (self.a, self.b):
            if not _is_prompt(end):
                read_image(end)

    def work(self) -> Work:
        """Each end that is a picture is inverted and drawn back; then the frames."""
        prompts = sum(_is_prompt(end) for end in (self.a, self.b))
        inversions, settings = 2 - prompts, ddim_settings(self.settings)
        return Work(self.frames, settings, self.frames + inversions, prompts, inversions)


def _is_prompt(end: Source) -> TypeGuard[str]:
    return isinstance(end, str) and not os.path.isfile(end)


def interpolate(
    pipe: Chain,
    a: Source,
    b: Source,
    frames: int = 8,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    noise: Literal["slerp", "fixed"] = "slerp",
    prior: str | None = None,
    negative_prompt: str = "",
    **settings: Unpack[PictureSettings],
) -> list[Image.Image]:
    """Walk from `a` to `b` in CLIP's space (arXiv 2204.06125, section 3.2).

    z_i moves by spherical interpolation, and so does x_T unless it is `fixed` to that of `a`.

    Args:
        a, b: a picture (path to a file, bytes, PIL picture), or a prompt. A string is a picture
            where a file of that name exists.
        frames: how many, both ends included; at least 2.
        seed: of what no picture decides.
        on_step: as in `generate`.
        noise: what becomes of x_T.
        prior, negative_prompt: as in `generate`, for prompts.
        settings: as in `generate`, with guidance 1 unless said otherwise.

    Returns:
        `frames` pictures. The ends are the pictures given, or the prompts' own, to the pixel; with
        x_T fixed, the last one only resembles `b`.
    """
    import torch

    from ._latent import decode_latents, with_detail

    asked = {"noise": noise, "prior": prior, "negative_prompt": negative_prompt}
    request = InterpolateRequest.of(a=a, b=b, frames=frames, seed=seed, settings=settings, **asked)
    frames, seed, prior, sampling = request.frames, request.seed, request.prior, request.settings
    pipe = request.framed(pipe.inverting())
    pipe.model.check_embedding("interpolation")
    for one in (a, b):
        if _is_prompt(one):
            pipe.model.check_prior(prior)
        else:
            pipe.model.clip("encoding a picture", "vision")
    inputs = {"a": _name(a), "b": _name(b)}
    check_request(pipe, request, request.work(), on_step)
    pipe.check_words(*(plain(end) for end in (a, b) if _is_prompt(end)))
    first, last = (end_of(pipe, end, request, on_step) for end in (a, b))
    shares = [index / (frames - 1) for index in range(frames)]
    path = [between(first, last, share, noise) for share in shares]
    # apart from each other, as a batch has only the x_T that all in it have
    parts = [part for part in (path[:1], path[1:-1], path[-1:]) if part]
    each = [decode_latents(pipe, part, [seed] * len(part), sampling, on_step) for part in parts]
    drawn, small = (torch.cat(pieces) for pieces in zip(*each, strict=True))
    for end, weights in ((first, [1 - s for s in shares]), (last, shares)):
        frame = zip(drawn[:, None], small[:, None], weights, strict=True)
        drawn = torch.cat([with_detail(one, seen, end, weight) for one, seen, weight in frame])
    return attach_record(pipe, to_pictures(drawn), request.record(**inputs), one_seed=True)


def between(a: Latent, b: Latent, share: float, noise: str) -> Latent:
    """The latent a `share` of the way from `a` to `b`."""
    from ._latent import Latent, slerp

    if share == 0 or (share == 1 and noise != "fixed"):
        return b if share else a
    both = set(a.noises) & set(b.noises)
    noises = {n: slerp(a.noises[n], b.noises[n], share) for n in both}
    if noise == "fixed":
        noises = dict(a.noises)
    return Latent(slerp(a.image_embed, b.image_embed, share), a.seed, noises)


def end_of(pipe: Chain, end: Source, request: InterpolateRequest, on_step: OnStep | None) -> Latent:
    """The latent of a picture, or of a prompt."""
    from ..rng import Rng
    from ..stages import DiffusionStage
    from ._latent import Latent, of_picture

    seed, prior, settings = request.seed, request.prior, request.settings
    if not _is_prompt(end):
        return of_picture(pipe, end, seed, settings, on_step)
    rng, sampling = Rng([seed], pipe.device), pipe.model.by_stage(ddim_settings(settings))
    cond = pipe.read_prompt(end, request.negative_prompt, prior, conjunction=False)
    z_i = pipe.sample_prior(cond, rng, sampling, on_step, prior).image_embed
    assert z_i is not None
    name, stage = next(iter(pipe.model.image_stages.items()))
    assert isinstance(stage, DiffusionStage)
    noise = stage.initial_noise(pipe.image_only(z_i), rng.fork(name), sampling.get(name))
    return Latent(z_i, seed, {name: noise})


def _name(end: Source) -> str:
    """A picture's digest, or the prompt."""
    return end if _is_prompt(end) else digest(read_image(end))


ABILITY = Ability(InterpolateRequest, interpolate, frozenset({"embedding", "vision"}))

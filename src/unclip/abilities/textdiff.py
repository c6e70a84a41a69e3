"""Change a picture by the difference between two descriptions.

The first frame is the picture itself, cropped to its middle square.

\b
Examples:
  unclip textdiff fox.png --from "a fox" --to "a cat"
  unclip textdiff fox.png --from "a fox" --to "a cat" --theta 0.4 -o strip.png
  unclip textdiff fox.png --from "a fox" --to "a cat" --frames 16 -o loop.gif
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, Unpack

from PIL import Image
from pydantic import Field, model_validator

from ..cost import Work
from ..errors import UsageError
from ..media import Source, digest, read_image, to_pictures
from ..record import Record
from ..request import Frames, Option, Picture, Prompt
from . import Ability
from ._drawing import attach_record, check_request, ddim_settings, words_alone
from ._settings import PictureSettings
from ._sized import Sized

if TYPE_CHECKING:
    from ..pipeline import Chain
    from ..types import OnStep


class TextDiffRequest(Sized):
    """See `text_diff`."""

    ability: ClassVar[str] = "textdiff"
    example: ClassVar[str] = "upsampler_sharpen=0"
    one_seed: ClassVar[bool] = True
    film: ClassVar[bool] = True
    image: Picture
    source: Annotated[Prompt, Option("--from", "TEXT")] = Field(
        exclude=True, description="What IMAGE shows."
    )
    target: Annotated[Prompt, Option("--to", "TEXT")] = Field(
        exclude=True, description="What it becomes."
    )
    frames: Frames = 4
    theta: float = Field(
        0.5,
        gt=0,
        le=1,
        description="How far the last picture goes, above 0; the paper: 0.25 to 0.5.",
    )

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.source.strip() == self.target.strip():
            raise UsageError("source and target are the same: there is no difference to apply")
        return self

    @property
    def prompt(self) -> str:
        """What the last picture shows."""
        return self.target

    @classmethod
    def of_record(cls, record: Record, **inputs: Any) -> Self:
        """Its prompt is the target."""
        words = {"source": record.inputs.get("source"), "target": record.prompt}
        return super().of_record(record, **(words | inputs))

    def work(self) -> Work:
        """The picture is inverted and drawn back, then drawn once a frame."""
        return Work(self.frames, ddim_settings(self.settings), self.frames + 1, inversions=1)


def text_diff(
    pipe: Chain,
    image: Source,
    source: str,
    target: str,
    frames: int = 4,
    theta: float = 0.5,
    seed: int = 0,
    on_step: OnStep | None = None,
    **settings: Unpack[PictureSettings],
) -> list[Image.Image]:
    """Turn z_i towards z_t(target) − z_t(source), keeping x_T (arXiv 2204.06125, section 3.3).

    Args:
        image: a path, bytes, a file or a PIL picture; cropped to its middle square.
        source: what the picture shows, such as "a fox".
        target: what it becomes, such as "a cat".
        frames: how many, from the picture itself to the end; at least 2.
        theta: how far the last frame turns, 0 to 1; the paper ends at 0.25 to 0.50.
        seed: of stages that cannot be inverted.
        on_step: as in `generate`.
        settings: as in `generate`, with guidance 1 unless said otherwise.

    Raises:
        UsageError: no such picture, equal or empty descriptions, or a setting out of range.
    """
    from torch.nn import functional as F

    from ..rng import Rng
    from ._latent import Latent, decode_latents, of_picture, slerp, with_detail

    request = TextDiffRequest.of(
        image=image,
        source=source,
        target=target,
        frames=frames,
        theta=theta,
        seed=seed,
        settings=settings,
    )
    frames, theta, seed = request.frames, request.theta, request.seed
    source, target, sampling = request.source, request.target, request.settings
    (pipe := request.framed(pipe.inverting())).model.check_embedding("a text difference")
    clip = pipe.model.clip("a text difference", "text", "vision")
    pipe.check_words(*(words := words_alone(source, target)))
    picture = read_image(image, pipe.model.size)
    check_request(pipe, request, request.work(), on_step)
    latent = of_picture(pipe, picture, seed, sampling, on_step)
    z_t = clip.sample(pipe.read(words), Rng([0, 0], pipe.device)).text_embed
    assert z_t is not None
    length = latent.image_embed.norm()  # not 1 where the model's embeddings are as CLIP gives them
    direction = F.normalize(z_t[1:] - z_t[:1], dim=-1) * length
    turned = [
        Latent(slerp(latent.image_embed, direction, theta * i / (frames - 1)), seed, latent.noises)
        for i in range(frames)
    ]
    drawn, small = decode_latents(pipe, turned, [seed] * frames, sampling, on_step)
    drawn = with_detail(drawn, small, latent)
    made = request.record(image=digest(picture), source=source)
    return attach_record(pipe, to_pictures(drawn), made, one_seed=True)


ABILITY = Ability(TextDiffRequest, text_diff, frozenset({"embedding", "vision", "text"}))

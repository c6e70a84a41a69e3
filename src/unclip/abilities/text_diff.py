"""Changing a picture by the difference between two descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image
from torch.nn import functional as F

from ..errors import UsageError
from ..images import Source, digest, read_image
from ..request import Record, check_request, given
from ..rng import Rng
from ..types import OnStep
from .latent import Latent, draw, of_picture, slerp, with_detail

if TYPE_CHECKING:
    from ..pipeline import Pipeline


def text_diff(
    pipe: Pipeline,
    image: Source,
    source: str,
    target: str,
    frames: int = 4,
    theta: float = 0.5,
    seed: int = 0,
    on_step: OnStep | None = None,
    **settings: Any,
) -> list[Image.Image]:
    """Turn z_i towards z_t(target) − z_t(source), keeping x_T (arXiv 2204.06125, section 3.3).

    Args:
        image: a path, bytes, a file or a PIL picture; cropped to its middle square.
        source: what the picture shows, such as "a fox".
        target: what it shall show, such as "a wolf".
        frames: how many, from the picture itself to the end; at least 2.
        theta: how far the last frame turns, 0 to 1; the paper ends at 0.25 to 0.50.
        seed: of stages that cannot be inverted.
        on_step: as in `generate`.
        settings: as in `generate`, with guidance 1 unless said otherwise.

    Raises:
        UsageError: no such picture, equal or empty descriptions, or a setting out of range.
    """
    for words in (source, target):
        check_request(words, 1)
    if source.strip() == target.strip():
        raise UsageError("the two descriptions are the same: there is no difference to apply")
    if frames < 2:
        raise UsageError(f"frames must be at least 2, got {frames}")
    if not 0 < theta <= 1:
        raise UsageError(f"theta must be above 0 and at most 1, got {theta:g}")
    pipe.check_embedding("a text difference")
    clip = pipe.clip("a text difference", "text", "vision")
    pipe.heed(source, target)
    picture = read_image(image, at_least=pipe.side)
    latent = of_picture(pipe, picture, seed, settings, on_step)
    z_t = clip.sample(pipe.read([source, target]), Rng([0, 0], pipe.device)).text_embed
    assert z_t is not None
    length = latent.image_embed.norm()  # not 1 where the model's embeddings are as CLIP gives them
    direction = F.normalize(z_t[1:] - z_t[:1], dim=-1) * length
    turned = [
        Latent(slerp(latent.image_embed, direction, theta * i / (frames - 1)), seed, latent.noises)
        for i in range(frames)
    ]
    drawn, small = draw(pipe, turned, [seed] * frames, settings, on_step)
    drawn = with_detail(drawn, small, latent)
    record = Record(target, seed, {**given(settings), "theta": theta, "frames": frames})
    made = record.made_by("textdiff", image=digest(picture), source=source)
    return pipe.signed(drawn, made, one_seed=True)

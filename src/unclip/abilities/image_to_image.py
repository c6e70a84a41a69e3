"""A picture drawn again under a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image
from torch.nn import functional as F

from ..errors import UsageError
from ..images import Source, digest, read_image, square, to_tensor
from ..request import Record, check_request, given
from ..rng import Rng
from ..types import Cond, Control, OnStep

if TYPE_CHECKING:
    from ..pipeline import Pipeline


def image_to_image(
    pipe: Pipeline,
    image: Source,
    prompt: str,
    strength: float = 0.6,
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    prior: str | None = None,
    **settings: Any,
) -> list[Image.Image]:
    """Noise a picture part of the way, and denoise it under a prompt (SDEdit, arXiv 2108.01073).

    Args:
        image: a path, bytes, a file or a PIL picture; cropped to its middle square.
        prompt: what it shall become; must not be empty.
        strength: 0 keeps the picture (at the decoder's size), 1 keeps nothing of it.
        n: how many; picture i uses `seed + i` and is the same whatever `n` is.
        seed: any integer.
        on_step: as in `generate`.
        prior: as in `generate`.
        settings: as in `generate`.

    Raises:
        UsageError: no such picture, an empty prompt, or a setting out of range.
    """
    check_request(prompt, n)
    pipe.check_prior(prior)
    if not 0 <= strength <= 1:
        raise UsageError(f"strength must be 0 to 1, got {strength:g}")
    picture = read_image(image, at_least=pipe.side)
    truth = to_tensor([square(picture, pipe.side)]).to(pipe.device)
    name, decoder = next(iter(pipe.painters.items()))
    size = decoder.image_size or pipe.side
    small = truth if size == pipe.side else F.interpolate(truth, (size, size), mode="area")

    def begin(rng: Rng) -> Cond:
        return pipe.read([prompt] * len(rng.seeds))

    def controls(rng: Rng) -> dict[str, Control]:
        start = small.expand(len(rng.seeds), -1, -1, -1)
        return {name: Control(start=start, strength=strength)}

    seeds = range(seed, seed + n)
    drawn = pipe.draw(seeds, begin, settings, on_step, prior, controls)
    record = Record(prompt, seed, {**given(settings), "strength": strength})
    return pipe.signed(drawn, record.made_by("image_to_image", image=digest(picture)))

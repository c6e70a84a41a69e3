"""Redraw a picture to match a sentence.

The layout stays roughly the same. The picture is cropped to its middle square, or to --size.

\b
Examples:
  unclip img2img sketch.png "a pizza"
  unclip img2img sketch.png "a pizza" --strength 0.8 -n 4 -o pizzas.png
  unclip img2img sketch.png "a pizza" --model v1-5.safetensors --aspect 3:2
  unclip img2img sketches/ "a pizza" -o pizzas/     # all of a folder
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Unpack

from PIL import Image
from pydantic import Field

from ..config import Share
from ..cost import Work
from ..media import Source, digest, fit_image, read_image, to_pictures, to_tensor
from ..request import Guided, Option, Picture, Pictures, Prior, Prompt
from ..weighting import further
from . import Ability
from ._drawing import attach_record, check_request
from ._settings import PictureSettings
from ._several import each_prompt
from ._sized import Sized

if TYPE_CHECKING:
    from ..pipeline import Chain
    from ..types import OnStep


class ImageToImageRequest(Sized, Guided):
    """See `image_to_image`."""

    ability: ClassVar[str] = "image_to_image"
    image: Picture
    prompt: Prompt = Field(description="What it becomes.")
    strength: Annotated[Share, Option(metavar="S")] = Field(
        0.6, description="0 keeps the picture, 1 keeps nothing of it."
    )
    n: Pictures = 1
    prior: Prior = None

    def work(self) -> Work:
        """As many steps as from noise, at most."""
        more = self.n * further(self.prompt)
        return Work(self.n, self.settings, self.n, prior_runs=self.n, further=more)


@each_prompt(ImageToImageRequest)
def image_to_image(
    pipe: Chain,
    image: Source,
    prompt: str | Sequence[str],
    strength: float = 0.6,
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    prior: str | None = None,
    negative_prompt: str = "",
    **settings: Unpack[PictureSettings],
) -> list[Image.Image]:
    """Noise a picture part of the way, and denoise it under a prompt (SDEdit, arXiv 2108.01073).

    Args:
        image: a path, bytes, a file or a PIL picture; cropped to its middle square.
        prompt: what it becomes; must not be empty; or a list, as in `generate`.
        strength: 0 keeps the picture (at the decoder's size), 1 keeps nothing of it.
        n: how many; picture i uses `seed + i` and is the same whatever `n` is.
        seed: 0 or more.
        on_step: as in `generate`.
        prior, negative_prompt, settings: as in `generate`.

    Raises:
        UsageError: no such picture, an empty prompt, or a setting out of range.
    """
    from torch.nn import functional as F

    from ..types import Control

    request = ImageToImageRequest.of(
        image=image,
        prompt=prompt,
        strength=strength,
        n=n,
        seed=seed,
        prior=prior,
        negative_prompt=negative_prompt,
        settings=settings,
    )
    prompt, strength, seed = request.prompt, request.strength, request.seed
    pipe = request.framed(pipe.inverting())  # whose grid is fine enough to begin part of the way
    pipe.model.check_prior(request.prior)
    picture = read_image(image, pipe.model.size)
    check_request(pipe, request, request.work(), on_step)
    truth = to_tensor([fit_image(picture, pipe.model.size)]).to(pipe.device)
    name, decoder = next(iter(pipe.model.image_stages.items()))
    size = decoder.image_size or pipe.model.size
    small = truth if size == pipe.model.size else F.interpolate(truth, size, mode="area")

    seeds = range(seed, seed + request.n)
    cond = pipe.read_prompt(prompt, request.negative_prompt, request.prior).expand(request.n)
    begun = Control(start=small.expand(request.n, -1, -1, -1), strength=strength)
    drawn = pipe.sample(cond, seeds, {name: begun}, request.settings, on_step, request.prior)
    return attach_record(pipe, to_pictures(drawn), request.record(image=digest(picture)))


ABILITY = Ability(ImageToImageRequest, image_to_image, frozenset({"prompt"}))

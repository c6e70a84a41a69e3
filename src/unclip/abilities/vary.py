"""Draw variations of a picture.

What CLIP sees in the picture stays, the rest is random. The picture is cropped to its middle
square.

\b
Examples:
  unclip vary fox.png
  unclip vary fox.png -n 9 --eta 1 --seed 7 -o foxes.png   # one grid of nine
  unclip vary fox.png -o foxes/                            # one file each
  unclip vary photos/ -n 2 -o varied/                      # all of a folder
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Unpack

from PIL import Image
from pydantic import Field

from ..config import Share
from ..cost import Work
from ..media import Source, digest, read_image, to_pictures
from ..request import Option, Picture, Pictures
from . import Ability
from ._drawing import attach_record, check_request, ddim_settings
from ._settings import VariationSettings
from ._sized import Sized

if TYPE_CHECKING:
    from ..pipeline import Chain
    from ..types import OnStep


class VariationsRequest(Sized):
    """See `variations`."""

    ability: ClassVar[str] = "vary"
    example: ClassVar[str] = "upsampler_sharpen=0"
    reads_text: ClassVar[bool] = False
    image: Picture
    n: Annotated[Pictures, Option("-n", "N", begins_with=4)] = 1
    eta: Share = Field(0.8, description="0 gives the picture back, 1 is the most random.")

    def work(self) -> Work:
        """The picture is inverted and drawn back, then drawn `n` times."""
        return Work(self.n, ddim_settings(self.settings), self.n + 1, inversions=1)


def variations(
    pipe: Chain,
    image: Source,
    n: int = 1,
    eta: float = 0.8,
    seed: int = 0,
    on_step: OnStep | None = None,
    **settings: Unpack[VariationSettings],
) -> list[Image.Image]:
    """Draw a picture again, with whatever CLIP's embedding does not hold left to chance.

    The picture is encoded to z_i with CLIP and to x_T by inverting decoder and upsamplers, and
    drawn again by DDIM with `eta` (arXiv 2204.06125, section 3.1).

    Args:
        image: a path, bytes, a file or a PIL picture; cropped to its middle square.
        n: how many; picture i uses `seed + i` and is the same whatever `n` is.
        eta: 0 gives the picture back, 1 leaves the most to chance.
        seed: 0 or more.
        on_step: as in `generate`.
        settings: as in `generate`; guidance is 1 unless said otherwise, because it would change
            the picture.

    Raises:
        UsageError: no such picture, an unknown setting, or a model without CLIP.
    """
    from ._latent import decode_latents, of_picture, with_detail

    request = VariationsRequest.of(image=image, n=n, eta=eta, seed=seed, settings=settings)
    n, eta, seed, sampling = request.n, request.eta, request.seed, request.settings
    (pipe := pipe.inverting()).model.check_embedding("encoding a picture")
    pipe.model.clip("encoding a picture", "vision")
    pipe = request.framed(pipe)
    picture = read_image(image, pipe.model.size)
    check_request(pipe, request, request.work(), on_step)
    latent = of_picture(pipe, picture, 0, sampling, on_step)  # the same whatever the seed
    seeds = list(range(seed, seed + n)) if eta > 0 else [0] * n  # nothing is left to chance
    drawn, small = decode_latents(pipe, [latent] * n, seeds, {**sampling, "eta": eta}, on_step)
    drawn = with_detail(drawn, small, latent, 1 - eta)
    return attach_record(pipe, to_pictures(drawn), request.record(image=digest(picture)))


ABILITY = Ability(VariationsRequest, variations, frozenset({"embedding", "vision"}))

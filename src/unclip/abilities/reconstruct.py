"""Draw a picture from a few components of its embedding.

These are the first principal components of its CLIP image embedding.

\b
Examples:
  unclip reconstruct fox.png --pictures photos/
  unclip reconstruct fox.png --dims 2,8,32 --pictures photos/ -o parts.png
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Unpack

from PIL import Image
from pydantic import Field, field_validator

from ..arguments import Count
from ..config import shown
from ..cost import Work
from ..errors import UsageError, counted
from ..media import Source, digest, fit_image, read_image, to_pictures, to_tensor
from ..request import Input, Option, Picture
from . import Ability
from ._drawing import attach_record, check_request
from ._settings import PictureSettings
from ._sized import Sized

if TYPE_CHECKING:
    from ..nn.pca import Pca
    from ..pipeline import Chain
    from ..types import OnStep


class ReconstructRequest(Sized):
    """See `reconstruct`."""

    ability: ClassVar[str] = "reconstruct"
    example: ClassVar[str] = "upsampler_sharpen=0"
    reads_text: ClassVar[bool] = False
    one_seed: ClassVar[bool] = True
    image: Picture
    dims: Annotated[tuple[Count, ...], Option(metavar="K,K,...", example="1,8")] = Field(
        (1, 4, 16),
        min_length=1,
        description="How many principal components to keep, one picture each.",
    )
    pictures: Annotated[
        Input,
        Option(metavar="DIR", default="those of the model's autoregressive prior", folder=True),
    ] = Field(
        None,
        description="Pictures to find the components from; more of them than components.",
    )

    @field_validator("pictures")
    @classmethod
    def _several(cls, pictures: Any) -> Any:
        if not (pictures is None or isinstance(pictures, tuple)):
            raise UsageError(f"pictures must be a list of pictures, got {shown(pictures)}")
        return pictures

    def check_inputs(self) -> None:
        """And that no two files would have one name."""
        super().check_inputs()
        if len(set(self.dims)) < len(self.dims):
            dims = ",".join(map(str, self.dims))
            raise UsageError(f"dims must be different numbers, got '{dims}'")

    def captions(self) -> list[str]:
        """How many components each picture has."""
        return [str(count) for count in self.dims]

    def work(self) -> Work:
        """One picture each."""
        return Work(len(self.dims), self.settings, len(self.dims))


def reconstruct(
    pipe: Chain,
    image: Source,
    dims: Sequence[int] = (1, 4, 16),
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    pictures: Sequence[Source] | None = None,
    **settings: Unpack[PictureSettings],
) -> list[Image.Image]:
    """Draw a picture from the first few principal components of its z_i (paper, figure 7).

    Args:
        image: a path, bytes, a file or a PIL picture; cropped to its middle square.
        dims: how many components to keep, one picture each.
        seed: of the noise, the same for every picture, so that only z_i differs.
        on_step: as in `generate`.
        pictures: to find the components from; without them the autoregressive prior's are used.
        settings: as in `generate`.

    Raises:
        UsageError: more components than there are, or a model that knows of none.
    """
    import torch

    request = ReconstructRequest.of(
        image=image, dims=dims, seed=seed, pictures=pictures, settings=settings
    )
    dims, seed, pipe = request.dims, request.seed, request.framed(pipe)
    pipe.model.check_embedding("reconstruction")
    clip = pipe.model.clip("reconstruction", "vision")
    picture = read_image(image, pipe.model.size)
    check_request(pipe, request, request.work(), on_step)
    inputs = {"image": digest(picture)}
    if pictures:
        pca, inputs["pictures"] = fit(pipe, pictures, max(dims))
    else:
        pca = find(pipe)
    most = len(pca.basis)
    if max(dims) > most:
        raise UsageError(
            f"dims must be at most {most}, the number of components that there are, got "
            f"{max(dims)}; give smaller ones, or more than {max(dims)} pictures to find them from"
        )
    z_i = clip.embed_images(to_tensor([fit_image(picture, pipe.model.size)]))
    with torch.inference_mode():
        projected = torch.cat([pca.project(z_i, k) for k in dims])
    cond, seeds = pipe.image_only(projected), [seed] * len(dims)
    drawn = pipe.sample(cond, seeds, settings=request.settings, on_step=on_step)
    return attach_record(pipe, to_pictures(drawn), request.record(**inputs), one_seed=True)


def find(pipe: Chain) -> Pca:
    """The components that the model's autoregressive prior was fitted with."""
    from ..nn.pca import Pca

    for stage in pipe.stages.values():
        if isinstance(getattr(stage.net_at_rest, "pca", None), Pca):
            pca: Pca = stage.net.pca  # type: ignore[assignment]
            return pca
    raise UsageError(
        f"model '{pipe.name}' has no principal components, which an autoregressive prior brings; "
        "give pictures to find them from"
    )


def fit(pipe: Chain, pictures: Sequence[Source], dims: int) -> tuple[Pca, str]:
    """Principal components of pictures' embeddings, and a digest of the pictures."""
    import torch

    from ..nn.pca import Pca

    if len(pictures) <= dims:
        raise UsageError(
            f"for {counted(dims, 'component')} give more than {counted(dims, 'picture')}, "
            f"got {len(pictures)}"
        )
    clip = pipe.model.clip("reconstruction")
    width = clip.net.config.embed_dim
    if dims > width:
        raise UsageError(f"dims must be at most {width}, the width of z_i, got {dims}")
    embeds, size, seen = [], pipe.model.size, hashlib.sha256()
    with torch.inference_mode():
        for one in pictures:
            picture = read_image(one, size)
            seen.update(digest(picture).encode())
            embeds.append(clip.embed_images(to_tensor([fit_image(picture, size)])))
        with pipe.device:
            pca = Pca(embeds[0].shape[1], dims)
        pca.fit(torch.cat(embeds))
    return pca, seen.hexdigest()[:12]


ABILITY = Ability(ReconstructRequest, reconstruct, frozenset({"embedding", "vision"}))

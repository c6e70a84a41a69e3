"""What each of CLIP's principal components adds to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from PIL import Image
from pydantic import Field, field_validator

from ..config import shown
from ..errors import UsageError
from ..media import Source, digest, read_image, square, to_pictures, to_tensor
from ..nn.pca import Pca
from ..pipeline import Chain
from ..request import Count, Drawing, Input, Work
from ..types import OnStep
from ._drawing import attach_record, check_request


class ReconstructRequest(Drawing):
    """See `reconstruct`."""

    ability: ClassVar[str] = "reconstruct"
    method: ClassVar[str] = "reconstruct"
    image: Input
    dims: Annotated[tuple[Count, ...], Field(min_length=1)]
    pictures: Input = None

    @field_validator("pictures")
    @classmethod
    def _several(cls, pictures: Any) -> Any:
        if not (pictures is None or isinstance(pictures, tuple)):
            raise UsageError(f"pictures must be a list of pictures, got {shown(pictures)}")
        return pictures

    def work(self) -> Work:
        """One picture each."""
        return Work(len(self.dims), self.settings, len(self.dims))


REQUEST = ReconstructRequest


def reconstruct(
    pipe: Chain,
    image: Source,
    dims: Sequence[int],
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    pictures: Sequence[Source] | None = None,
    **settings: Any,
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
    request = ReconstructRequest.of(
        image=image, dims=dims, seed=seed, pictures=pictures, settings=settings
    )
    dims, seed = request.dims, request.seed
    pipe.model.check_embedding("reconstruction")
    clip = pipe.model.clip("reconstruction", "vision")
    picture = read_image(image, at_least=pipe.model.side)
    check_request(pipe, request, request.work(), on_step)
    pca = fit(pipe, pictures, max(dims)) if pictures else find(pipe)
    most = len(pca.basis)
    if max(dims) > most:
        raise UsageError(f"dims must be numbers of components from 1 to {most}, got {list(dims)}")
    z_i = clip.embed_images(to_tensor([square(picture, pipe.model.side)]))
    with torch.inference_mode():
        projected = torch.cat([pca.project(z_i, k) for k in dims])
    cond, seeds = pipe.image_only(projected), [seed] * len(dims)
    drawn = pipe.sample(cond, seeds, settings=request.settings, on_step=on_step)
    return attach_record(
        pipe, to_pictures(drawn), request.record(image=digest(picture)), one_seed=True
    )


def find(pipe: Chain) -> Pca:
    """The components that the model's autoregressive prior was fitted with."""
    for stage in pipe.stages.values():
        if isinstance(getattr(stage.net_at_rest, "pca", None), Pca):
            pca: Pca = stage.net.pca  # type: ignore[assignment]
            return pca
    raise UsageError(
        f"model '{pipe.name}' has no principal components, which an autoregressive prior brings; "
        "give pictures to find them from"
    )


def fit(pipe: Chain, pictures: Sequence[Source], dims: int) -> Pca:
    """Principal components of pictures' embeddings."""
    if len(pictures) <= dims:
        raise UsageError(f"{dims} components need more than {dims} pictures, got {len(pictures)}")
    clip = pipe.model.clip("reconstruction")
    width = clip.net.config.embed_dim
    if dims > width:
        raise UsageError(f"dims must be at most {width}, the width of z_i, got {dims}")
    embeds = []
    with torch.inference_mode():
        for one in pictures:
            tensor = to_tensor([square(read_image(one, at_least=pipe.model.side), pipe.model.side)])
            embeds.append(clip.embed_images(tensor))
        with pipe.device:
            pca = Pca(embeds[0].shape[1], dims)
        pca.fit(torch.cat(embeds))
    return pca

"""Inpainting: a part of a picture painted anew."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..media import Source, digest, mask_tensor, read_image_and_mask
from ..pipeline import Chain
from ..request import Count, Drawing, Input, Prompt, Text, Work
from ..types import OnStep
from ._drawing import attach_record, check_request
from .canvas import Brush, Window, paint


class EditRequest(Drawing):
    """See `edit`."""

    ability: ClassVar[str] = "edit"
    method: ClassVar[str] = "edit"
    image: Input
    mask: Input = None
    prompt: Prompt
    n: Count = 1
    prior: Text | None = None

    def work(self, size: tuple[int, int]) -> Work:
        """One window a picture; `size` is the picture's."""
        settings, n = self.settings, self.n
        return Work(n, settings, n, imagined=n, size=size, holds=True)


REQUEST = EditRequest


def edit(
    pipe: Chain,
    image: Source,
    mask: Source | None,
    prompt: str,
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    prior: str | None = None,
    **settings: Any,
) -> list[Image.Image]:
    """Paint a part of a picture anew; the rest comes back byte for byte.

    What is painted takes the tint of what it borders on (`_blending.blended`).

    A decoder with mask channels (GLIDE, arXiv 2112.10741, section 4.1) sees what is around; any
    other is held to it while it samples (RePaint, arXiv 2201.09865). `inpainting="repaint"` and
    `resample=4` choose the second way.

    Args:
        image: a path, bytes, a file or a PIL picture, of any size and shape.
        mask: a picture of the same shape: where its alpha is 0 (as in OpenAI's Images API), or,
            without alpha, where it is white, is painted. None: the picture's own alpha.
        prompt: what the whole picture shall show; must not be empty.
        n: how many; picture i uses `seed + i`.
        seed: any integer.
        on_step: as in `generate`.
        prior: as in `generate`.
        settings: as in `generate`.

    Returns:
        Pictures of the size of `image`.

    Raises:
        UsageError: pictures that do not fit each other, nothing to paint, an empty prompt.
    """
    request = EditRequest.of(
        image=image, mask=mask, prompt=prompt, n=n, seed=seed, prior=prior, settings=settings
    )
    pipe.model.check_prior(request.prior)
    picture, where = read_image_and_mask(image, mask)
    check_request(pipe, request, request.work(picture.size), on_step)
    brush = Brush(request.prompt, request.settings, request.prior, on_step)
    window, seeds = window_around(where), range(request.seed, request.seed + request.n)
    painted = paint(pipe, as_tensor(picture), mask_tensor(where), [window], seeds, brush)
    made = request.record(image=digest(picture), mask=digest(where))
    return attach_record(pipe, list(painted), made)


def as_tensor(picture: Image.Image) -> Tensor:
    """(1, 3, H, W) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


def window_around(mask: Image.Image) -> Window:
    """The square to look at: the whole of a square picture, else the one around what is painted."""
    box = mask.getbbox()
    assert box is not None  # a mask with nothing to paint was refused
    side = max(min(mask.size), box[2] - box[0], box[3] - box[1])

    def corner(low: int, high: int, size: int) -> int:
        middle = (low + high - side) // 2
        return (size - side) // 2 if side > size else min(max(0, middle), size - side)

    return Window(corner(box[0], box[2], mask.width), corner(box[1], box[3], mask.height), side)

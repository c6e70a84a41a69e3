"""Read one training picture: upright, sRGB, cropped."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError, quoted
from ..media import fit_image, read_image
from ..media.images import read_rgba


class Encoded(io.BytesIO):
    """The bytes of a picture file that is stored in another file.

    Args:
        data: the bytes.
        name: what errors call it, such as `00000.tar: 000012.jpg`.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def read_cropped(
    picture: Path | io.BytesIO, size: tuple[int, int], at: tuple[float, float] = (0.5, 0.5)
) -> NDArray[np.uint8]:
    """(*size, 3) sRGB: the middle of a picture at (height, width), upright and antialiased.

    Transparent areas become white. `at` is where it is cut: see `fit_image`.

    Raises:
        DataError: the file cannot be read as a picture, or is too large.
    """
    try:
        return np.asarray(fit_image(read_image(picture, size), size, at))
    except UsageError as error:
        raise DataError(str(error)) from None


MASK = "-masklabel"
"""What ends the stem of a mask's file beside its picture, NAME-masklabel.png, as in OneTrainer."""


def read_mask(
    picture: Path,
    kind: Literal["alpha", "file"],
    size: tuple[int, int],
    at: tuple[float, float] = (0.5, 0.5),
) -> NDArray[np.uint8]:
    """(*size,): how much each pixel counts, 255 wholly, cut as `read_cropped` cuts the picture.

    Args:
        picture: the picture itself.
        kind: its alpha channel; or the file beside it, white where it counts.
        size: (height, width).
        at: where it is cut: see `fit_image`.

    Raises:
        DataError: the mask is not there, cannot be read, or has another shape than the picture.
    """
    try:
        if kind == "alpha":
            whole = read_rgba(picture).getchannel("A")
        else:
            beside = picture.with_name(f"{picture.stem}{MASK}.png")
            if not beside.is_file():
                raise DataError(f"{quoted(picture)} has no mask beside it, {quoted(beside.name)}")
            whole, own = read_image(beside).convert("L"), read_image(picture).size
            if abs(whole.width * own[1] - whole.height * own[0]) > max(own):
                raise DataError(
                    f"mask {quoted(beside)} must have the picture's shape, {own[0]}x{own[1]}, "
                    f"got {whole.width}x{whole.height}"
                )
        return np.asarray(fit_image(whole, size, at))
    except UsageError as error:
        raise DataError(str(error)) from None


def is_mask(path: Path) -> bool:
    """Whether a file is the mask of the picture beside it."""
    return path.stem.endswith(MASK)

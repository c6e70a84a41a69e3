"""Read one training picture: upright, sRGB, cropped."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..media import fit_image, read_image


class Encoded(io.BytesIO):
    """The bytes of a picture file that is stored in another file.

    Args:
        data: the bytes.
        name: what errors call it, such as `00000.tar: 000012.jpg`.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def read_cropped(picture: Path | Encoded, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(*size, 3) sRGB: the middle of a picture at (height, width), upright and antialiased.

    Transparent areas become white.

    Raises:
        DataError: the file cannot be read as a picture, or is too large.
    """
    try:
        return np.asarray(fit_image(read_image(picture, size), size))
    except UsageError as error:
        raise DataError(str(error)) from None

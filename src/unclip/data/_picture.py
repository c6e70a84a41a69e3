"""Read one training picture: upright, sRGB, cropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..media import fit_image, read_image


def read_cropped(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(*size, 3) sRGB: the middle of a picture at (height, width), upright and antialiased.

    Transparent areas become white.

    Raises:
        DataError: the file cannot be read as a picture, or is too large.
    """
    try:
        return np.asarray(fit_image(read_image(path, size), size))
    except UsageError as error:
        raise DataError(str(error)) from None

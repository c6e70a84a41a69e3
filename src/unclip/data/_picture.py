"""Read one training picture: upright, sRGB, square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..media import read_image, square


def read_square(path: Path, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) sRGB: the central square of a picture, upright and antialiased.

    Transparent areas become white.

    Raises:
        DataError: the file cannot be read as a picture, or is too large.
    """
    try:
        return np.asarray(square(read_image(path, at_least=size), size))
    except UsageError as error:
        raise DataError(str(error)) from None

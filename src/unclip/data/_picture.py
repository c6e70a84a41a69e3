"""Reading one training picture: upright, sRGB, square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..media import read_image, square


def read_square(path: Path, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) sRGB: the middle of a picture, turned upright and antialiased.

    What is transparent becomes white.

    Raises:
        DataError: the file cannot be read as a picture, or is too large to be one.
    """
    try:
        return np.asarray(square(read_image(path, at_least=size), size))
    except UsageError as error:
        raise DataError(str(error)) from None

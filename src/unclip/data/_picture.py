"""Reading one picture file: upright, RGB, square, never larger than it is safe to decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import DataError

MAX_PIXELS = 80_000_000  # below Pillow's own alarm, so that nothing slips between the two


def read_square(path: Path, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) sRGB: the middle of a picture, turned upright and antialiased.

    What is transparent becomes white.

    Raises:
        DataError: the file cannot be read as a picture, or is too large to be one.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path} is too large: {image.width}x{image.height} pixels")
            image.draft("RGB", (2 * size, 2 * size))
            return np.asarray(_square(_rgb(ImageOps.exif_transpose(image)), size))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path} is too large: more than {MAX_PIXELS:,} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"cannot read the picture {path}: {error}") from None


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB, on white."""
    if image.mode.startswith("I"):  # 16 bits a channel, which `convert` would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    return middle.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)

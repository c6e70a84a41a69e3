"""Read input pictures and masks safely, upright and in sRGB."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UsageError, about, quoted
from ._formats import DAMAGE, ORIENTATION, Source, decode, header_of, refusing
from .notes import RECORD, notes_of

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF 2.32, 4.6.4 A: transposition that makes a stored picture upright

_WHERE_DARK = [255] * 128 + [0] * 128
_WHERE_BRIGHT = [0] * 128 + [255] * 128


def read_image(source: Source, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Any picture as upright 8-bit sRGB on white: mode "RGB", without metadata.

    An animation gives its first frame. 16-bit channels are reduced to 8 bits; values without a bit
    depth ("I", "F") are taken as 0..1, 0..255 or 0..65535, whichever fits.

    Args:
        source: see `Source`.
        at_least: (height, width) that are needed; a JPEG more than twice as large is decoded at a
            half, a quarter or an eighth of its size.

    Raises:
        UsageError: missing, not a picture in `FORMATS`, damaged, without pixels, or too large.
    """
    return _on_white(*_read(source, _name_of(source), at_least))


def read_image_and_record(source: Source) -> tuple[Image.Image, str | None]:
    """A picture as in `read_image`, and the record that `unclip` wrote in it."""
    image, notes, _ = read_image_and_notes(source)
    return image, notes.get(RECORD)


def read_image_and_notes(source: Source) -> tuple[Image.Image, dict[str, str], str]:
    """A picture as in `read_image`, what programs wrote in it (see `notes_of`), and its format."""
    name = _name_of(source)
    image = decode(source, name)
    return _on_white(*_upright_rgb(image, name)), notes_of(image), image.format or ""


def read_notes(source: Source) -> dict[str, str]:
    """What programs wrote in a picture: see `notes_of`. Raises UsageError as `read_image`."""
    picture = source if isinstance(source, Image.Image) else decode(source, _name_of(source))
    return notes_of(picture)


def read_rgba(source: Source) -> Image.Image:
    """A picture as in `read_image`, with transparency: mode "RGBA"."""
    rgb, alpha = _read(source, _name_of(source))
    return Image.merge("RGBA", (*rgb.split(), alpha or Image.new("L", rgb.size, 255)))


def read_image_and_mask(
    image: Source, mask: Source | None = None
) -> tuple[Image.Image, Image.Image]:
    """A picture to edit ("RGB") and its mask: "L", 255 where to paint and 0 elsewhere.

    If the mask has an alpha channel, transparent pixels (alpha < 128) are painted, as in the OpenAI
    Images API. Otherwise white pixels (>= 128) are, as in diffusers and most editors. A mask of the
    same aspect ratio is resized. Without a mask the alpha channel of the picture is used; the
    colours under transparent pixels are kept.

    Raises:
        UsageError: as `read_image`; no mask, another aspect ratio, or nothing to paint.
    """
    name = _name_of(image)
    rgb, alpha = _read(image, name)
    shown = _on_white(rgb, alpha)
    if mask is not None:
        called = _name_of(mask, "the mask")
        with about("mask"):
            return shown, _mask_of(*_read(mask, called), rgb.size, called)
    if alpha is None:
        raise UsageError(
            "no mask: give one that is transparent where to paint (or white, without an alpha "
            "channel) or a box, or make these areas of the picture itself transparent"
        ).about("mask")
    paint = _mask_of(rgb, alpha, rgb.size, name)
    return Image.composite(rgb, shown, paint), paint


def picture_size(source: Source) -> tuple[int, int] | None:
    """Upright (height, width) by a picture's header; None where that cannot be read."""
    try:
        with header_of(source, _name_of(source)) as image:
            width, height = upright_size(image)
    except UsageError:
        return None
    return height, width


def scale_to(image: Image.Image, length: int) -> Image.Image:
    """A picture whose longer side is `length`: averaged down, or enlarged by whole pixels."""
    longest = max(image.size)
    if longest == length:
        return image
    width, height = (max(1, round(side * length / longest)) for side in image.size)
    method = Image.Resampling.BOX if longest > length else Image.Resampling.NEAREST
    return image.resize((width, height), method)


def fit_image(
    image: Image.Image, size: tuple[int, int], at: tuple[float, float] = (0.5, 0.5)
) -> Image.Image:
    """The middle of a picture at (height, width) `size`, antialiased like the training data.

    Args:
        image: of any size and proportions.
        size: what it is cut and scaled to.
        at: where the cut is (down, across): 0 at the top and the left, 1 at the other end.

    Raises:
        UsageError: a side is below 1.
    """
    height, width = size
    if min(size) < 1:
        raise UsageError(f"a picture's side must be at least 1 pixel, got {min(size)}")
    across = min(image.width, max(1, image.height * width // height))
    down = min(image.height, max(1, image.width * height // width))
    top, left = int((image.height - down) * at[0]), int((image.width - across) * at[1])
    middle = image.crop((left, top, left + across, top + down))
    return middle.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _name_of(source: Source, otherwise: str = "the picture") -> str:
    """A path, quoted if it has unprintable characters."""
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if not isinstance(name, str | os.PathLike):
        return otherwise
    return quoted(name)


def _read(
    source: Source, name: str, at_least: tuple[int, int] | None = None
) -> tuple[Image.Image, Image.Image | None]:
    """Upright colours ("RGB") and the alpha channel ("L"), if any. Raises UsageError."""
    return _upright_rgb(decode(source, name, at_least), name)


def _upright_rgb(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """`_read` for a decoded picture."""
    with refusing(name, image.format):
        return _split(_eight_bits(_upright(image), name))


def _upright(image: Image.Image) -> Image.Image:
    """Rotated as in its EXIF data; unchanged if they are damaged."""
    turn = None
    with suppress(*DAMAGE):
        turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Modes "I;16", "I" and "F" to "L", or to "LA" if one value means transparent."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    pixels = Image.fromarray(_scaled(values, image.mode, name).astype(np.uint8))
    key = image.info.get("transparency")
    if key is not None:
        alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
        pixels = Image.merge("LA", (pixels, alpha))
    if "icc_profile" in image.info:
        pixels.info["icc_profile"] = image.info["icc_profile"]
    return pixels


def _scaled(values: NDArray[Any], mode: str, name: str) -> NDArray[Any]:
    """Values in 0..255, from 0..65535, 0..255 or (mode "F") 0..1. Raises UsageError."""
    low, high = values.min().item(), values.max().item()
    limit = 255 if mode == "F" else 65535
    if not 0 <= low <= high <= limit:  # also false for NaN
        raise UsageError(
            f"cannot read {name}: its values ({low} to {high}) are outside 0 to {limit}"
        )
    if mode == "F":
        return (values * (255 if high <= 1 else 1)).round()
    return values >> 8 if mode != "I" or high > 255 else values


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Any 8-bit mode to sRGB colours, also of transparent pixels, and alpha."""
    profile = image.info.get("icc_profile")
    gray = Image.getmodebase(image.mode) == "L" and image.mode != "P"
    space = "CMYK" if image.mode == "CMYK" else "GRAY" if gray else "RGB "
    if not image.has_transparency_data:
        return _to_srgb(image, profile, space), None
    rgba = _rgba(image)
    return _to_srgb(rgba.convert("RGB"), profile, space), rgba.getchannel("A")


def _rgba(image: Image.Image) -> Image.Image:
    """Of a mode with transparency."""
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # 16 bits, like the original pixels
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image.convert("RGBA")


def least_alpha(image: Image.Image, name: str) -> int | None:
    """The alpha of a decoded picture's most transparent pixel, 0 to 255; None without alpha."""
    with refusing(name, image.format):
        image = _eight_bits(image, name)
        if not image.has_transparency_data:
            return None
        alpha = image if "A" in image.getbands() else _rgba(image)
        least, _ = alpha.getchannel("A").getextrema()
        return int(least)  # type: ignore[arg-type]


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a decoded picture as its EXIF data turn it."""
    turn = None
    with suppress(*DAMAGE):
        turn = image.getexif().get(ORIENTATION, 1)
    return image.size if turn not in (5, 6, 7, 8) else (image.height, image.width)


def _to_srgb(image: Image.Image, profile: Any, space: str) -> Image.Image:
    """To "RGB", with the embedded ICC profile if it is valid."""
    changed = _through_profile(image, profile, space) if isinstance(profile, bytes) else None
    result = changed or image.convert("RGB")  # a copy
    result.info = {}  # otherwise a PNG saved from it would have a wrong profile
    return result


def _through_profile(image: Image.Image, profile: bytes, space: str) -> Image.Image | None:
    """From the profile's colours to sRGB; None if impossible or unnecessary."""
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != space:
            return None
        if space == "RGB " and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        mode = {"GRAY": "L", "CMYK": "CMYK"}.get(space, "RGB")
        return ImageCms.profileToProfile(
            image.convert(mode),
            source,
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
            flags=ImageCms.Flags.HIGHRESPRECALC,  # otherwise dark greys are off by several levels
        )
    except (ImportError, ImageCms.PyCMSError, *DAMAGE):
        return None


def _on_white(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _mask_of(
    rgb: Image.Image, alpha: Image.Image | None, size: tuple[int, int], name: str
) -> Image.Image:
    """The mask at `size`: 255 where to paint, 0 elsewhere. Raises UsageError."""
    mask = alpha.point(_WHERE_DARK) if alpha else rgb.convert("L").point(_WHERE_BRIGHT)
    (w, h), (mask_w, mask_h) = size, mask.size
    # aspect ratios may differ by up to a pixel: |h * mask_w / w - mask_h| < 1
    if mask.size != size and abs(w * mask_h - h * mask_w) >= max(w, h, mask_w, mask_h):
        raise UsageError(
            f"{name} is {mask_w}x{mask_h}, the picture {w}x{h}: give one of the same proportions"
        )
    mask = mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)
    if mask.getbbox() is None:
        raise UsageError(
            f"nothing to paint: {name} is opaque everywhere; make the area to paint transparent, "
            "or give a mask without an alpha channel, white on black"
            if alpha
            else f"nothing to paint: {name} is black everywhere; make the area to paint white"
        )
    return mask

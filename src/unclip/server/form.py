"""Read the parts of a form, and the pictures that a request has in it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..media import Limits, Upload, check_upload
from .errors import ApiError, invalid
from .fields import Fields

_LISTED = re.compile(r"(image|mask)(?:\[[0-9]{0,3}\])?")
"""The names of files; some clients write `image[]` also for one."""

_DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.+-]+=[\w.+-]*)*;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A part of a multipart form, whole."""

    name: str
    filename: str | None
    content_type: str
    data: bytes


Files = dict[str, list[bytes]]
"""Name -> the files of that name, as they came."""


def parts_of(parts: Iterable[Part]) -> tuple[Fields, Files]:
    """The values and the files of a form. Of a value given twice the last holds.

    Raises:
        ApiError: 400, a value is no text.
    """
    values: dict[str, str] = {}
    files: Files = {}
    for part in parts:
        if found := _LISTED.fullmatch(part.name):
            files.setdefault(found[1], []).append(part.data)
        else:
            values[part.name] = _text(part)
    return Fields(values, form=True), files


def _text(part: Part) -> str:
    try:
        text = part.data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise invalid(part.name[:100], f"'{part.name[:100]}' must be text in UTF-8.")
    return text


def files_of(body: Mapping[str, Any], limits: Mapping[str, Limits]) -> Files:
    """The pictures of a JSON edit: `images: [{"image_url": "data:…"}]`, and `mask` likewise.

    Args:
        body: JSON.
        limits: name -> what may be uploaded.

    Raises:
        ApiError: 400, it is no data: URL of base64, too long, or one of several. Nothing is ever
            fetched.
    """
    listed = body.get("images")
    images = body.get("image") if listed is None else listed
    every = images if isinstance(images, list) else [images]
    given = {"image": every, "mask": [body.get("mask")]}
    files: Files = {}
    for name, ones in given.items():
        _check_one(name, len(ones))
        files[name] = [_bytes_of(one, name, limits[name]) for one in ones if one is not None]
    return files


def _bytes_of(given: Any, name: str, limits: Limits) -> bytes:
    """Of a data: URL, alone or as an `image_url`."""
    url = given.get("image_url") if isinstance(given, dict) else given
    if isinstance(url, dict):
        url = url.get("url")
    found = _DATA_URL.match(url) if isinstance(url, str) else None
    if found is None or not isinstance(url, str):
        raise invalid(
            name,
            f"Invalid '{name}': send the picture as a data: URL, such as "
            "'data:image/png;base64,…'. Other addresses and file ids are never fetched.",
            "invalid_image_url",
        )
    if len(url) - found.end() > limits.megabytes * 2**20 * 4 // 3 + 4:
        raise invalid(name, f"Invalid '{name}': it must be less than {limits.megabytes} MB.")
    try:
        return base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise invalid(
            name, f"Invalid '{name}': its data: URL is not valid base64.", "invalid_base64"
        ) from None


def only(files: Files, name: str) -> bytes | None:
    """The file of a name. Raises ApiError where there are several."""
    every = files.get(name, [])
    _check_one(name, len(every))
    return every[0] if every else None


def _check_one(name: str, count: int) -> None:
    if count > 1:
        message = f"Invalid type for '{name}': expected a file, but got an array of {count}."
        raise invalid(name, message, "invalid_type")


def picture_of(files: Files, name: str, limits: Limits) -> Upload:
    """The picture of a name, checked. Raises ApiError."""
    data = only(files, name)
    if data is None:
        raise invalid(name, f"Missing required parameter: '{name}'.", "missing_required_parameter")
    try:
        return check_upload(data, f"the {name}", limits)
    except UsageError as error:
        raise invalid(name, f"Invalid '{name}': {error}", "invalid_image") from None


def where_to_paint(
    image: Upload, files: Files, limits: Limits, optional: bool = False
) -> bytes | None:
    """The mask of an edit: transparent (alpha 0) where to paint.

    Args:
        image: what is edited.
        files: of the request.
        limits: of a mask.
        optional: neither a mask nor transparency is needed.

    Returns:
        Its file; None: where the image is transparent, or everywhere.

    Raises:
        ApiError: 400, it is not of the image's size, or nothing is transparent.
    """
    if only(files, "mask") is None:
        if not optional:
            _check_holes(image, "image", "send a mask, or an image that is transparent there")
        return None
    mask = picture_of(files, "mask", limits)
    if mask.size != image.size:
        sizes = [f"{width}x{height}" for width, height in (mask.size, image.size)]
        raise _bad_mask(f"its size {sizes[0]} must be that of the image, {sizes[1]}")
    _check_holes(mask, "mask", "its alpha channel has to be 0 there")
    return mask.data


def is_open(image: Upload) -> bool:
    """Whether any of it is transparent, which says where to paint."""
    return image.alpha is not None and image.alpha < 128


def _check_holes(picture: Upload, name: str, advice: str) -> None:
    if not is_open(picture):
        why = "no alpha channel" if picture.alpha is None else "no transparent pixel"
        message = f"Invalid '{name}': it has {why}, so nothing says where to paint: {advice}."
        raise invalid(name, message, "invalid_image")


def _bad_mask(why: str) -> ApiError:
    return invalid("mask", f"Invalid 'mask': {why}.", "invalid_image")

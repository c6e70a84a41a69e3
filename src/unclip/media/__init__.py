"""Safe reading of input pictures, and writing of pictures and animations."""

from ._formats import FORMATS, MAX_PIXELS, SUFFIXES, Source
from .images import read_image, read_image_and_mask, read_image_and_record, read_rgba, square
from .tensors import digest, from_arrays, from_uint8, mask_tensor, to_pictures, to_tensor, to_uint8

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Source",
    "digest",
    "from_arrays",
    "from_uint8",
    "mask_tensor",
    "read_image",
    "read_image_and_mask",
    "read_image_and_record",
    "read_rgba",
    "square",
    "to_pictures",
    "to_tensor",
    "to_uint8",
]

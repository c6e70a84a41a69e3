"""Safe reading of input pictures, and writing of pictures and animations."""

from ._formats import FORMATS, MAX_PIXELS, SUFFIXES, Source, detected
from .images import (
    fit_image,
    picture_size,
    read_image,
    read_image_and_mask,
    read_image_and_notes,
    read_image_and_record,
    read_notes,
    read_rgba,
    scale_to,
)
from .tensors import digest, from_arrays, from_uint8, mask_tensor, to_pictures, to_tensor, to_uint8
from .uploads import Limits, Upload, check_upload, upload_notes
from .writing import save

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Limits",
    "Source",
    "Upload",
    "check_upload",
    "detected",
    "digest",
    "fit_image",
    "from_arrays",
    "from_uint8",
    "mask_tensor",
    "picture_size",
    "read_image",
    "read_image_and_mask",
    "read_image_and_notes",
    "read_image_and_record",
    "read_notes",
    "read_rgba",
    "save",
    "scale_to",
    "to_pictures",
    "to_tensor",
    "to_uint8",
    "upload_notes",
]

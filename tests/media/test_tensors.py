"""Pictures and tensors hold the same numbers."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from unclip.errors import UsageError
from unclip.media import (
    digest,
    from_arrays,
    from_uint8,
    mask_tensor,
    read_image,
    to_pictures,
    to_tensor,
    to_uint8,
)


def noise(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_number_goes_there_and_back() -> None:
    numbers = torch.arange(256, dtype=torch.uint8)
    there = from_uint8(numbers)
    assert there.dtype == torch.float32
    assert there[[0, 51, 255]].tolist() == pytest.approx([-1, -0.6, 1])
    assert (to_uint8(there) == numbers).all()


def test_arrays_are_laid_out_channels_last() -> None:
    """As convolutions on a CPU want them, and equal to the pictures that they show."""
    arrays = [noise(5, 4), noise(5, 4)[::-1]]
    batch = from_arrays(arrays)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    whole = to_tensor([Image.fromarray(one) for one in arrays])
    assert whole.is_contiguous()
    assert (batch == whole).all()


def test_every_value_survives_the_way_to_a_tensor_and_back() -> None:
    values = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, -1)
    values[..., 1] = values[::-1, :, 1]
    tensor = to_tensor([Image.fromarray(values)] * 2)
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.amin().item(), tensor.amax().item()) == (-1, 1)
    assert all((np.asarray(image) == values).all() for image in to_pictures(tensor))
    assert tensor[0, 0, 0, 3].item() == pytest.approx(3 / 127.5 - 1)


def test_a_tensor_s_axes() -> None:
    """The colour is the second axis, the row the third."""
    image = Image.new("RGB", (3, 2))
    image.putpixel((2, 1), (255, 0, 0))
    assert to_tensor([image]).gt(0).nonzero().tolist() == [[0, 0, 1, 2]]
    assert to_pictures(to_tensor([image]))[0].getpixel((2, 1)) == (255, 0, 0)


def test_pictures_are_clamped() -> None:
    tensor = torch.tensor([-3.0, 0.0, 3.0])[None, :, None, None]
    assert to_pictures(tensor)[0].getpixel((0, 0)) == (0, 128, 255)


def test_a_batch_has_one_size() -> None:
    with pytest.raises(UsageError, match="pictures must have the same size, got none"):
        to_tensor([])
    with pytest.raises(UsageError, match="got 2x3 and 4x3"):
        to_tensor([Image.new("RGB", size) for size in ((4, 3), (2, 3))])


def test_a_mask_s_tensor() -> None:
    gray = np.array([[0, 127, 128], [255, 1, 0]], np.uint8)
    tensor = mask_tensor(Image.fromarray(gray))
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == [[[[0, 0, 1], [1, 0, 0]]]]


def test_a_digest_is_that_of_the_pixels_and_their_layout() -> None:
    image, png = Image.fromarray(noise(4, 6)), io.BytesIO()
    image.save(png, "PNG")
    assert digest(image) == hashlib.sha256(b"4x6:" + noise(4, 6).tobytes()).hexdigest()[:12]
    assert digest(image) == digest(read_image(png.getvalue()))
    assert digest(image) != digest(Image.fromarray(noise(4, 6).reshape(4, 6, 3)))
    image.putpixel((0, 0), (1, 2, 3))
    assert digest(image) != digest(Image.fromarray(noise(4, 6)))

"""Weights made of their names, so that a fixture needs to hold names and shapes alone.

Both sides call `value`: the peer's environment to fill its networks, the tests to write the same
files. NumPy's RandomState is frozen: it draws the same numbers in every version.
"""

from __future__ import annotations

import zlib

import numpy as np


def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 numbers for the tensor of that name: small for kernels, around 1 for gains."""
    draw = np.asarray(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape))
    if len(shape) < 2:  # biases, gains: not near their initial 0 or 1, and never 0
        is_gain = "norm" in name and name.endswith("weight")
        return np.asarray(0.3 * draw + (1.0 if is_gain else 0.0), np.float32)
    fan_in = int(np.prod(shape[1:])) or 1
    return (draw * (1.2 / fan_in**0.5)).astype(np.float32)


def filled(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The same; of a very large matrix the same block again and again.

    The last layer of a U-Net gets small ones: it says the logarithm of a variance.
    """
    if "unets." in name and ".to_out." in name and name.rsplit(".", 3)[1].isdigit():
        return value(name, shape) / 16
    if int(np.prod(shape)) < 1 << 20:
        return value(name, shape)
    small = tuple(min(size, 64) for size in shape)
    times = [-(-size // part) for size, part in zip(shape, small, strict=True)]
    block = np.tile(value(name, small), times)[tuple(slice(size) for size in shape)]
    return (block * np.prod(small[1:]) ** 0.5 / np.prod(shape[1:]) ** 0.5).astype(np.float32)

"""Pictures that look the same: perceptual hashes that differ in few bits, and alike colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 64
APART = 4
"""Most bits of the hashes in which the same picture differs: recompressed, or another size."""

TONE = 8.0
"""Largest mean difference of the colours, of 255: hashes see no colour, and nothing in a plane."""

_SIDE = 8  # of the small picture whose colours are compared
_MANY = 4096  # a larger group of hashes that share a band is compared with its neighbours alone


@dataclass(frozen=True)
class Print:
    """What a picture is recognised by."""

    bits: int  # `imagehash.phash`, 64 bits
    colours: bytes  # 8 x 8 x 3


def print_of(picture: Image.Image) -> Print:
    """Of an "RGB" picture. Raises ModuleNotFoundError without the extra `data`."""
    import imagehash

    bits = imagehash.phash(picture).hash.flatten()
    small = picture.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=3.0)
    return Print(int.from_bytes(np.packbits(bits).tobytes(), "big"), small.tobytes())


def groups(prints: Sequence[Print]) -> list[list[int]]:
    """Indices of pictures that look the same, in groups of at least two; largest group first.

    Hashes that differ in `APART` bits at most are equal in one of `APART` + 1 bands: only pictures
    that share a band are compared, so a million take a minute, not a year.
    """
    if len(prints) < 2:
        return []
    hashes = np.array([one.bits for one in prints], dtype=np.uint64)
    colours = np.frombuffer(b"".join(one.colours for one in prints), np.uint8)
    colours = colours.reshape(len(prints), -1)
    leaders = list(range(len(prints)))
    for low, high in pairwise(np.linspace(0, BITS, APART + 2).astype(int).tolist()):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        for one, other in _pairs(band, hashes, colours):
            first, second = sorted((_leader(leaders, one), _leader(leaders, other)))
            leaders[second] = first
    found: dict[int, list[int]] = {}
    for index in range(len(prints)):
        found.setdefault(_leader(leaders, index), []).append(index)
    alike = [group for group in found.values() if len(group) > 1]
    return sorted(alike, key=lambda group: (-len(group), group[0]))


def _pairs(
    band: NDArray[np.uint64], hashes: NDArray[np.uint64], colours: NDArray[np.uint8]
) -> Iterator[tuple[int, int]]:
    """Neighbours of the same band that look the same."""
    order = np.lexsort((hashes, band))
    edges = np.flatnonzero(np.diff(band[order])) + 1
    for group in np.split(order, edges):
        for place, index in enumerate(group[:-1]):
            others = group[place + 1 : place + 1 + _MANY]
            near = others[np.bitwise_count(hashes[others] ^ hashes[index]) <= APART]
            tone = np.abs(colours[near].astype(np.int16) - colours[index]).mean(1)
            yield from ((int(index), int(other)) for other in near[tone <= TONE])


def _leader(leaders: list[int], index: int) -> int:
    """The first of a picture's group; paths are halved on the way (union-find)."""
    while leaders[index] != index:
        leaders[index] = leaders[leaders[index]]
        index = leaders[index]
    return index

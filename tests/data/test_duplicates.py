"""Pictures that look the same."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unclip.data import duplicates
from unclip.data.duplicates import APART, Print, groups, print_of


def drawn(seed: int, side: int = 96) -> Image.Image:
    """Soft blobs: a picture with large shapes, as photographs have."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def recompressed(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, format="jpeg", quality=50)
    return Image.open(stream).convert("RGB")


def test_a_copy_is_found_whatever_its_size_and_quality() -> None:
    pytest.importorskip("imagehash")
    pictures = [drawn(seed) for seed in range(8)]
    pictures += [recompressed(pictures[2]), pictures[2].resize((61, 61)), pictures[5].copy()]
    assert groups([print_of(one) for one in pictures]) == [[2, 8, 9], [5, 10]]


def test_planes_of_other_colours_are_no_copies() -> None:
    """Every plane has the same hash."""
    pytest.importorskip("imagehash")
    planes = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "red", "navy")]
    prints = [print_of(one) for one in planes]
    assert len({one.bits for one in prints}) == 1
    assert groups(prints) == [[0, 2]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 63), max_size=6)), max_size=9))
def test_no_pair_is_missed(changes: list[tuple[int, list[int]]]) -> None:
    """As every pair compared with every other says, and who looks like whom is passed on."""
    stems = [0x0123456789ABCDEF, 0xFEDCBA9876543210, 0, 2**64 - 1]
    hashes = [stems[stem] ^ sum(1 << bit for bit in set(bits)) for stem, bits in changes]
    near = {n: {m for m, b in enumerate(hashes) if (a ^ b).bit_count() <= APART}
            for n, a in enumerate(hashes)}  # fmt: skip
    wanted, left = [], set(range(len(hashes)))
    while left:
        group, waiting = set(), {min(left)}
        while waiting:
            group |= waiting
            waiting = set().union(*(near[one] for one in waiting)) - group
        left -= group
        wanted += [sorted(group)] if len(group) > 1 else []
    found = groups([Print(one, bytes(192)) for one in hashes])
    assert sorted(found) == sorted(wanted)
    assert [len(one) for one in found] == sorted((len(one) for one in found), reverse=True)


def test_many_equal_hashes_are_not_compared_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_MANY", 8)
    assert groups([Print(7, bytes(192))] * 500) == [list(range(500))]

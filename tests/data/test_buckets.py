"""Aspect buckets: never enlarged, one size a batch, everything as often as everything else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unclip.data import Sample
from unclip.data.buckets import Bucketed, assign, choose, framed, sizes_of
from unclip.data.folder import Folder, FolderConfig
from unclip.data.framing import FrameSettings
from unclip.errors import DataError, UsageError
from unclip.train.loader import Loader

WANTED = FrameSettings(buckets=True, bucket_step=8)


@given(st.integers(1, 16), st.integers(1, 64), st.floats(1, 4))
@settings(max_examples=50, deadline=None)
def test_no_bucket_is_larger_than_asked_for(step: int, side: int, aspect: float) -> None:
    for height, width in sizes_of((side, side), step, aspect):
        assert height % step == width % step == 0
        assert height * width <= side * side
        assert max(height, width) <= aspect * min(height, width)


def test_the_buckets_of_64_by_hand() -> None:
    found = sizes_of((64, 64), 16, 2.0)
    full = [one for one in found if math.prod(one) > 64 * 64 * 0.75]
    assert sorted(full) == [(48, 80), (64, 64), (80, 48)]


@pytest.mark.parametrize(
    ("picture", "bucket"),
    [
        ((100, 100), (64, 64)),
        ((600, 1000), (48, 80)),
        ((1000, 600), (80, 48)),
        ((63, 200), (48, 80)),  # too low for 64 x 64
        ((48, 48), (48, 48)),
        ((47, 47), (32, 32)),
        ((16, 16), (16, 16)),
        ((15, 500), None),
    ],
)
def test_a_picture_is_in_the_bucket_that_shows_most_of_it(
    picture: tuple[int, int], bucket: tuple[int, int] | None
) -> None:
    among = sizes_of((64, 64), 16, 2.0)
    best = choose(picture, among)
    assert (None if best is None else among[best]) == bucket


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=30), st.integers(1, 8)
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_enlarged_and_nothing_is_lost(
    pictures: Sequence[tuple[int, int]], group: int
) -> None:
    among = sizes_of((64, 64), 16, 2.0)
    found = assign(pictures, among, group)
    placed = sorted(number for numbers in found.values() for number in numbers)
    fits = [n for n, one in enumerate(pictures) if min(one) >= 16]
    assert placed == fits
    for (height, width), numbers in found.items():
        assert all(pictures[n][0] >= height and pictures[n][1] >= width for n in numbers)


def test_a_bucket_with_less_than_a_batch_goes_where_its_pictures_fit() -> None:
    among = [(64, 64), (48, 80), (80, 48)]
    pictures = [(100, 100)] * 9 + [(60, 100)] * 2 + [(100, 70)] * 5
    assert assign(pictures, among, 1).keys() == set(among)
    merged = assign(pictures, among, 4)
    assert merged == {(48, 80): [9, 10], (64, 64): list(range(9)), (80, 48): list(range(11, 16))}
    merged = assign([(100, 100)] * 9 + [(90, 140)] * 2, among, 4)  # which fit 64 x 64 too
    assert merged == {(64, 64): list(range(11))}


SIZES = [(20, 20)] * 6 + [(16, 30)] * 4 + [(30, 16)] * 3  # (height, width)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Every picture is of one colour, by its number; one is too small, one is damaged."""
    for number, (height, width) in enumerate([*SIZES, (3, 9)]):
        colour = (10 * number, 255 - 10 * number, 7)
        Image.new("RGB", (width, height), colour).save(tmp_path / f"{number:02}.png")
        (tmp_path / f"{number:02}.txt").write_text(f"number {number}")
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "bad.txt").write_text("bad")
    return Folder(FolderConfig(path=tmp_path, seed=5), (16, 16))


def number_of(sample: Sample) -> int:
    return int(sample["caption"].split()[1])


def test_a_batch_has_one_size_and_its_own_captions(folder: Folder) -> None:
    made = Bucketed(folder, WANTED, (16, 16), 2)
    assert {size: len(n) for size, n in made.buckets.items()} == {(16, 16): 13}
    made = Bucketed(folder, FrameSettings(buckets=True, bucket_step=4), (16, 16), 2)
    assert {size: len(n) for size, n in made.buckets.items()} == {
        (12, 20): 4, (16, 16): 6, (20, 12): 3,
    }  # fmt: skip
    assert "2 pictures are too small" in made.notes()[-1]
    assert "20×12 4, 16×16 6, 12×20 3" in made.notes()[-2]
    for batch in range(40):
        samples = [made.sample(2 * batch + n) for n in range(2)]
        shapes = {sample["image"].shape for sample in samples}
        assert len(shapes) == 1
        for sample in samples:
            colour = sample["image"][3, 3].tolist()
            assert colour == [10 * number_of(sample), 255 - 10 * number_of(sample), 7]
            height, width = SIZES[number_of(sample)]
            assert sample["image"].shape[0] <= height and sample["image"].shape[1] <= width


def test_every_picture_comes_as_often(folder: Folder) -> None:
    """13 pictures in batches of 3: after 13 batches each was seen 3 times, at any time about."""
    settings = FrameSettings(buckets=True, bucket_step=4)
    made = Bucketed(folder, settings, (16, 16), 3)
    numbers = [number_of(sample) for sample in islice(made, 3 * 13 * 4)]
    for period in range(4):
        part = numbers[39 * period : 39 * (period + 1)]
        assert Counter(part) == dict.fromkeys(range(13), 3)
    seen = Counter(numbers[: 39 * 2 + 20])
    assert max(seen.values()) - min(seen.values()) <= 3


def stacked(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    return {"image": torch.from_numpy(np.stack([sample["image"] for sample in samples]))}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_are_the_same_whoever_makes_them_and_after_a_resume(folder: Folder) -> None:
    settings = FrameSettings(buckets=True, bucket_step=4, flip=True, crop="random")

    def loader(workers: int, rank: int = 0, world: int = 1, batch: int = 4) -> Loader:
        return Loader(Bucketed(folder, settings, (16, 16), 4), stacked, batch, workers, rank, world)

    alone = loader(0)
    whole = [next(alone)["image"] for _ in range(6)]
    assert len({tuple(one.shape) for one in whole}) > 1
    busy = loader(2)
    assert all(torch.equal(next(busy)["image"], one) for one in whole[:4])
    again = loader(0)
    again.load_state_dict(busy.state_dict())
    assert all(torch.equal(next(again)["image"], one) for one in whole[4:])
    ranks = [loader(0, rank, 2) for rank in range(2)]
    dealt = [next(rank)["image"] for _ in range(3) for rank in ranks]
    assert all(map(torch.equal, dealt, whole))
    halves = loader(0, batch=2)
    first = torch.cat([next(halves)["image"], next(halves)["image"]])
    assert torch.equal(first, whole[0])
    with pytest.raises(UsageError, match=r"divisor of 4.*got 3.*ramp"):
        next(loader(0, batch=3))


def test_where_all_are_too_small_that_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (6, 6)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a")
    source = Folder(FolderConfig(path=tmp_path), (16, 16))
    with pytest.raises(DataError, match="no picture is as large"):
        framed(source, WANTED, (64, 64), step=8)
    with pytest.raises(UsageError, match="multiple of 16, as the network's sides are, got 8"):
        framed(source, WANTED, (64, 64), step=16)


def test_what_stands_in_for_a_damaged_picture_has_its_size(tmp_path: Path) -> None:
    for number, (height, width) in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
        (tmp_path / f"{number:02}.txt").write_text(f"number {number}")
    for damaged in ("02", "07", "11"):  # one of each size, whose header is sound
        file = tmp_path / f"{damaged}.png"
        file.write_bytes(file.read_bytes()[:90])
    source = Folder(FolderConfig(path=tmp_path, seed=5), (16, 16))
    made = Bucketed(source, FrameSettings(buckets=True, bucket_step=4), (16, 16), 3)
    stream = list(islice(made, 3 * 13 * 2))
    assert sum("skipped" in sample for sample in stream) >= 3 * 2 * 3
    for batch in range(0, len(stream), 3):
        assert len({sample["image"].shape for sample in stream[batch : batch + 3]}) == 1

"""Crops and mirrored pictures, of any source."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data.buckets import framed
from unclip.data.folder import Folder, FolderConfig
from unclip.data.framing import Framed, FrameSettings
from unclip.data.shapes import Shapes, ShapesConfig
from unclip.errors import UsageError

SIZE = (8, 8)


@pytest.fixture
def wide(tmp_path: Path) -> Folder:
    """Three pictures of 8 x 24: red says the column, 8 levels a pixel, and green the number."""
    for number in range(3):
        pixels = np.zeros((8, 24, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = 8 * np.arange(24), 60 * number
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"number {number}\nthe {number}\n")
    return Folder(FolderConfig(path=tmp_path, seed=3), SIZE)


def test_without_settings_nothing_is_in_between(wide: Folder) -> None:
    assert framed(wide, FrameSettings(), SIZE) is wide
    plain = Framed(wide, FrameSettings(), SIZE)
    for position in range(7):
        own, other = plain.sample(position), wide.sample(position)
        assert np.array_equal(own["image"], other["image"]) and own["caption"] == other["caption"]


def test_a_random_crop_is_a_part_of_the_picture_at_its_own_place(wide: Folder) -> None:
    made = Framed(wide, FrameSettings(crop="random"), SIZE)
    begins = []
    for position in range(60):
        sample = made.sample(position)
        image = sample["image"].astype(int)
        begin = image[0, 0, 0] // 8
        assert np.array_equal(image[..., 0], np.broadcast_to(8 * (begin + np.arange(8)), (8, 8)))
        assert sample["caption"].endswith(str(image[0, 0, 1] // 60))
        begins.append(begin)
    assert min(begins) <= 2 and max(begins) >= 14 and max(begins) <= 16
    again = Framed(wide, FrameSettings(crop="random"), SIZE)
    assert np.array_equal(again.sample(41)["image"], made.sample(41)["image"])


def test_half_of_the_samples_are_mirrored(wide: Folder) -> None:
    made = Framed(wide, FrameSettings(flip=True), SIZE)
    mirrored = 0
    for position in range(200):
        plain, seen = wide.sample(position)["image"], made.sample(position)["image"]
        turned = np.array_equal(seen, plain[:, ::-1])
        assert turned or np.array_equal(seen, plain)
        mirrored += turned
    assert 70 < mirrored < 130  # 4 standard deviations


def test_a_generated_picture_is_mirrored_too() -> None:
    shapes = Shapes(ShapesConfig(seed=1), (16, 16))
    made = framed(shapes, FrameSettings(flip=True, crop="random"), (16, 16))
    found = [
        np.array_equal(one["image"], two["image"][:, ::-1])
        for one, two in zip(islice(made, 30), islice(shapes, 30), strict=True)
    ]
    assert 5 < sum(found) < 25
    assert list(made.captions(5)) == list(shapes.captions(5))


def test_what_may_be_seen_is_listed_for_a_cache(wide: Folder) -> None:
    made = Framed(wide, FrameSettings(flip=True), SIZE)
    listed = {(item.name, frame.key) for item, frames in made.variants() for frame in frames}
    assert len(listed) == 6
    seen = {(made.stored(n).name, made.frame(n).key) for n in range(80)}
    assert seen == listed
    with pytest.raises(UsageError, match=r"data.crop.*random"):
        list(Framed(wide, FrameSettings(crop="random"), SIZE).variants())


def test_buckets_need_a_list_of_pictures() -> None:
    shapes = Shapes(ShapesConfig(), (16, 16))
    with pytest.raises(UsageError, match=r"data.buckets.*lists its pictures"):
        framed(shapes, FrameSettings(buckets=True), (16, 16))


def test_a_mask_is_cut_and_mirrored_as_its_picture(tmp_path: Path) -> None:
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[..., 0] = 8 * np.arange(24)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a-masklabel.png")
    (tmp_path / "a.txt").write_text("a")
    source = Folder(FolderConfig(path=tmp_path, mask="file"), SIZE)
    made = Framed(source, FrameSettings(crop="random", flip=True), SIZE)
    for position in range(20):
        sample = made.sample(position)
        assert np.array_equal(sample["mask"], sample["image"][..., 0])

"""Pictures as files: what a PNG carries, and what a format can hold."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip.errors import UsageError
from unclip.media.notes import notes_of
from unclip.media.writing import MAX_SHEET, MAX_SIDE, check_sides, encode, has_record_of, save


def marked(record: str) -> Image.Image:
    picture = Image.new("RGB", (4, 4), "orange")
    picture.info["unclip"] = record
    return picture


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_every_format_carries_its_record(kind: str) -> None:
    data = io.BytesIO()
    encode(marked('{"prompt": "狐狸"}'), data, kind)
    with Image.open(data) as read:
        assert read.format == kind
        assert notes_of(read) == {"unclip": '{"prompt": "狐狸"}'}


def test_the_same_picture_is_known_by_its_record(tmp_path: Path) -> None:
    one, other = marked('{"seed": 1}'), marked('{"seed": 12}')
    save(one, tmp_path / "one.png")
    assert has_record_of(tmp_path / "one.png", one)
    assert not has_record_of(tmp_path / "one.png", other)
    assert not has_record_of(tmp_path / "none.png", one)
    assert not has_record_of(tmp_path / "one.png", Image.new("RGB", (4, 4), "orange"))


@pytest.mark.parametrize("kind", MAX_SIDE)
def test_a_side_and_an_area_have_an_end(kind: str) -> None:
    most = MAX_SIDE[kind]
    if most < MAX_SHEET:
        check_sides((most, 1), kind)
    with pytest.raises(UsageError, match=rf"more than {kind} can hold, .* a side: ask for a .png"):
        check_sides((1, most + 1), kind)
    check_sides((MAX_SHEET // 16_000, 16_000), kind)
    with pytest.raises(UsageError, match=r"more than the 178 million .*: ask for another"):
        check_sides((MAX_SHEET // 16_000 + 1, 16_000), kind, "another")


@pytest.mark.parametrize("wrong", [[Image.new("RGB", (2, 2))], np.zeros((2, 2, 3), np.uint8), None])
def test_what_is_no_picture_is_not_saved(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"save takes one PIL picture, got a {type(wrong).__name__}"
    ):
        save(wrong, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["noise", "smooth", "flat"])
def test_a_png_is_lossless_and_hardly_larger_than_by_default(kind: str) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    picture = Image.new("RGB", (256, 256), "teal") if kind == "flat" else small
    if kind == "smooth":
        picture = small.resize((256, 256), Image.Resampling.LANCZOS)
    ours, default = io.BytesIO(), io.BytesIO()
    encode(picture, ours)
    picture.save(default, "PNG")
    assert np.array_equal(np.asarray(Image.open(ours)), np.asarray(picture))
    assert len(ours.getvalue()) <= 1.05 * len(default.getvalue())

"""Every picture and caption of a source is looked at."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from unclip.data import Item
from unclip.data.check import Findings, Look, examine, look
from unclip.errors import UsageError


def stored(folder: Path, name: str, size: tuple[int, int], colour: str = "red") -> Path:
    Image.new("RGB", size, colour).save(folder / name)
    return folder / name


def nobody(done: int, total: int) -> None:
    """Who does not look how far it is."""


def test_a_picture_is_measured_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    seen = look(Item("turned.jpg", tmp_path / "turned.jpg", ("a", "b")))
    assert (seen.size, seen.kind, seen.fault) == ((40, 20), "jpg", "")
    assert seen.stored_bytes == (tmp_path / "turned.jpg").stat().st_size
    data = (tmp_path / "turned.jpg").read_bytes()
    assert look(Item("00000.tar: turned.jpg", io.BytesIO(data))).size == (40, 20)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"GIF89a", "damaged"),
        (b"hello", "it is not a picture"),
        (None, "No such"),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes | None, why: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.png"
    if content is not None:
        file.write_bytes(content)
    seen = look(Item("bad.png", file, ("a",)))
    assert why in seen.fault and str(tmp_path) not in seen.fault
    assert seen.size == (0, 0)


def test_counts_of_a_small_folder_by_hand(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff")
    items = [
        Item("a.png", stored(tmp_path, "a.png", (30, 20)), ("a red car", "a  car")),
        Item("b.png", stored(tmp_path, "b.png", (100, 50), "blue"), ("красный",)),
        Item("c.png", stored(tmp_path, "c.png", (30, 20)), ("a red car",)),
        Item("bad.jpg", bad, ("never counted",)),
    ]
    steps: list[tuple[int, int]] = []
    found = examine(iter(items), 1, lambda done, total: steps.append((done, total)), 4)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    told = found.to_json(side=40)
    assert (told["pictures"], told["captions"], told["unreadable"]) == (4, 4, 1)
    assert told["unreadable_files"] == ["bad.jpg"] and found.unreadable_share == 0.25
    assert told["smaller_than_size"] == 2 and told["median_size"] == [20, 30]
    assert told["formats"] == {"png": 3, "jpg": 1}
    assert told["scripts"] == {"Latin": 3, "Cyrillic": 1}
    assert found.words == [1, 2, 3, 3] and told["median_words"] == 3
    assert found.repeated_captions == [("a red car", 2)]
    assert told["faulty_captions"] == {"not in one form (entities, white space, NFC)": 1}
    if found.hashed:
        assert [[one.name for one in group] for group in found.duplicates] == [["a.png", "c.png"]]
        assert (told["duplicate_groups"], told["duplicates"]) == (1, 1)


def test_without_a_space_letters_are_counted() -> None:
    look = Look("a", ("一只红色的狐狸", "fox", "red fox"), size=(8, 8))
    assert Findings((look,)).words == [1, 2, 7]


def test_nothing_to_check_is_said() -> None:
    with pytest.raises(UsageError, match="no pictures"):
        examine([], 1, nobody)

"""Every caption finds its picture, and what belongs to nothing is counted and named."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from unclip.data.listing import Listing, listing, pictures_in
from unclip.errors import DataError
from unclip.media import FORMATS, SUFFIXES


def fill(folder: Path, *names: str) -> Path:
    """Files that hold something; a text file its own name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return folder


def table(folder: Path, *rows: tuple[str, str]) -> Path:
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def pairs(folder: Path) -> dict[str, tuple[str, ...]]:
    return {str(path.relative_to(folder)): texts for path, texts in listing(folder).pairs}


@pytest.fixture
def case_sensitive(tmp_path: Path) -> Path:
    fill(tmp_path, "probe")
    if (tmp_path / "PROBE").exists():
        pytest.skip("this file system takes A and a as the same")
    (tmp_path / "probe").unlink()
    return tmp_path


def test_hidden_files_and_folders_are_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "a.txt", "._a.png", ".ipynb_checkpoints/a.png", "sub/.b/c.png")
    (tmp_path / "._a.txt").write_bytes(b"\0\5\x16\7\xff")  # as macOS leaves it on other disks
    (tmp_path / "._captions.csv").write_bytes(b"\0\5\x16\7\xff")
    (tmp_path / ".ipynb_checkpoints" / "a.txt").write_bytes(b"\xff")
    fill(tmp_path, "__MACOSX/._a.txt", ".DS_Store", "sub/.b/c.txt")
    assert listing(tmp_path) == Listing(((tmp_path / "a.png", ("a.txt",)),))
    assert pictures_in(tmp_path) == [tmp_path / "a.png"]


def test_a_folder_that_is_hidden_itself_is_read(tmp_path: Path) -> None:
    assert pairs(fill(tmp_path / ".data", "a.png", "a.txt")) == {"a.png": ("a.txt",)}


@pytest.mark.parametrize(
    ("picture", "text"),
    [("a.png", "A.TXT"), ("A.PNG", "a.txt"), ("a.JPG", "a.Txt"), ("Straße.png", "STRASSE.txt")],
)
def test_capitals_do_not_part_a_caption_from_its_picture(
    tmp_path: Path, picture: str, text: str
) -> None:
    assert pairs(fill(tmp_path, picture, text)) == {picture: (text,)}


def test_two_ways_to_write_an_accent(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert pairs(fill(tmp_path, f"{composed}.png", f"{apart}.txt")) == {
        f"{composed}.png": (f"{apart}.txt",)
    }
    (tmp_path / f"{apart}.txt").unlink()
    assert pairs(table(tmp_path, (f"{apart}.png", "x"))) == {f"{composed}.png": ("x",)}


def test_the_name_to_the_letter_goes_first(case_sensitive: Path) -> None:
    folder = fill(case_sensitive, "a.png", "A.png", "a.txt", "A.txt", "b.png", "B.png", "b.txt")
    found = listing(folder)
    assert {path.name: text for path, (text,) in found.pairs} == {
        "a.png": "a.txt",
        "A.png": "A.txt",
        "b.png": "b.txt",
    }
    assert found.uncaptioned == (folder / "B.png",)


def test_pictures_of_one_name_share_their_captions(tmp_path: Path) -> None:
    folder = fill(tmp_path, "a.png", "a.jpg", "a.txt")
    assert pairs(folder) == {"a.png": ("a.txt",), "a.jpg": ("a.txt",)}


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a.txt", "a.TXT"),
        ("ab.png", "Ab.txt", "aB.txt"),
        ("Ab.png", "aB.png", "ab.txt"),
    ],
)
def test_what_may_be_meant_for_two_is_refused_with_both_names(
    case_sensitive: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(DataError) as caught:
        listing(fill(case_sensitive, *names))
    assert all(str(case_sensitive / name) in str(caught.value) for name in names)


def test_a_table_s_names_may_differ_in_capitals_but_not_fit_two(case_sensitive: Path) -> None:
    folder = table(fill(case_sensitive, "a.JPG", "b.png"), ("A.jpg", "one"), ("./b.png", "two"))
    assert pairs(folder) == {"a.JPG": ("one",), "b.png": ("two",)}
    with pytest.raises(DataError, match=r"line 1: .*A\.jpg and .*a\.JPG both match .*a\.jpg"):
        listing(table(fill(folder, "A.jpg"), ("a.jpg", "one")))


def test_a_picture_by_several_names_has_all_their_captions(tmp_path: Path) -> None:
    folder = fill(tmp_path, "sub/a.png")
    rows = [("sub/a.png", "one"), ("./sub//a.png", "two"), ("sub/a.png", "one"), ("sub/a.png", "")]
    assert pairs(table(folder, *rows)) == {"sub/a.png": ("one", "two", "one")}


def test_a_table_s_missing_picture_is_named_with_its_line(tmp_path: Path) -> None:
    fill(tmp_path, "sub/a.png")
    with pytest.raises(DataError, match=r"captions\.jsonl, line 2: no picture .*/b\.png$"):
        listing(table(tmp_path, ("sub/a.png", "one"), ("b.png", "two")))
    with pytest.raises(DataError, match=r"line 1: .*use / between folders"):
        listing(table(tmp_path, ("sub\\a.png", "one")))
    with pytest.raises(DataError, match=r"line 1: .* 'a\\x00b\.png', which has a NUL byte"):
        listing(table(tmp_path, ("a\0b.png", "one")))
    with pytest.raises(DataError, match=r"line 1: .*xxx.* too long for a file name"):
        listing(table(tmp_path, ("x" * 5000, "one")))


def test_an_open_quote_does_not_swallow_rows(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "sub/b.png", "c.png")
    rows = 'file_name,text\na.png,"a fox\nsub/b.png,a dog\nc.png,"\n'
    (tmp_path / "captions.csv").write_text(rows)
    with pytest.raises(DataError, match=r"line 2: the quote .* open at 'sub/b\.png'"):
        listing(tmp_path)
    (tmp_path / "captions.csv").write_text('file_name,text\na.png,"two\nlines, of\nc.png"\n')
    assert pairs(tmp_path) == {"a.png": ("two\nlines, of\nc.png",)}


def test_two_tables_are_refused_with_both_names(tmp_path: Path) -> None:
    fill(table(tmp_path, ("a.png", "one")), "a.png", "metadata.csv", "sub/metadata.csv")
    with pytest.raises(DataError, match=r"/captions\.jsonl and .*/metadata\.csv are both tables"):
        listing(tmp_path)


def test_a_table_s_name_in_capitals(tmp_path: Path) -> None:
    (fill(tmp_path, "a.png") / "Captions.CSV").write_text("file_name,text\na.png,a fox\n")
    assert pairs(tmp_path) == {"a.png": ("a fox",)}


def test_what_belongs_to_nothing_is_counted_and_named(tmp_path: Path) -> None:
    folder = fill(tmp_path, "a.png", "a.txt", "b.png", "c.png", "c.txt", "readme.txt")
    (folder / "c.txt").write_text(" \n\n")
    found = listing(folder)
    assert found.pairs == ((folder / "a.png", ("a.txt",)),)
    assert found.uncaptioned == (folder / "b.png", folder / "c.png")
    assert found.unpictured == (folder / "readme.txt",)
    assert found.notes() == [
        f"2 pictures have no caption: {folder / 'b.png'}, {folder / 'c.png'}",
        f"1 text file has no picture: {folder / 'readme.txt'}",
    ]
    assert listing(table(folder, ("a.png", "x"), ("b.png", " "))).notes() == [
        f"2 pictures have no caption: {folder / 'b.png'}, {folder / 'c.png'}"
    ]
    assert listing(table(folder, *((f"{name}.png", "x") for name in "abc"))).notes() == []


def test_links_to_files_are_read_and_links_to_folders_are_told(tmp_path: Path) -> None:
    away = fill(tmp_path / "away", "x.png", "y.png")
    folder = fill(tmp_path / "data", "a.txt", "sub/b.txt", "sub/b.png")
    (folder / "a.png").symlink_to(away / "x.png")  # as the hub's cache keeps them
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "away").symlink_to(away)
    assert pairs(folder) == {"a.png": ("a.txt",), "sub/b.png": ("sub/b.txt",)}
    assert listing(folder).notes() == [
        f"2 folders are links, not followed: {folder / 'away'}, {folder / 'sub' / 'loop'}"
    ]


def test_pictures_that_are_not_there_are_named_before_training(tmp_path: Path) -> None:
    folder = fill(tmp_path, "a.txt")
    (folder / "a.png").touch()
    named = [f"1 picture is empty or gone: {folder / 'a.png'}"]
    assert listing(folder).notes() == named
    for target in ("gone.png", "a.png"):  # which is not there, and a link to itself
        (folder / "a.png").unlink()
        (folder / "a.png").symlink_to(target)
        assert listing(folder).notes() == named


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = fill(tmp_path, "a.png", "a.txt", "b.png")
    for name in ("b.txt", "c.png"):
        os.mkfifo(folder / name)
    assert listing(folder).uncaptioned == (folder / "b.png",)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "a.txt", "sub/b.png").joinpath("sub").chmod(0)
    with pytest.raises(DataError, match=r"cannot read .*/sub: Permission denied"):
        listing(tmp_path)


def test_names_that_cannot_be_printed_are_escaped(tmp_path: Path) -> None:
    folder = fill(tmp_path, "a.png", "a.txt", "b\n\x1b[31m.png")
    (note,) = listing(folder).notes()
    assert note == rf"1 picture has no caption: '{folder}/b\n\x1b[31m.png'"
    os.rename(folder / "b\n\x1b[31m.png", os.fsencode(folder) + b"/caf\xe9.png")
    (note,) = listing(folder).notes()
    note.encode()
    assert "caf\\udce9.png" in note


def test_every_format_that_is_read_is_looked_for(tmp_path: Path) -> None:
    names = [f"{number}{suffix}" for number, suffix in enumerate(SUFFIXES)]
    fill(tmp_path, *names, *(f"{number}.txt" for number in range(len(names))), "x.psd", "x.svg")
    assert set(pairs(tmp_path)) == set(names)
    assert {".jpe", ".jfif", ".png", ".webp", ".tiff"} <= set(SUFFIXES)
    assert len(SUFFIXES) >= len(FORMATS)


def test_where_there_are_no_pictures_it_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fill(tmp_path, "a.png")
    for name, part in {
        "nowhere": "there is no such folder",
        "a.png": "it is a file, not a folder",
        "empty": "has no pictures (looked for .png,",
    }.items():
        with pytest.raises(DataError) as caught:
            pictures_in(tmp_path / name)
        assert part in str(caught.value) and name in str(caught.value)


def test_a_text_that_cannot_be_read_costs_its_picture_alone(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.png").write_bytes(b"x")
        (tmp_path / f"{name}.txt").write_bytes(b"caf\xe9" if name != "c" else b"cafe")
    found = listing(tmp_path)
    assert [path.name for path, _ in found.pairs] == ["c.png"]
    assert [path.name for path, _ in found.unread] == ["a.png", "b.png", "d.png", "e.png"]
    assert "b.txt: line 1 is not UTF-8 (byte 0xe9)" in found.unread[1][1]
    assert not found.uncaptioned and not found.unpictured
    named = ", ".join(str(tmp_path / f"{name}.png") for name in "abd")
    assert found.notes() == [f"4 pictures have text files that cannot be read: {named} and 1 other"]
    (tmp_path / "c.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"cannot read .*a\.txt: line 1 is not UTF-8"):
        listing(tmp_path)

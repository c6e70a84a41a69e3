"""`unclip data emoji` and `unclip data inspect`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.data.webdataset import write_shard

RunCli = Callable[..., Any]

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"


def test_build_a_corpus_and_look_at_it(unclip: RunCli) -> None:
    done = unclip("data", "emoji", "--out", "corpus", "--assets", ASSETS, "--styles", "noto, flat")
    assert done.code == 0, done.err
    glyphs = int(done.out.split(": ")[1].split()[0])
    assert glyphs > 0
    done = unclip("data", "inspect", "corpus", "--size", 32, "--rows", 2, "--columns", 3)
    assert done.code == 0, done.err
    assert f"{'glyphs:':<16} {glyphs}\n" in done.out
    assert "noto" in done.out
    assert done.out.endswith("corpus-sheet.png: 6 samples of 32×32\n")
    with Image.open("corpus-sheet.png") as sheet:
        assert sheet.width > 3 * 100


def test_a_corpus_is_built_anew_but_nothing_else_is_replaced(unclip: RunCli) -> None:
    build = ("data", "emoji", "--assets", ASSETS, "--styles", "noto", "--vocabulary", "everyday")
    assert unclip(*build, "--out", "corpus").code == 0
    assert unclip(*build, "--out", "corpus").code == 0
    Path("precious").mkdir()
    Path("precious/thesis.txt").write_text("years of work")
    unclip(*build, "--out", "precious").fails(1, "precious", "--out")
    assert Path("precious/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--vocabulary", "everday"], 2, ["everday", "'everyday'"]),
        (["--styles", "noto,flatt"], 2, ["flatt", "'flat'"]),
        (["--assets", "nowhere"], 1, ["nowhere", "npm install"]),
        (["--out", "/proc/corpus"], 1, ["cannot write", "/proc/corpus"]),
    ],
)
def test_bad_builds(arguments: list[str], code: int, parts: list[str], unclip: RunCli) -> None:
    done = unclip("data", "emoji", "--out", "corpus", "--assets", ASSETS, *arguments)
    done.fails(code, *parts)
    assert not list(Path().iterdir())


def test_a_folder_of_pictures(unclip: RunCli, dataset: Path) -> None:
    done = unclip("data", "inspect", dataset, "-o", "sheet.png", "--size", 16)
    assert done.code == 0, done.err
    assert f"{'pictures:':<16} 4\n" in done.out
    assert Path("sheet.png").is_file()
    assert "without caption: 0\n" in done.out and not done.err


def test_what_training_would_not_use_is_counted_and_named(unclip: RunCli, dataset: Path) -> None:
    (dataset / "red.txt").rename(dataset / "rde.txt")
    (dataset / "._red.txt").write_bytes(b"\xff")
    done = unclip("data", "inspect", dataset, "-o", "sheet.png", "--size", 16)
    assert done.code == 0, done.err
    assert "pictures:        3\n" in done.out
    assert "without caption: 1\nwithout picture: 1\n" in done.out
    assert done.err.splitlines() == [
        f"unclip: warning: 1 picture has no caption: {dataset / 'red.png'}",
        f"unclip: warning: 1 text file has no picture: {dataset / 'rde.txt'}",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["nowhere"], 1, "nowhere"),
        (["{data}", "--size", "0"], 2, "--size must be at least 1, got 0"),
        (["{data}", "--size", "1000000"], 2, "million that are written: ask for a smaller --size"),
        (["{data}", "--rows", "1000000"], 2, "are written: ask for fewer --rows or --columns"),
        (
            ["{data}", "--rows", "80", "-o", "sheet.webp"],
            2,
            "16,383 a side: ask for a .png, for fewer",
        ),
        (["{data}", "--seed", "-1"], 2, "--seed must be at least 0, got -1"),
        (["{data}", "-o", "sheet.txt"], 2, ".txt"),
        (["{data}", "-o", "/proc/sheet.png"], 1, "cannot write /proc/sheet.png"),
    ],
)
def test_bad_inspections(
    arguments: list[str], code: int, part: str, unclip: RunCli, dataset: Path
) -> None:
    unclip("data", "inspect", *(a.format(data=dataset) for a in arguments)).fails(code, part)
    assert not list(Path().iterdir())


def test_pictures_without_captions(unclip: RunCli, dataset: Path) -> None:
    for file in dataset.glob("*.txt"):
        file.unlink()
    unclip("data", "inspect", dataset).fails(1, str(dataset), "no captions")
    assert not list(Path().iterdir())


def test_check_writes_one_page_that_needs_nothing_else(unclip: RunCli, dataset: Path) -> None:
    (dataset / "grey.txt").write_text("серый &amp; квадрат")
    done = unclip("data", "check", dataset, "-o", "look.html", "--size", 30, "--workers", 1)
    assert done.code == 0, done.err
    assert f"{'pictures:':<19} 4\n" in done.out and f"{'unreadable:':<19} 0\n" in done.out
    assert f"{'scripts:':<19} Latin 3, Cyrillic 1\n" in done.out
    page = Path("look.html").read_text()
    assert page.count('src="data:image/') == 4
    assert not re.search(r'(src|href)="?(?!data:|#)[a-z/.]+', page.replace("<style>", ""))
    assert "4 pictures have a side below 30 pixels" in page
    assert "серый &amp;amp; квадрат" in page


def test_check_names_what_cannot_be_read_and_says_so_by_its_exit_code(
    unclip: RunCli, dataset: Path
) -> None:
    (dataset / "red.png").write_bytes((dataset / "red.png").read_bytes()[:40])
    check = ("data", "check", dataset, "--workers", 1)
    unclip(*check).fails(1, "1 of 4 pictures", "more than 1% (--at-most)", "red.png: this PNG")
    assert "red.png</th><td class=text>this PNG is damaged" in Path("report.html").read_text()
    done = unclip(*check, "--at-most", 0.25)
    assert done.code == 0 and "warning: red.png cannot be read: this PNG" in done.err


def test_what_has_no_match_or_no_readable_text_is_named_everywhere(
    unclip: RunCli, dataset: Path
) -> None:
    (dataset / "red.txt").rename(dataset / "rde.txt")
    (dataset / "grey.txt").write_bytes(b"caf\xe9")
    done = unclip("data", "check", dataset, "--workers", 1, "--at-most", 0.5)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "report.html: 3 pictures checked"
    assert f"{'unused:':<19} 2\n" in done.out
    assert f"{'captions:':<19} 2 of pictures that can be read\n" in done.out
    assert "warning: grey.png cannot be read: " in done.err and "line 1 is not UTF-8" in done.err
    told = json.loads(Path("report.json").read_text())
    assert told["unused_files"] == ["red.png", "rde.txt"]
    assert told["unreadable_files"] == ["grey.png"]
    page = Path("report.html").read_text()
    assert "red.png</th><td class=text>it has no caption" in page
    assert "rde.txt</th><td class=text>it has no picture" in page
    done = unclip("data", "check", dataset, "--workers", 1)
    assert done.code == 1 and "error: 1 of 3 pictures" in done.err.splitlines()[-1]
    done = unclip("data", "prepare", dataset, "--out", "made", "--workers", 1)
    lines = Path("made/skipped.txt").read_text().splitlines()
    assert lines[0].startswith("grey.png: ") and "grey.txt: line 1 is not UTF-8" in lines[0]
    assert lines[1:] == ["red.png: it has no caption", "rde.txt: it has no picture"]


def test_check_shows_the_pictures_a_model_finds_hard(
    unclip: RunCli, dataset: Path, model: Path
) -> None:
    done = unclip(
        "data", "check", dataset, "--model", model, "--hardest", 2, "--workers", 1, "--json"
    )
    assert done.code == 0, done.err
    hard = json.loads(done.out)["hardest"]
    assert len(hard) == 2 and hard[0]["loss"] >= hard[1]["loss"] > 0
    page = Path("report.html").read_text()
    assert "Hardest pictures" in page and page.count('src="data:image/') == 4 + 2


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["check", "nowhere"], 1, ["nowhere"]),
        (["check", "photos", "-o", "report.md"], 2, ["report.md", ".html"]),
        (["check", "photos", "--at-most", "2"], 2, ["--at-most"]),
        (["prepare", "photos", "--out", "ready", "--quality", "101"], 2, ["quality", "100"]),
        (["prepare", "photos", "--out", "ready", "--picture", "tiff"], 2, ["picture", "webp"]),
        (["prepare", "photos", "--out", "/proc/ready"], 1, ["cannot write", "/proc/ready"]),
    ],
)
def test_bad_checks(arguments: list[str], code: int, parts: list[str], unclip: RunCli) -> None:
    unclip("data", *arguments).fails(code, *parts)
    assert not list(Path().iterdir())


def test_prepare_makes_shards_and_goes_on(unclip: RunCli, dataset: Path) -> None:
    (dataset / "red.png").write_bytes((dataset / "red.png").read_bytes()[:40])
    prepare = ("data", "prepare", dataset, "--out", "ready", "--size", 16, "--shard-size", 2)
    done = unclip(*prepare, "--workers", 1)
    assert done.code == 0, done.err
    assert done.out.startswith("ready: 3 samples in 2 shards, ")
    (line,) = done.err.splitlines()
    assert "1 picture was skipped: red.png: cannot read" in line and "skipped.txt" in line
    assert "(2 were there)" in unclip(*prepare, "--workers", 1).out
    unclip(*prepare[:-1], 3).fails(2, "--shard-size 2, not 3")


def test_a_broken_picture_is_named_and_another_drawn(unclip: RunCli, dataset: Path) -> None:
    (dataset / "red.png").write_bytes(b"no picture")
    done = unclip("data", "inspect", dataset, "-o", "sheet.png", "--size", 16)
    assert done.code == 0, done.err
    (line,) = done.err.splitlines()
    assert line.startswith(
        f"unclip: warning: skipped: cannot read {dataset / 'red.png'}: it is not a picture"
    )
    assert Path("sheet.png").is_file()


def test_columns_of_a_table_are_chosen(unclip: RunCli, dataset: Path) -> None:
    for file in dataset.glob("*.txt"):
        file.unlink()
    (dataset / "captions.csv").write_text("file,says\nred.png,a red square\n")
    named = ["--picture-column", "file", "--caption-column", "says"]
    done = unclip("data", "inspect", dataset, "-o", "sheet.png", "--size", 16, *named)
    assert done.code == 0, done.err
    assert "captions:        1\n" in done.out
    wrong = unclip("data", "inspect", dataset, "-o", "sheet.png", "--caption-column", "say")
    wrong.fails(1, "captions.csv, line 1", "needs one column 'file_name' and one 'say'")


def test_a_column_of_what_has_none(unclip: RunCli) -> None:
    build = ("data", "emoji", "--assets", ASSETS, "--styles", "noto", "--vocabulary", "everyday")
    assert unclip(*build, "--out", "corpus").code == 0
    done = unclip("data", "inspect", "corpus", "--caption-column", "say")
    done.fails(2, "unknown setting 'data.caption_column'", "the source 'emoji' takes: path, vocab")


def test_tars_are_counted_once(unclip: RunCli) -> None:
    for name, numbers in (("0.tar", range(3)), ("1.tar", range(3, 5))):
        write_shard(Path("tars") / name, ((f"{n}", {"txt": b"a", "png": b""}) for n in numbers))
    Path("tars/1.tar").write_bytes(Path("tars/1.tar").read_bytes()[:700])
    done = unclip("data", "index", "tars")
    assert done.code == 0, done.err
    assert done.out == f"{Path('tars/index.json')}: 4 samples in 2 tars\n"
    assert "tars/1.tar is damaged after 1 files" in done.err
    shards = json.loads(Path("tars/index.json").read_text())["shards"]
    assert [(one["file"], one["samples"]) for one in shards] == [("0.tar", 3), ("1.tar", 1)]
    unclip("data", "index", "nowhere").fails(1, "nowhere has no tars")

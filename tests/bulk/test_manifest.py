"""The list of what is drawn: whole lines alone, and what is there is known again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from unclip.bulk.manifest import NAME, Entry, Manifest
from unclip.errors import UsageError
from unclip.media import save
from unclip.record import Record

RECORD = Record("a red car", 7, {"steps": 4, "guidance_interval": [0.25, 1.0]}, model_hash="abc")
ENTRY = Entry(
    "a.png", replace(RECORD, inputs={"template": "a {red|blue} car"}), 3, {"image": "x.png"}
)


def picture(record: Record, path: Path) -> None:
    one = Image.new("RGB", (4, 4))
    one.info["unclip"] = record.to_json()
    save(one, path)


def test_an_entry_is_one_line_and_read_again(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add([ENTRY, replace(ENTRY, file="b.png")])
    lines = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    assert [line["file"] for line in lines] == ["a.png", "b.png"]
    assert (lines[0]["prompt"], lines[0]["seed"], lines[0]["row"]) == ("a red car", 7, 3)
    assert Manifest(tmp_path).seeds == {("a {red|blue} car", "x.png"): []}
    assert Entry.parse(ENTRY.to_json()) == ENTRY


def test_seeds_that_nobody_asked_for_are_kept_a_row_each(tmp_path: Path) -> None:
    manifest, plain = Manifest(tmp_path), replace(RECORD, prompt="a fox")
    for row, seed in ((1, 5), (1, 6), (2, 5), (4, 9)):  # of row 1 two pictures
        one = replace(plain, seed=seed)
        manifest.add([Entry(f"{row}-{seed}.png", one, row, any_seed=True)])
    manifest.add([Entry("asked.png", replace(plain, seed=77), 3)])
    assert manifest.seeds == Manifest(tmp_path).seeds == {("a fox", ""): [5, 9]}


def test_what_is_listed_and_there_is_done(tmp_path: Path) -> None:
    Manifest(tmp_path).add([ENTRY])
    manifest = Manifest(tmp_path)
    assert not manifest.has(ENTRY), "the file is gone"
    picture(RECORD, tmp_path / "a.png")
    assert manifest.has(ENTRY)
    same = replace(RECORD, settings={"guidance_interval": (0.25, 1.0), "steps": 4}, threads=9)
    assert manifest.has(replace(ENTRY, record=same))
    for other in (
        replace(ENTRY, record=replace(RECORD, seed=8)),
        replace(ENTRY, record=replace(RECORD, settings={"steps": 5})),
        replace(ENTRY, record=replace(RECORD, model_hash="def")),
        replace(ENTRY, sources={"image": "y.png"}),
    ):
        assert not manifest.has(other) and not manifest.finds(other)


def test_without_the_list_pictures_are_known_by_their_records(tmp_path: Path) -> None:
    picture(RECORD, tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    manifest = Manifest(tmp_path)
    assert manifest.finds(ENTRY) and not manifest.has(ENTRY)
    assert not manifest.finds(replace(ENTRY, record=replace(RECORD, prompt="a bus")))
    assert not manifest.finds(replace(ENTRY, file="b.png"))
    assert not manifest.finds(replace(ENTRY, file="c.png"))


def test_a_line_that_was_cut_off_is_dropped_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    Manifest(tmp_path).add([ENTRY])
    whole = (tmp_path / NAME).read_text()
    (tmp_path / NAME).write_text(whole + whole[:40])
    Manifest(tmp_path).add([replace(ENTRY, file="b.png")])
    files = [json.loads(line)["file"] for line in (tmp_path / NAME).read_text().splitlines()]
    assert files == ["a.png", "b.png"]
    (tmp_path / NAME).write_text(whole + "{}\n" + whole)
    with pytest.raises(UsageError, match=r"manifest.jsonl, line 2 is damaged \(it names no file\)"):
        Manifest(tmp_path)

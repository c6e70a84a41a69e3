"""`-o` with fields in its name, a grid beside its pictures, and folders of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

RunCli = Callable[..., Any]
RecordOf = Callable[[Path], dict[str, Any]]
QUICK = ["--steps", 1, "--set", "prior_steps=1", "--set", "upsampler_steps=1"]
INVERTED = ["--steps", 1, "--set", "upsampler_steps=1"]


def names(folder: str = ".") -> list[str]:
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in found)


def test_names_with_fields_never_overwrite(unclip: RunCli, model: Path, record: RecordOf) -> None:
    common = ["generate", "a fox", "--seed", 7, *QUICK, "--model", model]
    two = [*common, "-n", 2, "-o", "out/{prompt}-{seed}-{model}.png"]
    assert unclip(*two).code == 0
    assert unclip(*two, "--guidance-scale", 3).code == unclip(*two).code == 0
    plain = ["a-fox-7-tiny.png", "a-fox-8-tiny.png"]
    assert names("out") == sorted([*plain, "a-fox-7-tiny-2.png", "a-fox-8-tiny-2.png"])
    assert "guidance_scale" not in record(Path("out/a-fox-7-tiny.png"))["settings"]
    assert unclip(*common, "-n", 2, "-o", "same/{prompt}.png").code == 0
    assert names("same") == ["a-fox-2.png", "a-fox.png"]


@pytest.mark.parametrize(
    ("output", "part"),
    [("{prmpt}.png", "no field 'prmpt'"), ("{prompt}.gif", "'.gif'"), ("{prompt", "brace")],
)
def test_a_wrong_name_is_found_before_any_step(
    output: str, part: str, unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.pipeline.Chain.fold", lambda *_, **__: pytest.fail("drawn"))
    unclip("generate", "a fox", "-o", output, "--model", model).fails(2, part)
    assert names() == []


@pytest.mark.parametrize(
    ("output", "grid"),
    [
        ([], "a-fox-7-grid.png"),
        (["-o", "out/"], "out/a-fox-7-grid.png"),
        (["-o", "all.png"], "all.png"),
        (["-o", "out/{seed}.png"], "out/7-grid.png"),
    ],
)
def test_a_grid_and_its_pictures(
    output: list[str], grid: str, unclip: RunCli, model: Path, record: RecordOf
) -> None:
    done = unclip(
        "generate", "a fox", "-n", 2, "--seed", 7, "--grid", *output, *QUICK, "--model", model
    )
    assert done.code == 0, done.err
    pictures = sorted(set(names()) - {grid})
    assert len(pictures) == 2 and Path(grid).is_file()
    assert (record(Path(grid))["n"], record(Path(grid))["seed"]) == (2, 7)
    assert [record(Path(one))["seed"] for one in pictures] == [7, 8]
    if grid == "all.png":
        assert pictures == ["all-1.png", "all-2.png"]
        assert done.out.startswith("all.png and all-1.png, ...: 2 pictures, ")


def test_a_grid_where_there_is_one_file(unclip: RunCli, no_model: None) -> None:
    unclip("generate", "a fox", "--grid", "-o", "-").fails(2, "--grid", "-o -")
    unclip("interpolate", "a", "b", "--grid", "-o", "o.gif").fails(2, "--grid", "-o o.gif")


@pytest.fixture
def photos(unclip: RunCli) -> Path:
    folder = Path("photos")
    (folder / "sub").mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("b.jpg", "lime"), ("sub/a.png", "blue")):
        Image.new("RGB", (16, 16), colour).save(folder / name)
    (folder / "note.txt").write_text("no picture")
    return folder


def test_every_picture_of_a_folder_and_the_bad_one_is_named(
    unclip: RunCli, model: Path, photos: Path, record: RecordOf
) -> None:
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    common = ["vary", "photos", "--seed", 7, "-n", 2, *INVERTED, "--model", model]
    done = unclip(*common)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith("unclip: error: cannot read photos/bad.png")
    assert done.out.startswith("photos-vary: 6 pictures, in ")
    files = [f"{stem}-vary-{seed}.png" for stem in ("a", "b", "sub/a") for seed in (7, 8)]
    assert names("photos-vary") == sorted([*files, "manifest.jsonl"])
    unclip(
        "vary", "photos/sub/a.png", "--seed", 7, "-n", 2, *INVERTED, "--model", model, "-o", "x/"
    )
    assert record(Path("photos-vary/sub/a-vary-8.png")) == record(Path("x/a-vary-8.png"))
    Path("photos-vary/b-vary-8.png").unlink()
    (photos / "bad.png").unlink()
    before = Path("photos-vary/b-vary-7.png").stat().st_mtime_ns
    done = unclip(*common)
    assert done.code == 0, done.err
    assert done.out.startswith("photos-vary: 1 picture, 5 there already, in ")
    assert Path("photos-vary/b-vary-7.png").stat().st_mtime_ns == before
    assert names("photos-vary") == sorted([*files, "manifest.jsonl"])


def test_a_folder_with_a_prompt_each_and_one_inside_of_it(
    unclip: RunCli, model: Path, photos: Path
) -> None:
    Path("p.txt").write_text("a fox\na car\n")
    edits = ["edit", "photos", "--prompts", "p.txt", "--box", "0,0,8,8", "--seed", 7, *QUICK]
    done = unclip(*edits, "--model", model, "-o", "photos/out/{image}-{prompt}.png")
    assert done.code == 0, done.err
    made = ["a-a-car.png", "a-a-fox.png", "b-a-car.png", "b-a-fox.png"]
    assert names("photos/out") == sorted(
        [*made, "manifest.jsonl", "sub/a-a-car.png", "sub/a-a-fox.png"]
    )
    again = unclip(*edits, "--model", model, "-o", "photos/out/{image}-{prompt}.png")
    assert again.out.startswith("photos/out: 0 pictures, 6 there already"), "not drawn from again"
    lines = Path("photos/out/manifest.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["sources"] == {"image": "photos/a.png"}


def test_img2img_and_upscale_take_a_folder_too(unclip: RunCli, model: Path, photos: Path) -> None:
    done = unclip("img2img", "photos/", "a fox", *QUICK, "--model", model, "-o", "one/")
    assert (done.code, len(names("one"))) == (0, 4), done.err
    done = unclip("upscale", "photos/", "--steps", 1, "--model", model, "-o", "two/")
    assert (done.code, len(names("two"))) == (0, 4), done.err
    with Image.open("two/sub/" + names("two/sub")[0]) as picture:
        assert picture.size == (32, 32)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["photos", "-o", "photos"], ["photos is where the pictures come from"]),
        (["photos", "-o", "one.png"], ["-o one.png is for one request"]),
        (["empty"], ["empty has no pictures"]),
    ],
)
def test_a_folder_that_does_not_do(
    arguments: list[str], parts: list[str], unclip: RunCli, no_model: None, photos: Path
) -> None:
    Path("empty").mkdir()
    unclip("vary", *arguments).fails(2, *parts)


def test_a_mistake_in_the_settings_is_said_once(unclip: RunCli, model: Path, photos: Path) -> None:
    done = unclip("vary", "photos", "--set", "stepz=3", "--model", model)
    done.fails(2, "error: unknown setting 'stepz'", "'steps'")
    assert not Path("photos-vary").exists()

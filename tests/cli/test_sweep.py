"""`unclip sweep`: every combination, each the picture that `unclip generate` would draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip.cli._sheet import Table

RunCli = Callable[..., Any]
RecordOf = Callable[[Path], dict[str, Any]]


def pixels(file: str | Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def test_each_cell_is_what_generate_draws(unclip: RunCli, model: Path) -> None:
    axes = ["--x", "steps=2,3", "--y", "guidance_scale=1,2.5"]
    done = unclip("sweep", "a fox", *axes, "--seed", 5, "-o", "cells/", "--model", model)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("cells: 4 pictures, seed 5, 16×16, in ")
    assert len(list(Path("cells").iterdir())) == 4
    same = ["--seed", 5, "--steps", 3, "--guidance-scale", 2.5]
    unclip("generate", "a fox", *same, "-o", "one.png", "--model", model)
    cell = "cells/a-fox-sweep-5-guidance_scale=2.5-steps=3.png"
    assert np.array_equal(pixels(cell), pixels("one.png"))
    assert unclip("replay", cell, "--model", model).code == 0


def test_a_sheet_knows_its_axes(unclip: RunCli, model: Path, record: RecordOf) -> None:
    axes = ["--x", "seed=1, 2", "--y", "prior=none,prior"]
    done = unclip("sweep", "a fox", *axes, "--seed", 5, "-o", "grid.png", "--model", model)
    assert (done.code, done.err) == (0, "")
    made = record(Path("grid.png"))
    assert (made["ability"], made["seed"], made["prompt"]) == ("sweep", 5, "a fox")
    assert made["inputs"] == {"x": "seed=1, 2", "y": "prior=none,prior"}
    unclip("replay", "grid.png", "--model", model).fails(2, "`unclip sweep`", "x seed=1, 2")


def test_one_axis_is_one_row(unclip: RunCli, model: Path) -> None:
    more = ["--steps", 2, "--seed", 0, "--model", model]
    assert unclip("sweep", "a fox", "--x", "best_of=1,2", *more, "-o", "o.png").code == 0
    assert unclip("sweep", "a fox", "--x", "best_of=1,2", *more, "-o", "o/").code == 0
    names = [file.name for file in sorted(Path("o").iterdir())]
    assert names == ["a-fox-sweep-0-best_of=1.png", "a-fox-sweep-0-best_of=2.png"]
    sheet = pixels("o.png")
    assert sheet.shape[0] < 2 * sheet.shape[1]


def test_a_table_shows_every_picture_in_its_place() -> None:
    colours = ["red", "lime", "blue", "yellow", "cyan", "magenta"]
    cells = [Image.new("RGB", (120, 100), colour) for colour in colours]
    layout = Table((100, 120), ["x=1", "x=2", "x=3"], ["y=1", "y=2"])
    table = layout.make(cells)
    left, top = table.width - 3 * 124, table.height - 2 * 104
    assert left > 0
    assert top > 0
    assert table.size == layout.whole[::-1]
    for index, cell in enumerate(cells):
        row, column = divmod(index, 3)
        box = (left + 124 * column, top + 104 * row)
        assert table.crop((*box, box[0] + 120, box[1] + 100)).tobytes() == cell.tobytes()
    assert np.asarray(table.crop((0, top, left, table.height)).convert("L")).min() < 64
    assert np.asarray(table.crop((left, 0, table.width, top)).convert("L")).min() < 64


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--x", "stps=2,4"], ["stps", "'steps'"]),
        (["--x", "steps=2,0"], ["steps", "got 0"]),
        (["--x", "steps"], ["--x", "key=value", "steps"]),
        (["--x", "steps=2,,3"], ["--x", "steps=2,,3"]),
        (["--x", "steps=2", "--y", "steps=3"], ["both steps"]),
        (["--x", "n=1,2"], ["error: unknown setting 'n'", "option of its own"]),
        (["--x", "seed=1,two"], ["seed", "'two'"]),
        (["--x", "best_of=0,1"], ["best_of", "got 0"]),
        (["--x", "prior=prior,mine"], ["no prior 'mine'"]),
        (["--x", "prior=3"], ["no prior '3'"]),
        (["--x", "sampler=ddim,dimm"], ["'dimm'", "'ddim'"]),
        (["--x", "upsampler_steps=1,1001"], ["at most 1000"]),
        (["--x", "steps=1,1000000"], ["the limit is 1,000,000 steps"]),
        (["--x", "best_of=1,1000000"], ["the limit is 1,000,000 steps"]),
        (["--x", "steps=2", "--set", "prompt=x"], ["'prompt'"]),
    ],
)
def test_bad_usage(arguments: list[str], parts: list[str], unclip: RunCli, model: Path) -> None:
    unclip("sweep", "a fox", *arguments, "--model", model).fails(2, *parts)
    assert not list(Path().iterdir())


def test_a_million_cells_are_refused_without_a_list_of_them(unclip: RunCli, model: Path) -> None:
    seeds = ",".join(map(str, range(1000)))
    scales = ",".join(str(1 + one / 1000) for one in range(1000))
    axes = ["--x", f"seed={seeds}", "--y", f"guidance_scale={scales}"]
    done = unclip("sweep", "a fox", *axes, "-o", "cells/", "--model", model)
    done.fails(2, "1,000,000 pictures of 16×16 in up to 12,000,000 sampling steps", "--no-limit")
    assert not list(Path().iterdir())


def test_a_sweep_draws_nothing_where_one_cell_is_wrong(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.pipeline.Chain.fold", lambda *_, **__: pytest.fail("drawn"))
    axes = ["--x", "steps=2,3", "--y", "spacing=uniform,kerras"]
    unclip("sweep", "a fox", *axes, "--model", model).fails(2, "kerras", "'karras'")


@pytest.mark.parametrize("again", [["--steps", 4], ["--set", "steps=4"]])
def test_an_axis_and_a_setting_of_the_same_name_are_refused(
    unclip: RunCli, again: list[Any]
) -> None:
    for option, other in (("--x", "--y"), ("--y", "--x")):
        axes = [option, "steps=2,3", other, "guidance_scale=1,2"]
        unclip("sweep", "a fox", *axes, *again).fails(
            2, f"{option} steps=2,3 and steps=4 set the same: give only one of them"
        )


def test_pictures_of_several_sizes_have_room_on_the_sheet(unclip: RunCli, model: Path) -> None:
    words = ["sweep", "a fox", "--x", "steps=1,2", "--y", "size=90x24,16x40", "--seed", 1]
    done = unclip(*words, "--model", model, "-o", "sheet.png")
    assert done.code == 0, done.err
    assert unclip(*words, "--model", model, "-o", "each/").code == 0
    with Image.open("sheet.png") as sheet:
        found = np.asarray(sheet.convert("RGB"))
    for path in Path("each").glob("*.png"):
        with Image.open(path) as one:
            cell = np.asarray(one.convert("RGB"))
        height, width = cell.shape[:2]
        places = np.argwhere((found == cell[0, 0]).all(-1))
        fits = [
            (y, x) for y, x in places if (found[y : y + height, x : x + width].shape == cell.shape)
        ]
        assert any((found[y : y + height, x : x + width] == cell).all() for y, x in fits), path


def test_a_negative_prompt_is_that_of_every_picture(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    same = ["a fox", "--seed", 3, "--steps", 2, "--model", model]
    sweep = [*same, "--x", "guidance_scale=2,4"]
    assert unclip("sweep", *sweep, "--negative-prompt", "a car", "-o", "one/").code == 0
    assert unclip("sweep", *sweep, "-o", "plain/").code == 0
    (first, *_), (plain, *_) = (sorted(Path(folder).iterdir()) for folder in ("one", "plain"))
    assert record(first)["settings"]["negative_prompt"] == "a car"
    with Image.open(first) as one, Image.open(plain) as other:
        assert one.tobytes() != other.tobytes()
    twice = unclip("sweep", *same, "--x", "negative_prompt=x,y", "--negative-prompt", "a car")
    twice.fails(2, "negative_prompt=a car set the same")

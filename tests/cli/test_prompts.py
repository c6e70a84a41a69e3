"""`unclip generate --prompts`, and prompts with choices: what is drawn, skipped, refused."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip.checkpoints.native import read_manifest
from unclip.errors import UsageError
from unclip.media import save
from unclip.types import Step

RunCli = Callable[..., Any]
RecordOf = Callable[[Path], dict[str, Any]]
QUICK = ["--steps", 1, "--set", "prior_steps=1", "--set", "upsampler_steps=1"]


def names(folder: str = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def listed(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / "manifest.jsonl").read_text().splitlines()]


def pixels(file: Path) -> Any:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that a model reads to draw."""
    from unclip.pipeline import Chain

    seen: list[str] = []
    read = Chain.read_prompt

    def note(self: Chain, prompt: str, *rest: Any, **more: Any) -> Any:
        seen.append(prompt)
        return read(self, prompt, *rest, **more)

    monkeypatch.setattr(Chain, "read_prompt", note)
    return seen


def test_each_prompt_gives_what_it_gives_alone_and_is_listed(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    Path("p.txt").write_text("a fox\n\na red car\n")
    done = unclip("generate", "--prompts", "p.txt", "-n", 2, "--seed", 7, *QUICK, "--model", model)
    assert done.code == 0, done.err
    assert done.out.startswith("p-generate: 4 pictures, in ")
    files = ["a-fox-7.png", "a-fox-8.png", "a-red-car-7.png", "a-red-car-8.png"]
    assert names("p-generate") == [*files, "manifest.jsonl"]
    for prompt in ("a fox", "a red car"):
        unclip("generate", prompt, "-n", 2, "--seed", 7, *QUICK, "--model", model, "-o", "alone/")
    for file in files:
        assert record(Path("p-generate") / file) == record(Path("alone") / file)
        gap = pixels(Path("p-generate") / file) - pixels(Path("alone") / file)
        assert np.abs(gap).max() <= 1
    entries = listed("p-generate")
    assert [(one["file"], one["row"], one["prompt"], one["seed"]) for one in entries] == [
        ("a-fox-7.png", 1, "a fox", 7),
        ("a-fox-8.png", 1, "a fox", 8),
        ("a-red-car-7.png", 3, "a red car", 7),
        ("a-red-car-8.png", 3, "a red car", 8),
    ]
    assert {one["model_hash"] for one in entries} == {read_manifest(model).hash}


def test_rows_have_settings_and_names_of_their_own(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    Path("p.csv").write_text(
        "prompt,seed,n,steps,guidance_scale,negative_prompt,output\n"
        "a fox,7,2,,,,\n"
        'a red car,3,,2,1.5,"a bus, red",cars/one.png\n'
        "a fox,7,,,,,\n"
    )
    common = ["--prompts", "p.csv", *QUICK, "--seed", 1, "--model", model]
    assert unclip("generate", *common, "-o", "out/").code == 0
    assert names("out") == ["a-fox-7-2.png", "a-fox-7.png", "a-fox-8.png", "cars", "manifest.jsonl"]
    made = record(Path("out/cars/one.png"))
    assert (made["prompt"], made["seed"]) == ("a red car", 3)
    assert made["settings"]["steps"] == 2 and made["settings"]["guidance_scale"] == 1.5
    assert made["settings"]["negative_prompt"] == "a bus, red"
    assert record(Path("out/a-fox-7.png")) == record(Path("out/a-fox-7-2.png"))
    again = unclip("generate", *common, "-o", "out/")
    assert again.out.startswith("out: 0 pictures, 4 there already")


def test_rows_that_agree_share_batches(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unclip.pipeline import Chain

    sizes: list[int] = []
    sample = Chain.sample

    def note(self: Chain, cond: Any, *rest: Any, **more: Any) -> Any:
        sizes.append(len(cond))
        return sample(self, cond, *rest, **more)

    monkeypatch.setattr(Chain, "sample", note)
    rows = [{"prompt": f"a fox {n}", "guidance_scale": 1 + n % 2} for n in range(20)]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = unclip("generate", "--prompts", "p.jsonl", *QUICK, "--model", model)
    assert (done.code, sizes) == (0, [10, 10])
    assert len(listed("p-generate")) == 20


def test_what_is_there_is_skipped_and_only_the_rest_is_drawn(
    unclip: RunCli, model: Path, drawn: list[str]
) -> None:
    Path("p.txt").write_text("a fox\na red car\na bus\n")
    common = ["generate", "--prompts", "p.txt", *QUICK, "--model", model, "-o", "out/"]
    assert unclip(*common).code == 0, "of seeds that are drawn at random"
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    (lost,) = (one["file"] for one in listed("out") if one["prompt"] == "a red car")
    (Path("out") / lost).unlink()
    drawn.clear()
    Path("p.txt").write_text("a house\na fox\na red car\na bus\n")
    done = unclip(*common)
    assert done.out.startswith("out: 2 pictures, 2 there already, in ")
    assert drawn == ["a house", "a red car"]
    after = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert before.keys() < after.keys() and len(after) == 5, "the seed is that of the first time"
    Path("out/manifest.jsonl").unlink()
    fixed = [*common, "--seed", 7]
    unclip(*fixed)
    Path("out/manifest.jsonl").unlink()
    drawn.clear()
    assert unclip(*fixed).out.startswith("out: 0 pictures, 4 there already")
    assert drawn == [], "without the list, pictures are known by their records"


def test_other_settings_are_other_pictures_and_overwrite_nothing(
    unclip: RunCli, model: Path
) -> None:
    Path("p.txt").write_text("a fox\n")
    common = ["generate", "--prompts", "p.txt", "--seed", 7, *QUICK, "--model", model, "-o", "out/"]
    Path("out").mkdir()
    Path("out/a-fox-7.png").write_bytes(b"mine")
    assert unclip(*common).code == unclip(*common, "--guidance-scale", 3).code == 0
    assert names("out") == ["a-fox-7-2.png", "a-fox-7-3.png", "a-fox-7.png", "manifest.jsonl"]
    assert Path("out/a-fox-7.png").read_bytes() == b"mine"


def test_a_job_that_is_interrupted_goes_on(
    unclip: RunCli, model: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.abilities._several.BATCH", 2)
    Path("p.txt").write_text("a\nb\nc\nd\ne\n")
    common = ["generate", "--prompts", "p.txt", *QUICK, "--model", model, "-o", "out/"]
    from unclip.cli import _bulk

    whole = _bulk._Steps.on_step

    def stop(self: Any, step: Step) -> None:
        if "c" in drawn:
            raise KeyboardInterrupt
        whole(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_bulk._Steps, "on_step", stop)
        done = unclip(*common)
    assert done.code == 130
    assert "what is drawn is in out: the same command draws the rest" in done.err
    assert len(listed("out")) == 2
    drawn.clear()
    assert unclip(*common).out.startswith("out: 3 pictures, 2 there already")
    assert drawn == ["c", "d", "e"]
    assert len({one["file"] for one in listed("out")}) == 5


def test_stdin_and_the_time_that_is_left(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setattr("unclip.abilities._several.BATCH", 1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a fox\na car\na bus\n")))
    done = unclip("generate", "--prompts", "-", "--seed", 1, *QUICK, "--model", model)
    assert done.code == 0, done.err
    assert names("prompts-generate")[:3] == ["a-bus-1.png", "a-car-1.png", "a-fox-1.png"]
    lines = [line for line in done.err.splitlines() if line.startswith("unclip: pictures ")]
    assert any(line.startswith("unclip: pictures 1/3, ") and "left" in line for line in lines)
    assert lines[-1] == "unclip: pictures 3/3"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"prompt": "a fox"}\n{"prompt": "b", "n": 0}', ["p.jsonl, line 2: n must be at least 1"]),
        ('{"prompt": "a fox"}\n{"prompt": "b", "seed": "x"}', ["line 2: seed must be a whole"]),
        ('{"prompt": "a fox"}\n{"prompt": 3}', ["p.jsonl, line 2: prompt must be text, got 3"]),
        ('{"prompt": "a fox"}\n{"prompt": " "}', ["p.jsonl, line 2: the prompt is empty"]),
        ('{"prompt": "a"}\n\n{"prompt": "b", "stepz": 3}', ["line 3: ", "stepz", "'steps'"]),
        ('{"prompt": "a"}\n{"prompt": "b", "steps": 0}', ["line 2: ", "steps", "got 0"]),
        ('{"prompt": "a"}\n{"prompt": "b", "sampler": "dimm"}', ["line 2: ", "'ddim'"]),
        ('{"prompt": "a"}\n{"prompt": "b", "prior": "x"}', ["line 2: ", "no prior 'x'"]),
        ('{"prompt": "a"}\n{"prompt": "{b"}', ["line 2: the prompt '{b' has a { without a }"]),
        ('{"prompt": "a"}\n{"prompt": "__b__"}', ["line 2: ", "__b__", "--wildcards DIR"]),
        ('{"prompt": "a"}\n{"prompt": "b", "output": "../b"}', ["line 2: output is '../b', which"]),
        ('{"prompt": "a"}\n{"prompt": "b", "output": "v1.5"}', ["line 2: cannot write '.5' pic"]),
        (
            '{"prompt": "a", "output": "x"}\n{"prompt": "b", "output": "x.png"}',
            ["line 2: output 'x.png' is that of p.jsonl, line 1 too"],
        ),
    ],
)
def test_a_wrong_row_is_named_before_the_first_picture(
    content: str, parts: list[str], unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.pipeline.Chain.fold", lambda *_, **__: pytest.fail("drawn"))
    Path("p.jsonl").write_text(content)
    unclip("generate", "--prompts", "p.jsonl", "--model", model, "-o", "out/").fails(2, *parts)
    assert names() == ["p.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["missing argument 'PROMPT', or --prompts FILE (see unclip generate --help)"]),
        (["a fox", "--prompts", "p.txt"], ["PROMPT and --prompts both say what to draw"]),
        (["--prompts", "p.txt", "-o", "out.png"], ["-o out.png is for one request", "-o DIR/"]),
        (["--prompts", "p.txt", "-o", "-"], ["-o - is for one request"]),
        (["--prompts", "p.txt", "-o", "out/", "--grid"], ["--grid is for one request"]),
        (["--prompts", "none.txt"], ["cannot read prompts from none.txt: No such file"]),
        (["a __fox__"], ["asks for __fox__", "--wildcards"]),
        (["a __fox__", "--wildcards", "none/"], ["no folder of wildcards at none"]),
        (["a __fox__", "--wildcards", "."], ["no file of wildcards fox.txt"]),
        (["{a|b}" * 20, "--combinatorial"], ["more than 10,000 combinations"]),
        (["{a|b}", "-n", "1000000"], ["n must be at most 10,000 where a prompt has choices"]),
    ],
)
def test_bad_usage_is_found_before_the_model_is_loaded(
    arguments: list[str], parts: list[str], unclip: RunCli, no_model: None
) -> None:
    Path("p.txt").write_text("a fox\n")
    unclip("generate", *arguments).fails(2, *parts)
    assert names() == ["p.txt"]


def test_strict_words_are_checked_in_every_row_first(
    unclip: RunCli, lettered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.pipeline.Chain.fold", lambda *_, **__: pytest.fail("drawn"))
    Path("p.txt").write_text("a fox\na foxx\n")
    done = unclip("generate", "--prompts", "p.txt", "--strict-words", "--model", lettered)
    done.fails(2, "p.txt, line 2: ", "does not know 'foxx'")


def test_the_words_of_a_row_are_those_without_its_syntax(unclip: RunCli, lettered: Path) -> None:
    common = [*QUICK, "--seed", 7, "--model", lettered, "-o", "out/"]
    Path("p.csv").write_text("prompt,negative_prompt\na (red:1.3) car,a [fox]\na (foxx:1.3),\n")
    done = unclip("generate", "--prompts", "p.csv", *common, "--strict-words")
    done.fails(2, "p.csv, line 3: ", "does not know 'foxx'")
    Path("p.csv").write_text("prompt,negative_prompt\na (red:1.3) car,a [fox]\n")
    done = unclip("generate", "--prompts", "p.csv", *common, "--strict-words")
    assert (done.code, "does not know" in done.err) == (0, False), done.err
    Path("p.csv").write_text("prompt\na (foxx:1.3)\n")
    done = unclip("generate", "--prompts", "p.csv", *common)
    assert done.code == 0 and done.err.count("does not know 'foxx'") == 1, done.err


def test_the_limit_is_of_all_rows_together(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fold(*_: Any, **__: Any) -> Any:
        raise UsageError("it is drawn")

    monkeypatch.setattr("unclip.pipeline.Chain.fold", fold)
    Path("p.txt").write_text("a fox\n")
    common = ["generate", "--prompts", "p.txt", *QUICK, "--steps", 8, "-n", 80_000]
    common = [*common, "--model", model, "-o", "out/"]
    unclip(*common).fails(2, "it is drawn")
    Path("p.txt").write_text("a fox\na car\n")
    unclip(*common).fails(2, "this would be 160,000 pictures", "the limit is 1,000,000 steps")
    unclip(*common, "--no-limit").fails(2, "it is drawn")
    assert names() == ["p.txt"]


def test_each_seed_makes_its_choice_and_the_record_has_both(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    Path("w").mkdir()
    Path("w/animals.txt").write_text("fox\ncat\nowl\n")
    asked = ["generate", "a {red|blue} __animals__", "--wildcards", "w", *QUICK, "--model", model]
    done = unclip(*asked, "--seed", 7, "-n", 6, "-o", "six/")
    assert done.code == 0, done.err
    assert "6 pictures, seeds 7 to 12" in done.out
    made = sorted((record(path) for path in Path("six").iterdir()), key=lambda one: one["seed"])
    assert [one["seed"] for one in made] == list(range(7, 13))
    assert len({one["prompt"] for one in made}) > 2
    assert all("{" not in one["prompt"] and "__" not in one["prompt"] for one in made)
    assert {one["inputs"]["template"] for one in made} == {"a {red|blue} __animals__"}
    assert unclip(*asked, "--seed", 9, "-o", "one.png").code == 0
    assert record(Path("one.png")) == made[2], "as picture 3 of the six"
    again = unclip("replay", "one.png", "--model", model)
    assert (again.code, again.out) == (0, "one-replay.png: identical to one.png\n")


def test_all_combinations_in_a_folder_or_on_one_sheet(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    asked = ["generate", "{red|blue} {car|fox}", "--combinatorial", "--seed", 7, *QUICK]
    done = unclip(*asked, "--model", model, "-o", "all/")
    assert done.code == 0, done.err
    four = [f"{colour}-{thing}-7.png" for colour in ("blue", "red") for thing in ("car", "fox")]
    assert names("all") == sorted([*four, "manifest.jsonl"])
    assert unclip(*asked, "--model", model, "-o", "all/").out.startswith("all: 0 pictures, 4 there")
    done = unclip(*asked, "--model", model, "-o", "sheet.png")
    assert "sheet.png: 4 pictures, seed 7, 16×16" in done.out
    made = record(Path("sheet.png"))
    assert (made["prompt"], made["n"]) == ("{red|blue} {car|fox}", 4)
    unclip("replay", "sheet.png", "--model", model).fails(2, "a sheet of several prompts")
    assert pixels(Path("sheet.png")).shape[0] > 2 * 16


def test_braces_can_be_written(unclip: RunCli, model: Path, record: RecordOf) -> None:
    done = unclip("generate", r"a \{red\|blue\} car", *QUICK, "--model", model, "-o", "o.png")
    assert done.code == 0, done.err
    assert record(Path("o.png"))["prompt"] == "a {red|blue} car"
    assert unclip("replay", "o.png", "--model", model).code == 0


def test_a_mistyped_column_is_answered_with_the_nearest(unclip: RunCli, model: Path) -> None:
    for column, meant in (
        ("sed", "seed"),
        ("stepz", "steps"),
        ("negativ_prompt", "negative_prompt"),
    ):
        Path("p.csv").write_text(f"prompt,{column}\na fox,3\n")
        done = unclip("generate", "--prompts", "p.csv", "--model", model)
        done.fails(2, f"p.csv, line 2: unknown setting '{column}' (did you mean '{meant}'?)")


def test_other_negative_seeds_are_refused_wherever_they_are_read(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    said = "seed must be at least 0, got -5; --seed -1 is a random one"
    unclip("generate", "a fox", "--seed", -5).fails(2, said)
    unclip("sweep", "a fox", "--x", "seed=-5,3", "--model", model).fails(2, said)
    Path("p.csv").write_text("prompt,seed\na fox,3\na car,-5\n")
    unclip("generate", "--prompts", "p.csv", "--model", model).fails(2, f"p.csv, line 3: {said}")
    drawn = unclip("generate", "a fox", *QUICK, "--model", model, "--seed", 5, "-o", "a.png")
    assert drawn.code == 0, drawn.err
    with Image.open("a.png") as picture:
        picture.info["unclip"] = picture.info["unclip"].replace('"seed": 5', '"seed": -5')
        save(picture, "b.png")
    unclip("replay", "b.png", "--model", model).fails(2, f"b.png cannot be replayed: {said}")


@pytest.mark.parametrize("given", ["option", "row"])
def test_the_seed_minus_one_is_any(
    given: str, unclip: RunCli, model: Path, record: RecordOf
) -> None:
    if given == "option":
        asked = ["a fox", "--seed", -1, "-o", "out/"]
    else:
        Path("p.csv").write_text("prompt,seed\na fox,-1\n")
        asked = ["--prompts", "p.csv", "--seed", 3, "-o", "out/"]
    for _ in range(2 if given == "option" else 1):
        assert unclip("generate", *asked, *QUICK, "--model", model).code == 0
    seeds = {record(path)["seed"] for path in Path("out").glob("*.png")}
    assert len(seeds) == (2 if given == "option" else 1)
    assert all(seed >= 0 for seed in seeds) and 3 not in seeds

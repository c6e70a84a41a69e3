"""`unclip bulk`: from a file of prompts to pictures that a model trains on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

FEW = ["--steps", "1", "--set", "prior_steps=1", "--set", "upsampler_steps=1"]
PROMPTS = "prompt,seed,n\n{red|blue} fox,7,3\na dog,1,\nthe car,,2\n"


@pytest.fixture
def prompts(unclip: Run) -> Path:
    """Four to seven pictures, one of them of any seed."""
    Path("prompts.csv").write_text(PROMPTS)
    return Path("prompts.csv")


@pytest.mark.parametrize("layout", ["folder", "coco", "webdataset"])
def test_what_it_wrote_trains_again(layout: str, unclip: Run, prompts: Path, model: Path) -> None:
    words = ["--out", "out", "--model", model, "--format", layout, "--shard-size", 4, *FEW]
    done = unclip("bulk", prompts, *words, "--json")
    told = json.loads(done.out)
    assert (told["pictures"], told["drawn"], told["shards"]) == (6, 6, 2)
    train = "train={steps=2, batch_size=4, warmup=1, workers=0, precision='float32'}"
    recipe = [
        f"data={{source='{layout}', path='out'}}",
        f"tokenizer={{model='{model}', context=8, vocab_size=300}}",
        f"stages={{clip={{from='{model}', {train}}}}}",
    ]
    sets = [word for one in recipe for word in ("--set", one)]
    trained = unclip("train", "tiny", "--out", "run", "--device", "cpu", *sets)
    assert trained.code == 0, trained.err
    assert Path("run/model/clip").is_dir()


def test_pictures_are_those_of_everyday_use(
    unclip: Run, prompts: Path, model: Path, record: Callable[[Path], dict[str, Any]]
) -> None:
    """The same prompts, choices and seeds as `unclip generate --prompts` gives."""
    assert unclip("bulk", prompts, "--out", "out", "--model", model, *FEW).code == 0
    assert unclip("generate", "--prompts", prompts, "-o", "each/", "--model", model, *FEW).code == 0

    def known(folder: str) -> set[tuple[Any, ...]]:
        files = [record(file) for file in Path(folder).rglob("*.png")]
        return {
            (one["prompt"], one["seed"], json.dumps(one["settings"], sort_keys=True))
            for one in files
            if one["prompt"] != "the car"  # of a random seed
        }

    assert known("out") == known("each") and len(known("out")) == 4
    captions = {file.read_text().strip() for file in Path("out").rglob("*.txt")}
    assert captions == {record(file)["prompt"] for file in Path("out").rglob("*.png")}


def test_the_same_command_draws_the_rest_with_the_same_seeds(
    unclip: Run, prompts: Path, model: Path
) -> None:
    words = ["bulk", prompts, "--out", "out", "--model", model, "--shard-size", 2, *FEW]
    first = json.loads(unclip(*words, "--json").out)
    before = {file: file.read_bytes() for file in Path("out").rglob("*.png")}
    Path("out/shards/00001.json").unlink()  # as if it had been stopped there
    again = json.loads(unclip(*words, "--json").out)
    assert (first["made"], again["made"]) == (3, 1)
    assert {file: file.read_bytes() for file in Path("out").rglob("*.png")} == before
    prompts.write_text(PROMPTS + "a cat,5,1\n")
    more = json.loads(unclip(*words, "--json").out)
    assert (more["pictures"], more["made"]) == (7, 1)
    unclip(*words, "--seed", 3).fails(2, "out was begun with seed not given, and now it is 3")
    unclip(*words, "--dedupe").fails(2, "out was begun with dedupe False, and now it is True")


def test_a_dry_run_says_what_it_takes(unclip: Run, prompts: Path, model: Path) -> None:
    words = ["bulk", prompts, "--out", "out", "--model", model, "--shard-size", 4, *FEW]
    done = unclip(*words, "--dry-run")
    said = r"would write 6 pictures of 16×16 in up to (\d+) sampling steps in 2 shards, into out"
    found = re.fullmatch(said, done.out.strip())
    assert found and int(found[1]) % 6 == 0 and not Path("out").exists()
    assert unclip(*words).code == 0
    Path("out/shards/00000.json").unlink()
    assert "in 2 shards, 1 of them there, into out" in unclip(*words, "--dry-run").out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--format", "zip"], "unknown format 'zip'; known: folder, coco, webdataset"),
        (["--shard-size", "0"], "--shard-size must be at least 1, got 0"),
        (["--min-score", "20"], "--min-score must be from -1 to 1, got 20"),
        (["--judge", "emoji-cpu"], "--judge scores pictures for --min-score"),
        (["--set", "stepps=3"], "unknown setting 'stepps'"),
        (["--ray-workers", "0"], "--ray-workers must be above 0"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], text: str, unclip: Run, prompts: Path, model: Path
) -> None:
    unclip("bulk", prompts, "--out", "out", "--model", model, *words).fails(2, text)
    assert not Path("out").exists()


def test_a_wrong_row_is_named(unclip: Run, prompts: Path, model: Path) -> None:
    prompts.write_text("prompt,steps\na fox,0\n")
    done = unclip("bulk", prompts, "--out", "out", "--model", model)
    done.fails(2, "prompts.csv, line 2: ")

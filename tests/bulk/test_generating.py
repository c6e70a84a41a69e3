"""What is drawn in shards is what each request gives alone; what is dropped is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unclip import Pipeline
from unclip.abilities.generate import GenerateRequest
from unclip.bulk.formats import LAYOUTS
from unclip.bulk.generating import Asked, Generating, finish
from unclip.bulk.shards import Shards, complete, here
from unclip.data import source_at
from unclip.errors import DataError
from unclip.nn.tokenizer import Tokenizer
from unclip.record import Record
from unclip.stages import Stage
from unclip.stages.model import Model

FEW = {"steps": 1, "prior_steps": 1, "upsampler_steps": 1}


@pytest.fixture(scope="module")
def pipe(make_stage: Callable[[str], Stage], tokenizer: Tokenizer) -> Pipeline:
    names = ("clip", "prior", "decoder", "upsampler")
    return Pipeline(Model(tokenizer, {name: make_stage(name) for name in names}, "tiny", "1234"))


def asked(prompt: str, seed: int, n: int = 1) -> Asked:
    return Asked(GenerateRequest.of(prompt=prompt, seed=seed, n=n, settings=FEW))


def work_of(pipe: Pipeline, *requests: Asked, **changes: Any) -> Generating:
    return Generating(requests, lambda: pipe, "1234", **{"shard_size": 2, **changes})


def run(work: Generating, folder: Path) -> Any:
    shards = Shards(work, folder)
    complete(shards, here)
    return finish(shards, work)


def manifest(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return values


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 7))
def test_shards_hold_every_picture_of_every_request_once_and_in_order(
    counts: list[int], size: int
) -> None:
    requests = [asked("a fox", 100 * at, n) for at, n in enumerate(counts)]
    work = Generating(requests, lambda: None, "", shard_size=size)  # type: ignore[arg-type, return-value]
    parts = [work.part(number) for number in range(len(work.things))]
    assert [sum(one.request.n for one in part) for part in parts] == list(work.things)
    seeds = [one.request.seed + i for part in parts for one in part for i in range(one.request.n)]
    assert seeds == [100 * at + i for at, n in enumerate(counts) for i in range(n)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_source_reads_the_pictures_and_their_captions(
    layout: str, pipe: Pipeline, tmp_path: Path
) -> None:
    requests = [asked("a (red:1.3) car", 7, 3), asked("the fox", 1, 2)]
    found = run(work_of(pipe, *requests, layout=layout), tmp_path / "out")
    assert (found.drawn, found.kept, found.dropped) == (5, 5, {})
    drawn = [picture for one in requests for picture in pipe.run(one.request)]
    source: Any = source_at(tmp_path / "out", (16, 16))
    items = list(source.items())
    assert [one.captions for one in items] == [("a red car",)] * 3 + [("the fox",)] * 2
    for item, alone in zip(items, drawn, strict=True):
        with Image.open(item.picture) as picture:
            assert Record.of(item.picture if isinstance(item.picture, Path) else picture)
            near = np.abs(np.asarray(picture, int) - np.asarray(alone, int)).max()
        assert near <= 1, "a batch of others changes a picture by one level at most"
    assert manifest(tmp_path / "out")["complete"] is True


def files_of(folder: Path) -> dict[str, bytes]:
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_that_was_stopped_gives_the_same_bytes(
    layout: str, pipe: Pipeline, tmp_path: Path
) -> None:
    """With duplicates, the last of them in the shard that was stopped."""
    requests = [asked("a fox", 7, 2), asked("the fox", 3), asked("a fox", 7, 2)]
    work = work_of(pipe, *requests, layout=layout, dedupe=True, min_score=-1.0)
    found = run(work, tmp_path / "whole")
    assert found.dropped == {"duplicate": 2} and found.kept == 3
    shards = Shards(work, tmp_path / "stopped")

    def stops(shards: Shards, numbers: Any, tell: Any) -> None:
        here(shards, numbers[1:], tell)  # the last first, as on a cluster
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete(shards, stops)
    assert not manifest(shards.folder)["complete"]
    assert run(work, tmp_path / "stopped") == found
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")
    assert run(work, tmp_path / "stopped") == found, "and once more, with nothing to do"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_duplicates_are_gone_and_counted(layout: str, pipe: Pipeline, tmp_path: Path) -> None:
    """Of the same picture under two captions the first stays, wherever the second is."""
    requests = [asked("a fox", 7), asked("a fox", 8), asked("a (fox:1.0)", 7)]
    out = tmp_path / "out"
    found = run(work_of(pipe, *requests, layout=layout, dedupe=True), out)
    assert (found.kept, found.dropped) == (2, {"duplicate": 1})
    values = manifest(out)
    assert (values["pictures"], values["drawn"], values["dropped"]) == (2, 3, {"duplicate": 1})
    assert [shard["pictures"] for shard in values["shards"]] == [2, 0]
    source: Any = source_at(out, (16, 16))
    assert source.count == 2


def test_pictures_below_the_score_are_not_written(pipe: Pipeline, tmp_path: Path) -> None:
    """The score is the cosine of what the model's CLIP says of both, worked out here by hand."""
    import torch

    from unclip.media import to_tensor
    from unclip.rng import Rng

    requests = [asked("a fox", seed) for seed in range(4)]
    clip = pipe.model.clip("testing", "text", "vision")
    z_t = clip.sample(pipe.read(["a fox"]), Rng([0])).text_embed
    assert z_t is not None
    wanted = []
    for one in requests:
        z_i = clip.embed_images(to_tensor(pipe.run(one.request)))[0]
        wanted.append(float(z_i @ z_t[0] / (torch.linalg.norm(z_i) * torch.linalg.norm(z_t[0]))))
    least = sorted(wanted)[1] + 1e-4
    found = run(work_of(pipe, *requests, min_score=least), tmp_path / "out")
    good = [seed for seed in range(4) if wanted[seed] >= least]
    assert found.dropped == {"score": 4 - len(good)}
    names = sorted(int(file.stem) for file in (tmp_path / "out").rglob("*.png"))
    assert names == good
    shards = Shards(work_of(pipe, *requests, min_score=least), tmp_path / "out")
    noted = [entry["score"] for note in shards.notes() for entry in note["pictures"]]
    assert noted == pytest.approx(wanted, abs=0.01)


def test_nothing_left_is_an_error(pipe: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no picture of 1 is left: all have a score below 1"):
        run(work_of(pipe, asked("a fox", 7), min_score=1.0), tmp_path / "out")


def test_the_judge_may_be_another_model(
    pipe: Pipeline, make_stage: Callable[..., Stage], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    clip = make_stage("clip")
    for parameter in clip.net.vision.parameters():
        parameter.data.mul_(-0.7)
    judge = Pipeline(Model(tokenizer, {"clip": clip}, "judge", "5678"))
    scores = []
    for more in ({}, {"judge": lambda: judge, "judge_hash": "5678"}):
        folder = tmp_path / str(len(scores))
        work = work_of(pipe, asked("a fox", 7), min_score=-1.0, **more)
        run(work, folder)
        (note,) = Shards(work, folder).notes()
        scores.append(note["pictures"][0]["score"])
    assert scores[0] != scores[1]

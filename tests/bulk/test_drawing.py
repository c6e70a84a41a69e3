"""Jobs without a command: drawn, written, listed, and found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from unclip import Pipeline
from unclip.abilities.generate import GenerateRequest
from unclip.bulk.drawing import checked, draw_places
from unclip.bulk.jobs import Job
from unclip.bulk.layout import Layout
from unclip.bulk.manifest import Manifest
from unclip.bulk.places import Place, places_of
from unclip.bulk.rows import Row
from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.record import Record
from unclip.stages import Stage
from unclip.stages.model import Model

FEW = {"steps": 1, "prior_steps": 1, "upsampler_steps": 1}


@pytest.fixture(scope="module")
def pipe(make_stage: Callable[[str], Stage], tokenizer: Tokenizer) -> Pipeline:
    names = ("clip", "prior", "decoder", "upsampler")
    return Pipeline(Model(tokenizer, {name: make_stage(name) for name in names}, "tiny", "1234"))


def job(name: str, where: str = "", **asked: Any) -> Job:
    request = GenerateRequest.of(prompt=name, seed=7, settings=FEW | asked)
    return Job(request, Layout(request, name), Row({}, where))


def test_what_is_drawn_is_found_again_and_the_rest_is_drawn(pipe: Pipeline, tmp_path: Path) -> None:
    jobs = [job("fox"), job("car")]
    written: list[Sequence[Place]] = []
    for more, drawn in (([], 2), ([job("bus")], 1)):
        manifest = Manifest(tmp_path)
        places = places_of(jobs + more, ".png", manifest, pipe)
        good, faults = checked(pipe, [one for one in places if not one.is_done])
        assert faults == [] and all(one.cost is not None for one in good)
        assert draw_places(pipe, good, manifest, on_batch=written.append) == drawn
    assert [len(one) for one in written] == [2, 1], "a batch of two, then what was left"
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == ["bus-7.png", "car-7.png", "fox-7.png"]
    assert [Record.of(tmp_path / name).prompt for name in names] == ["bus", "car", "fox"]


def test_a_row_that_cannot_be_drawn_is_named_before_the_first(
    pipe: Pipeline, tmp_path: Path
) -> None:
    jobs = [job("fox"), job("car", "p.csv, line 3", sampler="none")]
    places = places_of(jobs, ".png", Manifest(tmp_path), pipe)
    with pytest.raises(UsageError, match=r"^p\.csv, line 3: unknown sampler 'none'"):
        checked(pipe, places)

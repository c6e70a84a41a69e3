"""Settings that are known to be wrong are found before anything trains, and name their stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from unclip.errors import UnclipError
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run

CPU = torch.device("cpu")


def check(tmp_path: Path, *settings: str) -> None:
    Run(load_recipe("tiny", settings), tmp_path / "run", CPU).check()


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 20), (80 * number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a red car")
    return str(folder)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["stages.prior.train.cache=true"], r"'stages\.prior\.train\.cache' needs a source that"),
        (["stages.decoder.train.cache=true"], r"'stages\.decoder\.train\.cache' needs a source"),
        (["data.buckets=true"], r"'data\.buckets' needs a source that lists its pictures"),
        (["validation.data={source='folder', paht='/x'}"], "validation.*paht"),
        (["validation.data={source='folder', path='/nowhere'}"], "no dataset folder at /nowhere"),
        (["stages.upsampler.train.freeze=['x']"], r"'stages\.upsampler\.train\.freeze': .* no 'x'"),
    ],
)
def test_it_is_told_before_anything_trains(settings: list[str], fault: str, tmp_path: Path) -> None:
    with pytest.raises(UnclipError, match=fault):
        check(tmp_path, *settings)
    assert not (tmp_path / "run").exists()


def test_a_critic_sees_whole_pictures(photos: str, tmp_path: Path) -> None:
    data = ["data.source=folder", f"data.path={photos}", "data.mask=alpha"]
    Run(load_recipe("tiny", data), tmp_path / "run", torch.device("cpu")).check()
    run = Run(load_recipe("gan", data), tmp_path / "run", torch.device("cpu"))
    with pytest.raises(UnclipError, match=r"'data\.mask' has no effect with objective 'advers"):
        run.check()


def test_pictures_cut_at_random_are_not_kept(photos: str, tmp_path: Path) -> None:
    data = ["data.source=folder", f"data.path={photos}"]
    cached = [*data, "stages.prior.train.cache=true"]
    with pytest.raises(UnclipError, match=r"'stages\.prior\.train\.cache' needs samples that come"):
        check(tmp_path, *cached, "data.crop=random")
    check(tmp_path, *cached)
    clip_alone = [*data, "data.crop=random", "stages.clip.train.cache=true"]
    check(tmp_path, *clip_alone)  # it has no frozen network: nothing is kept


def test_a_fault_is_of_the_stages_name_not_its_kind(tmp_path: Path) -> None:
    """A second decoder, of another name."""
    student: dict[str, Any] = {"objective": {"kind": "consistency", "teacher": "clip"}}
    student["sampling"] = {"guidance_scale": 1.0}
    for more, fault in (
        ({"train": {"freeze": ["x"]}}, r"'stages\.second\.train\.freeze'"),
        ({"train": {"cache": True}}, r"'stages\.second\.train\.cache'"),
        (student, r"'stages\.second\.objective': only a stage that diffuses"),
    ):
        values = load_recipe("tiny").dump()
        stages = values["stages"]
        second = {**stages["decoder"], "kind": "decoder", **more}
        values["stages"] = {"clip": stages["clip"], "second": second}
        run = Run(Recipe.parse(values), tmp_path / "run", CPU)
        with pytest.raises(UnclipError, match=fault):
            run.check()

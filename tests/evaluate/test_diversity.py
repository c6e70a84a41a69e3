"""Diversity of pictures whose spread is known, and its part of a report."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unclip.diffusion.few_steps import ConsistencyObjective
from unclip.emoji.options import EmojiSizes
from unclip.errors import UsageError
from unclip.evaluate import diversity, run
from unclip.evaluate.benchmark import Request
from unclip.facade import Pipeline
from unclip.pages.intervals import bootstrap
from unclip.pages.render import html, write_markdown
from unclip.pages.report import Report, Table
from unclip.stages.sampling import Sampling

SIZES = EmojiSizes(pictures=12, prompts=3, seeds=4, reference_steps=6, settings=("steps=2",))
SPREAD = {None: 0.2, 2: 0.05, 6: 0.4}
"""What the stand-in below adds to a picture, by steps."""


@pytest.fixture
def request_(corpus: Path, wee_features: Path) -> Request:
    return Request(corpus, sizes=SIZES, anyway=True, features=wee_features, only=("diversity",))


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A pipeline that draws noise of a known deviation, which depends on the steps alone."""
    calls: list[tuple[Any, ...]] = []

    def sample(self: Pipeline, cond: Any, seeds: Sequence[int], **given: Any) -> Tensor:
        settings = dict(given["settings"])
        calls.append((tuple(seeds), settings, self.model.decoders[0]))
        steps = settings.get("steps", settings.get("decoder_steps"))
        drawn = []
        for seed in seeds:
            rng = torch.Generator().manual_seed(seed)
            drawn.append(SPREAD[steps] * torch.randn(3, 16, 16, generator=rng))
        return torch.stack(drawn)

    monkeypatch.setattr(Pipeline, "sample", sample)
    return calls


def c4(count: int) -> float:
    """The mean of the sample deviation of so many Gaussian numbers, over theirs."""
    gammas = math.lgamma(count / 2) - math.lgamma((count - 1) / 2)
    return math.sqrt(2 / (count - 1)) * math.exp(gammas)


def test_one_picture_from_every_seed_has_no_spread() -> None:
    same = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16).expand(5, -1, -1, -1)
    assert diversity.pixel_deviation(same) == 0
    assert diversity.pairwise_distance(same.flatten(1)) == 0


@pytest.mark.parametrize("count", [2, 8])
def test_noise_has_its_own_deviation_whatever_it_lies_upon(count: int) -> None:
    rng = torch.Generator().manual_seed(0)
    noise = 0.25 * torch.randn(count, 3, 200, 200, dtype=torch.float64, generator=rng)
    picture = torch.rand(3, 200, 200, dtype=torch.float64, generator=rng)
    want = c4(count) * 0.25
    assert diversity.pixel_deviation(picture + noise) == pytest.approx(want, rel=0.01)
    assert c4(8) == pytest.approx(0.9650, abs=5e-5)  # as tables of control charts have it


def test_the_distance_is_the_mean_over_pairs() -> None:
    """A triangle of 3, 4 and 5."""
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    assert diversity.pairwise_distance(corners) == pytest.approx(4)
    assert diversity.pairwise_distance(2 * corners + 7) == pytest.approx(8)


def test_a_ratio_is_of_each_prompt() -> None:
    found = diversity.ratio([1, 3, 2, 5], [2, 4, 4, 0], 0)
    assert found is not None
    assert found["mean"] == pytest.approx((0.5 + 0.75 + 0.5) / 3) and found["least"] == 0.5
    assert 0.5 <= found["low"] < found["mean"] < found["high"] <= 0.75
    assert diversity.ratio([1, 2], [0, 0], 0) is None
    assert diversity.ratio_of_means([1, 2], [0, 0], 0) is None
    over = diversity.ratio_of_means([1, 3], [1, 1, 1], 0)
    assert over is not None and (over["mean"], over["low"], over["high"]) == (2, 1, 3)


def test_the_bootstrap_has_the_interval_of_the_mean_and_of_a_ratio() -> None:
    """Close to the normal one, which is right for so many values."""
    rng = np.random.default_rng(1)
    a, b = 5 + rng.standard_normal(400), 2 + rng.standard_normal(300)
    low, high = bootstrap(lambda x: x.mean(-1), a)
    half = 1.96 * a.std() / 20
    assert (low, high) == pytest.approx((a.mean() - half, a.mean() + half), abs=0.1 * half)
    low, high = bootstrap(lambda x, y: x.mean(-1) / y.mean(-1), a, b)
    parts = (a.std() / 20 / a.mean(), b.std() / 300**0.5 / b.mean())
    half = 1.96 * math.hypot(*parts) * a.mean() / b.mean()  # to first order
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert bootstrap(lambda x: x.mean(-1), a) == bootstrap(lambda x: x.mean(-1), a)
    assert bootstrap(lambda x: x.mean(-1), a, seed=1) != bootstrap(lambda x: x.mean(-1), a)


def test_the_report_finds_what_more_and_fewer_steps_do(
    pipe: Pipeline, request_: Request, noisy: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    report = run.evaluate(pipe, request_, tmp_path / "work")
    values = report.values["diversity"]
    assert values["reference"] == "6 steps" and values["seeds"] == 4
    assert len(values["captions"]) == len(set(values["captions"])) == 3
    runs = values["runs"]
    assert list(runs) == ["as it comes", "steps=2", "6 steps"]
    want = {"as it comes": 0.2, "steps=2": 0.05, "6 steps": 0.4}
    for title, spread in want.items():
        one = runs[title]
        assert one["pixels"]["mean"] == pytest.approx(c4(4) * spread, rel=0.06)
        assert one["pixels"]["ratio"]["mean"] == pytest.approx(spread / 0.4, rel=0.06)
        assert one["energy"]["ratio"]["mean"] == pytest.approx((spread / 0.4) ** 2, rel=0.1)
        # luma of three independent colours
        weights = 0.299**2 + 0.587**2 + 0.114**2
        assert one["energy"]["mean"] == pytest.approx(20 * weights * spread**2, rel=0.15)
    first, second = runs["as it comes"], runs["steps=2"]
    for name in ("classifier", "clip"):
        assert second[name]["ratio"]["mean"] < first[name]["ratio"]["mean"] < 1
        assert second[name]["ratio"]["least"] <= second[name]["ratio"]["mean"]
    real = values["real"]["energy"]
    assert first["energy"]["real"]["mean"] == pytest.approx(first["energy"]["mean"] / real)
    # each prompt from the same seeds with all settings, and from others than the next prompt
    by_settings: dict[str, list[int]] = {}
    for seeds, settings, _ in noisy:
        by_settings.setdefault(json.dumps(settings), []).extend(seeds)
    assert list(by_settings.values()) == [list(range(12))] * 3


def test_the_page_shows_it(
    pipe: Pipeline, request_: Request, noisy: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    report = run.evaluate(pipe, request_, tmp_path / "work")
    (section,) = report.sections
    spread, grid, sharp = section.parts
    assert isinstance(spread, Table) and isinstance(sharp, Table)
    assert [line[0].text for line in spread.rows] == ["as it comes", "steps=2", "6 steps"]
    assert [line[2].text[:4] for line in spread.rows][1:] == ["0.12", "1"]
    assert spread.head[1:4] == ("pixel deviation", "of 6 steps", "least prompt")
    assert sharp.rows[-1][0].text == "real pictures" and sharp.rows[-1][2].text == "1"
    titles = dict(report.headline)
    assert titles["diversity over 4 seeds"].note.endswith("of 6 steps")
    assert titles["sharpness"].note.endswith("of real pictures")
    assert "What seeds change" in html(report)
    write_markdown(report, tmp_path / "report.md")
    assert "| as it comes |" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report" / "diversity-1.webp").is_file()
    assert len(grid.pictures) == 3 * 2 * 4  # prompts, the two runs, seeds


def test_what_is_drawn_is_kept(
    pipe: Pipeline, request_: Request, noisy: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    first = run.evaluate(pipe, request_, tmp_path / "work")
    count = len(noisy)
    again = run.evaluate(pipe, request_, tmp_path / "work")
    assert again.values == first.values and len(noisy) == count


def test_a_model_of_as_many_steps_has_no_reference(
    pipe: Pipeline, request_: Request, tmp_path: Path
) -> None:
    """The wee model takes three itself; real pictures are there all the same."""
    sizes = SIZES.model_copy(update={"reference_steps": 3, "settings": (), "prompts": 2})
    report = run.evaluate(pipe, replace(request_, sizes=sizes), tmp_path / "work")
    runs = report.values["diversity"]["runs"]
    assert list(runs) == ["as it comes"] and runs["as it comes"]["pixels"]["ratio"] is None
    assert runs["as it comes"]["energy"]["real"]["mean"] > 0
    assert "reference_steps" in dict(report.left_out)["diversity over that of more steps"]
    assert isinstance(report, Report) and "–" in html(report)


def test_settings_that_the_model_cannot_follow_are_refused_before_the_work(
    pipe: Pipeline, request_: Request, tmp_path: Path
) -> None:
    for text, message in (
        ("stepps=3", "unknown setting 'stepps'"),
        ("sampler=dddim", "unknown sampler 'dddim'"),
        ("steps 3", "settings are 'NAME=VALUE; NAME=VALUE', got 'steps 3'"),
    ):
        sizes = SIZES.model_copy(update={"settings": (text,)})
        with pytest.raises(UsageError, match=message):
            run.evaluate(pipe, replace(request_, sizes=sizes), tmp_path / "work")
    assert not (tmp_path / "work").exists()
    found = diversity.parse_settings("steps=15; guidance_interval=[0, 0.9];sampler=ddpm")
    assert found == {"steps": 15, "guidance_interval": [0, 0.9], "sampler": "ddpm"}


def test_ones_own_pictures_and_no_extractor_are_enough(
    pipe: Pipeline, request_: Request, tmp_path: Path
) -> None:
    """By the model's own CLIP: of a folder, and of a corpus for which nothing was trained."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (16, 16), (number * 30, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number % 3}\n")
    sizes = SIZES.model_copy(update={"settings": ()})
    for data in (folder, request_.data):
        asked = replace(request_, data=data, sizes=sizes, features=tmp_path / "none")
        report = run.evaluate(pipe, asked, tmp_path / "work")
        one = report.values["diversity"]["runs"]["as it comes"]
        assert one["own-clip"]["ratio"]["mean"] > 0 and list(report.values["eyes"]) == ["own-clip"]
    flat = run.evaluate(pipe, replace(request_, data=folder, sizes=sizes), tmp_path / "work")
    assert flat.values["diversity"]["real"]["energy"] == 0  # pictures of one colour each
    with pytest.raises(UsageError, match="no feature extractor 'classifier'"):
        asked = replace(request_, only=("diversity", "memorisation"), features=tmp_path / "none")
        run.evaluate(pipe, asked, tmp_path / "work")


def test_a_student_is_compared_with_its_teacher(
    pipe: Pipeline, request_: Request, noisy: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    teacher: Any = pipe.stages["decoder"]
    student = copy.copy(teacher)
    few = {"objective": ConsistencyObjective(), "sampling": Sampling(steps=2)}
    student.config = teacher.config.model_copy(update=few)
    stages = {**pipe.stages, "student": student}
    both = Pipeline(replace(pipe.model, stages=stages, decoder="student"))
    report = run.evaluate(both, request_, tmp_path / "work")
    assert report.values["diversity"]["reference"] == "6 steps"
    drew = {json.dumps(settings): decoder for _, settings, decoder in noisy}
    assert drew == {"{}": "student", '{"steps": 2}': "student", '{"decoder_steps": 6}': "decoder"}
    assert ("decoder", "student") in report.facts

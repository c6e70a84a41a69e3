"""Pictures of another size than a model draws: what it draws in the middle, windows around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip import Pipeline
from unclip.abilities.generate import GenerateRequest
from unclip.cost import Cost, Policy
from unclip.errors import SettingWarning, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.record import Record
from unclip.stages import Stage
from unclip.stages.model import Model
from unclip.types import Step

WORDS = "a fox"
FEW = {"steps": 2, "prior_steps": 2, "upsampler_steps": 2}


@pytest.fixture(scope="module")
def pipe(make_stage: Callable[..., Stage], tokenizer: Tokenizer) -> Pipeline:
    """Draws 16 x 16 alone."""
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder", "upsampler")}
    return Pipeline(Model(tokenizer, stages, "it"))


def only(pipe: Pipeline, **asked: Any) -> Image.Image:
    (picture,) = pipe.generate(WORDS, **FEW, **asked)
    return picture


@pytest.mark.parametrize(
    ("asked", "size"),
    [({"size": "32x16"}, (32, 16)), ({"size": "17x23"}, (17, 23)), ({"aspect": "16:9"}, (28, 16))],
)
def test_the_middle_is_what_the_model_draws_and_the_rest_is_painted(
    asked: dict[str, str], size: tuple[int, int], pipe: Pipeline
) -> None:
    usual, picture = only(pipe, seed=3), only(pipe, seed=3, **asked)
    assert picture.size == size
    left, top = (size[0] - 16) // 2, (size[1] - 16) // 2
    assert picture.crop((left, top, left + 16, top + 16)).tobytes() == usual.tobytes()
    outside = np.ones((size[1], size[0]), dtype=bool)
    outside[top : top + 16, left : left + 16] = False
    assert (np.asarray(picture) == 127).all(-1)[outside].mean() < 0.2, "left as the canvas was"
    assert Record.of(picture).settings == {**FEW, **asked}
    (again,) = pipe.run(GenerateRequest.of_record(Record.of(picture)))
    assert again.tobytes() == picture.tobytes()


def test_a_smaller_picture_is_resampled_and_that_is_said(pipe: Pipeline) -> None:
    said = r"^size 8x8 is drawn as 16x16 and resampled: model 'it' draws 16x16 alone$"
    with pytest.warns(SettingWarning, match=said):
        small = only(pipe, size="8x8")
    assert small.tobytes() == only(pipe).resize((8, 8), Image.Resampling.LANCZOS).tobytes()
    with pytest.warns(SettingWarning, match=r"^size 10x4 is drawn as 40x16 and resampled"):
        flat = only(pipe, size="10x4")
    whole = only(pipe, size="40x16")
    assert flat.tobytes() == whole.resize((10, 4), Image.Resampling.LANCZOS).tobytes()


def test_the_cost_is_that_of_every_step(pipe: Pipeline) -> None:
    costs: list[Cost] = []
    watched, taken = Pipeline(pipe.model, policy=Policy(on_cost=costs.append)), [0]

    def count(step: Step) -> None:
        taken[0] += len(step.x0)

    for asked in ({}, {"size": "32x16"}, {"size": "32x16", "n": 2}, {"aspect": "1:3"}):
        taken[0] = 0
        pictures = watched.generate(WORDS, on_step=count, **FEW, **asked)  # type: ignore[arg-type]
        cost = costs.pop()
        assert (cost.total, cost.pictures) == (taken[0], len(pictures))
        assert cost.size == pictures[0].size[::-1]
    watched.generate(WORDS, size="32x16", best_of=3, **FEW)
    watched.generate(WORDS, best_of=3, **FEW)
    watched.generate(WORDS, size="32x16", **FEW)
    watched.generate(WORDS, **FEW)
    best, alone, wide, one = (cost.total for cost in costs)
    assert best - alone == wide - one, "the best is chosen before the windows"


def test_each_of_several_is_the_one_that_its_seed_gives(pipe: Pipeline) -> None:
    many = pipe.generate([WORDS, "two apples"], n=2, seed=4, size="24x16", **FEW)
    for index, prompt in enumerate((WORDS, WORDS, "two apples", "two apples")):
        (alone,) = pipe.generate(prompt, seed=4 + index % 2, size="24x16", **FEW)
        off = np.asarray(many[index]).astype(int) - np.asarray(alone)
        assert np.abs(off).max() <= 6  # a level off in one window is carried on to the next


def test_what_cannot_be_is_refused_before_any_work(pipe: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"^size 500000x1 is not possible: .* 8000000x16, more"):
        only(pipe, size="500000x1")
    with pytest.raises(UsageError, match=r"^tile and size 32x16 do not go together: model 'it' "):
        only(pipe, size="32x16", tile=True)
    with pytest.raises(UsageError, match=r"the limit is 100 steps"):
        Pipeline(pipe.model, policy=Policy(limit=100)).generate(WORDS, size="900x900")
    only(pipe, size="16x16", tile=True)  # its own


def test_other_abilities_say_what_to_do(pipe: Pipeline) -> None:
    picture = Image.new("RGB", (16, 16))
    for draw in (pipe.variations, pipe.image_to_image):
        words = [WORDS] if draw == pipe.image_to_image else []
        with pytest.raises(UsageError, match=r"^size 32x16 is not possible: .* with outpaint$"):
            draw(picture, *words, size="32x16")


# optional stages ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def able(make_stage: Callable[..., Stage], pipe: Pipeline) -> Pipeline:
    """Draws 16 x 16, and 64 x 64 where that is asked for."""
    network = {**make_stage("upsampler").config.network.dump(), "image_size": 64}
    more = {"optional": True, "low_res_size": 16, "network": network, "crop": 16}
    stages = {**pipe.stages, "upsampler_64": make_stage("upsampler", **more)}
    return Pipeline(Model(pipe.tokenizer, stages, "it"))


def test_a_size_that_an_optional_stage_draws_is_the_usual_picture_enlarged(
    able: Pipeline, pipe: Pipeline
) -> None:
    usual, large = only(able, seed=3), only(able, seed=3, size="64")
    assert usual.tobytes() == only(pipe, seed=3).tobytes()
    assert large.size == (64, 64)
    by_stage = able.with_stages({"upsampler_64": able.stages["upsampler_64"]})
    (enlarged,) = by_stage.with_model(replace(by_stage.model, running=("upsampler_64",))).upscale(
        usual, seed=3
    )
    assert np.abs(np.asarray(enlarged, int) - np.asarray(large, int)).mean() < 6  # of 8 bits
    (again,) = able.run(GenerateRequest.of_record(Record.of(large)))
    assert again.tobytes() == large.tobytes()
    (vary,) = able.variations(usual, size="64", steps=2, upsampler_steps=2)
    assert vary.size == (64, 64)


def test_a_size_between_is_that_reduced_and_others_are_windows(able: Pipeline) -> None:
    large = only(able, seed=3, size="64")
    half = large.resize((32, 32), Image.Resampling.LANCZOS)
    assert only(able, seed=3, size="32").tobytes() == half.tobytes()
    usual, wide = only(able, seed=3), only(able, seed=3, size="32x16")
    assert wide.crop((8, 0, 24, 16)).tobytes() == usual.tobytes()
    with pytest.raises(UsageError, match="draws 16x16 or 64x64 alone"):
        able.variations(usual, size="32")


def test_steps_of_an_optional_stage_count_where_it_runs(able: Pipeline) -> None:
    costs: list[Cost] = []
    counting = able.with_policy(Policy(on_cost=costs.append))
    only(counting)
    only(counting, size="64", upsampler_64_steps=1)
    assert costs[1].steps == {**costs[0].steps, "upsampler_64": 1}
    assert costs[1].size == (64, 64)
    with pytest.warns(SettingWarning, match="this draws with .*upsampler, not with upsampler_64"):
        only(able, upsampler_64_steps=1)


def test_an_optional_stage_draws_fewer_at_a_time_than_the_others(able: Pipeline) -> None:
    seen = list[tuple[str, int]]()
    many = able.generate(
        WORDS, n=3, seed=3, size="64", **FEW, on_step=lambda s: seen.append((s.stage, len(s.x0)))
    )
    batches = {name: [count for stage, count in seen if stage == name] for name, _ in seen}
    assert set(batches["decoder"]) == {3} and batches["upsampler_64"][:3] != [3, 3, 3]
    assert set(batches["upsampler_64"]) == {1}
    for index, one in enumerate(many):
        (alone,) = able.generate(WORDS, seed=3 + index, size="64", **FEW)
        assert np.abs(np.asarray(one, int) - np.asarray(alone, int)).max() <= 1


def test_a_tile_between_two_sizes_is_that_reduced_and_fits_together(able: Pipeline) -> None:
    large, half = only(able, size="64", tile=True), only(able, size="32", tile=True)
    moved = np.roll(np.asarray(large), (20, 30), (0, 1))  # whose edges are another part's
    reduced = Image.fromarray(moved).resize((32, 32), Image.Resampling.LANCZOS)
    inner = np.roll(np.asarray(reduced, int), (-10, -15), (0, 1))
    same = np.abs(inner - np.asarray(half, int)).max(-1) <= 1
    same[18:26], same[:, 13:21] = True, True  # where the moved one has its edges
    assert same.all(), "the edges are as inside a picture"
    with pytest.raises(UsageError, match="tile and size 48x32 do not go together"):
        only(able, size="48x32", tile=True)


def test_a_strip_fits_together_along_its_own_axis_alone(able: Pipeline) -> None:
    large, half = only(able, size="64", tile="x"), only(able, size="32", tile="x")
    plain = np.asarray(large.resize((32, 32), Image.Resampling.LANCZOS), int)
    off = np.abs(plain - np.asarray(half, int)).max((0, 2))  # of each column
    assert off[4:-4].max() <= 1 < off[[0, -1]].max(), "rows at top and bottom are as they were"


def test_guidance_by_clip_pulls_each_picture_to_its_own_prompt(able: Pipeline) -> None:
    more: dict[str, Any] = {**FEW, "size": "64", "upsampler_64_clip_guidance_scale": 100.0}
    several = able.generate([WORDS, "a red car", "a house"], seed=3, **more)
    for prompt, one in zip([WORDS, "a red car", "a house"], several, strict=True):
        (alone,) = able.generate(prompt, seed=3, **more)
        assert np.abs(np.asarray(one, int) - np.asarray(alone, int)).max() <= 2


def test_windows_count_as_steps_of_pictures_that_are_not_known_or_tiles(
    able: Pipeline, make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as are told."""
    upsampler: Any = able.stages["upsampler_64"]
    network = {**upsampler.config.network.dump(), "noise_input": False, "norm": "layer"}
    config = {**upsampler.config.dump(), "network": network, "parameterization": {"kind": "x0"}}
    stage = make_stage(**{**config, "corruption": {"at_sampling": 0.0}})
    monkeypatch.setattr("unclip.stages.large.SIDE", 40)
    costs, seen = list[Cost](), list[str]()
    blind = able.with_stages({**able.stages, "upsampler_64": stage})
    blind = blind.with_policy(Policy(on_cost=costs.append))
    for more in ({}, {"tile": True}):
        seen.clear()
        blind.generate(WORDS, size="64", **FEW, **more, on_step=lambda s: seen.append(s.stage))
        assert costs.pop().steps["upsampler_64"] == seen.count("upsampler_64")
        assert (seen.count("upsampler_64") > 1) == (not more)


def test_the_sizes_of_a_model_with_optional_stages_are_named(able: Pipeline) -> None:
    with pytest.raises(UsageError, match="model 'it' draws 16x16 or 64x64 alone"):
        able.variations(only(able), size="48x32")

"""What the worker knows before it draws, and what it writes into files."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip import Pipeline
from unclip.abilities import _several
from unclip.errors import UsageError
from unclip.server.job import Finish, Spec
from unclip.server.painter import Models, Painter, Task

from .conftest import FEW, Talk, spec


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_an_edit_is_a_composite(pipe: Pipeline, tmp_path: Path, kind: Any) -> None:
    talk = Talk(lambda name: pipe)
    talk.until("memory")
    Image.new("RGB", pipe.model.size, "teal").save(tmp_path / "a.png")
    fields = {"prompt": "a fox", "box": [0, 0, 8, 8], "settings": dict(FEW)}
    one = Spec("edit", fields, model="tiny", finish=Finish(format=kind))
    job = {"id": "a", "spec": one.to_json(), "inputs": {"image": str(tmp_path / "a.png")}}
    talk.say(kind="draw", jobs=[job])
    (made,) = (one for one in talk.until("idle") if one["kind"] == "done")
    data = base64.b64decode(made["pictures"][0]["data"])
    assert b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in data
    talk.close()


def test_what_settings_cost_is_found_out_once(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    once = _several._cost_of
    monkeypatch.setattr(_several, "_cost_of", lambda *all: found.append(all) or once(*all))

    def steps(one: Spec) -> int:
        talk.say(kind="check", number=1, spec=one.to_json(), inputs={})
        return int(talk.until("checked")[-1]["steps"])

    first = steps(spec("a fox", 7))
    assert steps(spec("a car", 8)) == first and len(found) == 1
    assert steps(spec("a car", 8, 2)) == 2 * first and len(found) == 2
    assert steps(spec("a car AND a fox")) > first and len(found) == 3
    talk.draw(a=spec("a house", 3), b=spec("a tree", 4))
    talk.until("idle")
    assert len(found) == 3
    wrong = Spec("generate", {"prompt": "a car", "settings": {"sampler": "none such"}})
    for _ in range(2):  # what is wrong is told each time
        talk.say(kind="check", number=1, spec=wrong.to_json(), inputs={})
        assert "sampler" in talk.until("checked")[-1]["failure"]["message"]


def test_a_check_does_not_send_the_model_away_that_draws(pipe: Pipeline) -> None:
    loaded: list[str] = []
    models = Models(lambda name: loaded.append(name) or pipe, ["one", "two"], memory=1)
    painter = Painter(models, lambda message: None)
    for name in models.names:
        models.info(name)
    assert models["one"] is pipe
    before = list(loaded)

    def check(ability: str, model: str) -> int:
        task = Task("", Spec(ability, spec().fields, model=model), {})
        return painter.check(task)

    assert (check("generate", "one") > 0, check("generate", "two")) == (True, 0)
    models._infos["two"] = replace(models._infos["two"], abilities=())
    with pytest.raises(UsageError, match="two' cannot generate"):
        check("generate", "two")
    with pytest.raises(UsageError, match="none"):
        check("generate", "none")
    assert loaded == before
    painter.draw([Task("a", replace(spec(), model="two"), {})])
    assert loaded == [*before, "two"]


def enlarging(pipe: Pipeline, make_stage: Any) -> Pipeline:
    """The same with an optional stage for pictures twice as large."""
    side = pipe.model.size[0]
    network = {**make_stage("upsampler").config.network.dump(), "image_size": 2 * side}
    more = {"optional": True, "low_res_size": side, "crop": side, "network": network}
    return pipe.with_stages({**pipe.stages, "larger": make_stage("upsampler", **more)})


def test_jobs_of_two_sizes_cost_and_show_what_each_of_them_does(
    pipe: Pipeline, make_stage: Any
) -> None:
    """They come as one batch: only the model tells that they are of two sizes."""
    able = enlarging(pipe, make_stage)
    told: list[dict[str, Any]] = []
    painter = Painter(Models(lambda name: able, ["tiny"]), told.append)
    sizes = {"small": able.model.size[0], "large": 2 * able.model.size[0], "again": 4}
    specs = {name: replace(spec(), finish=Finish((one, one))) for name, one in sizes.items()}
    tasks = [Task(name, one, {}) for name, one in specs.items()]
    cost = {task.id: painter.check(task) for task in tasks}
    assert cost["large"] > cost["small"] == cost["again"]
    painter.watched.update(dict.fromkeys(sizes, 1))
    painter.draw(tasks)
    assert sum(one["steps"] for one in told if one["kind"] == "memory") == sum(cost.values())
    shares = {
        name: [one["share"] for one in told if one["kind"] == "step" and one["id"] == name]
        for name in sizes
    }
    for share in shares.values():  # all of it is done at its last step, and not before
        assert share == sorted(share) and share.index(1) == len(share) - 1
    for kind in ("done", "preview"):
        assert {one["id"] for one in told if one["kind"] == kind} == sizes.keys()


def test_clients_are_told_what_has_an_effect_and_what_runs_for_a_size(
    pipe: Pipeline, make_stage: Any
) -> None:
    network = {**make_stage("upsampler").config.network.dump(), "noise_input": False}
    blind = make_stage("upsampler", network=network, parameterization={"kind": "x0"})
    able = enlarging(pipe.with_stages({**pipe.stages, "upsampler": blind}), make_stage)
    info = Models(lambda name: able, ["tiny"]).info("tiny")
    assert info.optional == ("larger",)
    idle = {"steps", "sampler", "spacing", "eta", "resample", "inpainting", "guidance_scale"}
    assert not idle & info.settings["upsampler"].keys() and "sharpen" in info.settings["upsampler"]
    assert {"steps", "sampler"} <= info.settings["larger"].keys() & info.settings["decoder"].keys()


def test_pictures_are_drawn_as_large_as_they_are_wanted_where_the_model_can(
    pipe: Pipeline, make_stage: Any
) -> None:
    """By its optional stages; and resampled from there."""
    side, able = pipe.model.size[0], enlarging(pipe, make_stage)
    talk = Talk(lambda name: able)
    talk.until("memory")
    wanted = {"own": side, "double": 2 * side, "between": side + 4, "beyond": 5 * side}
    jobs = {name: replace(spec(), finish=Finish((one, one))) for name, one in wanted.items()}
    talk.draw(**jobs, drawn=spec())
    done = {one["id"]: one["pictures"][0] for one in talk.until("idle") if one["kind"] == "done"}
    native = {name: one["native"] for name, one in done.items()}
    small, large = [side, side], [2 * side, 2 * side]
    assert native == {
        "own": small, "drawn": small, "double": large, "between": large, "beyond": large,
    }  # fmt: skip
    assert {name: done[name]["width"] for name in wanted} == wanted
    (again,) = able.generate("a fox", size=f"{2 * side}", **FEW)
    with Image.open(io.BytesIO(base64.b64decode(done["double"]["data"]))) as picture:
        off = np.abs(np.asarray(picture, int) - np.asarray(again, int))
    assert off.max() <= 1  # in batches of others
    talk.close()

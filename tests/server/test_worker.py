"""The worker draws what one would draw without it, and survives what it is asked for."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from unclip import Pipeline
from unclip.errors import CheckpointError
from unclip.record import Record
from unclip.server.hooks import refuse_words
from unclip.server.job import Finish, Spec
from unclip.server.kept import spec_of
from unclip.server.protocol import ModelInfo

from .conftest import FEW, Talk, spec
from .fakes import png

Load = Callable[[str], Any]


def opened(message: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a message."""
    files = [io.BytesIO(base64.b64decode(one["data"])) for one in message["pictures"]]
    return [Image.open(file) for file in files]


def done(heard: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Messages that a job is done, by the job."""
    return {one["id"]: one for one in heard if one["kind"] == "done"}


def far(one: Image.Image, other: Image.Image) -> int:
    """Largest difference of a channel."""
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def test_jobs_of_a_batch_get_what_each_alone_gives(talk: Talk, pipe: Pipeline) -> None:
    talk.draw(a=spec("a fox", 7, 2), b=spec("a car", 3))
    made = done(talk.until("idle"))
    alone = [*pipe.generate("a fox", n=2, seed=7, **FEW), *pipe.generate("a car", seed=3, **FEW)]
    drawn = [*opened(made["a"]), *opened(made["b"])]
    assert [far(one, other) <= 1 for one, other in zip(drawn, alone, strict=True)] == [True] * 3
    assert [one["seed"] for one in made["a"]["pictures"]] == [7, 8]
    assert Record.of(drawn[2]).prompt == "a car"


def test_exact_pictures_have_the_same_bytes_in_any_batch(pipe: Pipeline) -> None:
    talk = Talk(lambda name: pipe, exact=True)
    talk.until("ready")
    talk.draw(a=spec("a fox", 7, 3), b=spec("a car", 3))
    together = done(talk.until("idle"))["a"]["pictures"]
    for index, one in enumerate(together):
        talk.draw(alone=spec("a fox", 7 + index))
        assert done(talk.until("idle"))["alone"]["pictures"][0]["data"] == one["data"]
    talk.close()


def test_a_size_that_is_not_the_models_is_reached_by_resampling(talk: Talk) -> None:
    talk.draw(a=spec(finish=Finish((48, 48))), b=spec(finish=Finish((48, 32), "jpeg", 60)))
    made = done(talk.until("idle"))
    large, small = made["a"]["pictures"][0], made["b"]["pictures"][0]
    assert (large["width"], large["height"], large["native"]) == (48, 48, [16, 16])
    assert opened(made["a"])[0].size == (48, 48)
    assert (opened(made["b"])[0].format, opened(made["b"])[0].size) == ("JPEG", (48, 32))
    assert small["bytes"] == len(base64.b64decode(small["data"]))
    assert Record.of(opened(made["b"])[0]).seed == 0


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_files_say_that_a_model_made_them_and_how(talk: Talk, kind: Any) -> None:
    talk.draw(a=spec("a fox", 4, finish=Finish(format=kind)))
    (shown,) = opened(done(talk.until("idle"))["a"])
    packet = shown.info.get("xmp", shown.info.get("XML:com.adobe.xmp"))
    packet = packet if isinstance(packet, str) else packet.decode()
    (source,) = re.findall('Iptc4xmpExt:DigitalSourceType="(.*?)"', packet)
    assert source.endswith("/newscodes/digitalsourcetype/trainedAlgorithmicMedia")
    assert ElementTree.fromstring(packet.partition("?>")[2].rpartition("<?")[0]) is not None
    assert (Record.of(shown).prompt, Record.of(shown).seed) == ("a fox", 4)
    talk.draw(a=spec("a fox", 4, finish=Finish(format=kind, record=False, marked=False)))
    message = done(talk.until("idle"))["a"]
    assert message["pictures"][0]["seed"] == 4
    data = base64.b64decode(message["pictures"][0]["data"])
    assert b"fox" not in data and b"algorithmic" not in data.lower()
    (bare,) = opened(message)
    assert bare.size == shown.size


def test_another_shape_is_cut_from_the_middle_not_stretched(talk: Talk) -> None:
    talk.draw(a=spec(seed=3), b=spec(seed=3, finish=Finish((16, 8))))
    made = done(talk.until("idle"))
    whole, part = opened(made["a"])[0], opened(made["b"])[0]
    assert part.size == (16, 8)
    assert far(part, whole.crop((0, 4, 16, 12))) == 0


def test_a_fault_of_one_does_not_hit_the_others(talk: Talk) -> None:
    wrong = Spec("generate", {"prompt": "a car", "settings": {"sampler": "none such"}}, batch="g")
    talk.draw(bad=wrong, good=spec())
    heard = talk.until("idle")
    (failed,) = (one for one in heard if one["kind"] == "failed")
    assert (failed["id"], failed["failure"]["code"]) == ("bad", "usage")
    assert "none such" in failed["failure"]["message"]
    assert set(done(heard)) == {"good"}


def test_a_job_of_another_version_fails_alone_with_its_reason(talk: Talk) -> None:
    talk.draw(alien=spec_of({"newer": 1}), good=spec())
    heard = talk.until("idle")
    (failed,) = (one for one in heard if one["kind"] == "failed")
    assert failed["id"] == "alien" and "another version" in failed["failure"]["message"]
    assert set(done(heard)) == {"good"}


def test_without_memory_for_all_it_draws_one_at_a_time(
    talk: Talk, pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Pipeline.sample

    def small(self: Pipeline, cond: Any, seeds: Sequence[Any], *more: Any, **named: Any) -> Any:
        if len(seeds) > 1:
            raise MemoryError
        return sample(self, cond, seeds, *more, **named)

    alone = pipe.generate("a fox", n=10, seed=5, **FEW)
    monkeypatch.setattr(Pipeline, "sample", small)
    talk.draw(a=spec(n=10, seed=5))
    drawn = opened(done(talk.until("idle"))["a"])
    assert [far(one, other) <= 1 for one, other in zip(drawn, alone, strict=True)] == [True] * 10


def test_where_even_one_picture_is_too_much_it_says_memory(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Pipeline, "sample", never)
    talk.draw(a=spec(n=2))
    (failed,) = (one for one in talk.until("idle") if one["kind"] == "failed")
    assert failed["failure"]["code"] == "memory"


def test_an_unforeseen_error_keeps_its_words_to_the_log(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(Pipeline, "sample", never)
    talk.draw(a=spec())
    (failed,) = (one for one in talk.until("idle") if one["kind"] == "failed")
    assert failed["failure"]["code"] == "internal"
    assert "secret" not in failed["failure"]["message"]
    assert "/secret/path" in caplog.text


def test_a_cancelled_job_stops_between_two_steps(talk: Talk) -> None:
    def cancel(message: dict[str, Any]) -> None:
        if message["kind"] == "step" and message["stage"] == "prior":
            talk.cancel("a")

    talk.before_step = cancel
    talk.draw(a=spec())
    heard = talk.until("idle")
    assert [one["kind"] for one in heard][-2:] == ["cancelled", "idle"]
    assert not done(heard)
    assert "decoder" not in {one.get("stage") for one in heard}


def test_of_a_batch_only_the_cancelled_job_is(talk: Talk) -> None:
    talk.cancel("b")
    talk.draw(a=spec(), b=spec("a car"))
    heard = talk.until("idle")
    assert set(done(heard)) == {"a"}
    assert {one["id"] for one in heard if one["kind"] == "cancelled"} == {"b"}


def test_steps_grow_to_one_and_previews_are_of_those_who_watch(talk: Talk) -> None:
    talk.say(kind="watch", previews={"b": 0})
    talk.say(kind="check", number=1, spec=spec().to_json(), inputs={})
    talk.until("checked")
    talk.draw(a=spec(n=2), b=spec("a car"))
    heard = talk.until("idle")
    shares = [one["share"] for one in heard if one["kind"] == "step" and one["id"] == "a"]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) >= 3
    assert {(one["id"], one["index"]) for one in heard if one["kind"] == "preview"} <= {("b", 0)}


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_quick_model_shows_as_many_previews_as_are_asked_for(talk: Talk, most: int) -> None:
    talk.say(kind="watch", previews={"a": most})
    talk.say(kind="check", number=1, spec=spec().to_json(), inputs={})
    talk.until("checked")
    talk.draw(a=spec())  # two steps of the prior, three of the decoder, two of the upsampler
    heard = talk.until("idle")
    shown = [one for one in heard if one["kind"] == "preview"]
    assert [one["number"] for one in shown] == list(range(1, most + 1))
    shares = [one["share"] for one in shown]
    assert shares == sorted(set(shares)) and shares[0] > 0.25  # never twice at one step
    sizes = [Image.open(io.BytesIO(base64.b64decode(one["picture"]))).size for one in shown]
    assert sizes == [(16, 16)] * most


def test_what_is_said_too_late_of_a_batch_is_forgotten(talk: Talk) -> None:
    talk.cancel("long gone")
    talk.say(kind="watch", previews={"long gone": 0})
    talk.draw(a=spec())
    talk.until("idle")
    assert not talk.worker.painter.cancelled and not talk.worker.painter.watched


def test_files_that_are_too_large_to_send_fail_their_job_alone(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.server.painter.MOST_SENT", 3000)
    talk.draw(a=spec(n=1), b=spec(n=8))
    heard = talk.until("idle")
    assert [*done(heard)] == ["a"]
    (failed,) = [one for one in heard if one["kind"] == "failed"]
    assert failed["id"] == "b" and "fewer or smaller" in failed["failure"]["message"]


def test_it_says_what_memory_it_holds(talk: Talk) -> None:
    talk.draw(a=spec())
    told = [one for one in talk.until("idle") if one["kind"] == "memory"]
    assert told and all(one["bytes"] > 10 * 2**20 and one["gpu"] >= 0 for one in told)


def test_it_says_how_many_steps_it_took_however_seldom(talk: Talk) -> None:
    jobs, costs = {"a": spec(n=2), "b": spec("a car")}, 0
    for one in jobs.values():
        talk.say(kind="check", number=1, spec=one.to_json(), inputs={})
        costs += talk.until("checked")[-1]["steps"]
    talk.draw(**jobs)
    heard = talk.until("idle")
    assert costs > 3 * sum(FEW.values())  # the prior draws candidates
    assert sum(one["steps"] for one in heard if one["kind"] == "memory") == costs


@pytest.mark.parametrize("field", ["prior", "decoder", "surprise"])
def test_an_unknown_prior_decoder_or_field_is_named(talk: Talk, field: str) -> None:
    asked = Spec("generate", {"prompt": "a fox", field: "c"})
    talk.say(kind="check", number=1, spec=asked.to_json(), inputs={})
    (answer,) = talk.until("checked")
    assert answer["failure"]["field"] == field


def test_a_check_draws_nothing_and_says_what_is_wrong(talk: Talk, pipe: Pipeline) -> None:
    for number, (asked, words) in enumerate(
        [
            (spec(), None),
            (Spec("generate", {"prompt": "a fox", "settings": {"stepz": 3}}), "stepz"),
            (Spec("generate", {"prompt": ""}), "empty"),
            (Spec("paint", {"prompt": "a fox"}), "unknown ability"),
            (Spec("vary", {"n": 1}, {"image": "0"}), "image"),
            (Spec("generate", {"prompt": "a fox"}, model="other"), "unknown model"),
            (Spec("probe", {}, {}), "draws no pictures"),
        ]
    ):
        talk.say(kind="check", number=number, spec=asked.to_json(), inputs={})
        (answer,) = talk.until("checked")
        assert answer["number"] == number
        if words is None:
            assert (answer["failure"], answer["steps"]) == (None, 9)
        else:
            assert words in answer["failure"]["message"]


def test_it_tells_what_its_model_can(pipe: Pipeline) -> None:
    talk = Talk(lambda name: pipe)
    (ready,) = talk.until("ready")
    (info,) = map(ModelInfo.of, ready["models"])
    assert (info.name, info.size, info.priors) == ("tiny", (16, 16), ("prior",))
    assert {"generate", "vary", "edit"} <= set(info.abilities)
    scale, steps = (info.settings["decoder"][one] for one in ("guidance_scale", "steps"))
    own = pipe.stages["decoder"].config.sampling
    assert scale["type"] == "number" and scale["minimum"] == 0 and not scale["nullable"]
    assert (scale["default"], scale["name"]) == (own.guidance_scale, "guidance_scale")
    assert steps["type"] == "integer" and steps["default"] == own.steps
    eta = info.settings["decoder"]["eta"]
    assert eta["type"] == "number" and eta["nullable"] and "ancestral" in eta["description"]
    assert info.settings["prior"]["steps"]["name"] == "prior_steps"
    assert {"ddim", "euler"} <= set(info.settings["decoder"]["sampler"]["enum"])
    for each in info.settings.values():  # every default is one that the settings take
        for one in each.values():
            pipe.model.by_stage({one["name"]: one["default"]})
            for choice in one.get("enum", ()):
                pipe.model.by_stage({one["name"]: choice})
    talk.close()


def test_it_says_which_caption_fits_a_picture_while_it_draws(
    talk: Talk, pipe: Pipeline, tmp_path: Path
) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(png((16, 16), (200, 40, 0)))
    labels = ["a fox", "a car", "a house"]
    asked = {"kind": "probe", "number": 7, "model": "tiny"}
    asked |= {"inputs": {"image": str(path)}, "labels": labels}
    talk.say(**asked)
    (*_, answer) = talk.until("probed")
    assert (answer["number"], answer["failure"]) == (7, None)
    assert answer["shares"] == pytest.approx(pipe.probe(path, labels), abs=1e-6)
    slow = spec(seed=1)
    slow.fields["settings"]["steps"] = 60
    talk.draw(a=slow)
    talk.until("step")
    talk.say(**asked)
    said = [one["kind"] for one in talk.until("idle")]
    assert said.index("probed") < said.index("done")
    talk.say(**{**asked, "inputs": {"image": str(tmp_path / "none.png")}})
    (*_, answer) = talk.until("probed")
    assert answer["failure"]["code"] == "usage" and "shares" not in answer


def test_a_damaged_model_is_one_line(pipe: Pipeline) -> None:
    def damaged(name: str) -> Any:
        raise CheckpointError("decoder.safetensors\nis damaged")

    talk = Talk(damaged)
    (broken,) = talk.until("broken")
    assert broken["message"] == "decoder.safetensors is damaged"
    talk.close()
    assert not talk.thread.is_alive()


def test_it_does_not_outlive_the_server(talk: Talk) -> None:
    def leave(message: dict[str, Any]) -> None:
        if message["kind"] == "step" and message["stage"] == "prior" and message["index"] == 1:
            talk.leave()

    talk.before_step = leave
    talk.draw(a=spec())
    talk.thread.join(30)
    assert not talk.thread.is_alive()


def no_cars(kind: str, value: Any) -> str | None:
    """A hook for prompts."""
    return "no cars here" if kind == "prompt" and "car" in value else None


def no_seed_five(kind: str, value: Any) -> str | None:
    """A hook for pictures."""
    return "not this one" if kind == "picture" and Record.of(value).seed == 5 else None


def test_hooks_refuse_prompts_and_pictures_of_one_job_alone(pipe: Pipeline) -> None:
    here = sys.modules[__name__]
    sys.modules["hooks_of_a_test"] = here
    names = ["hooks_of_a_test:no_cars", "hooks_of_a_test:no_seed_five"]
    talk = Talk(lambda name: pipe, hooks=names)
    talk.until("memory")
    talk.say(kind="check", number=1, spec=spec("a car").to_json(), inputs={})
    (answer,) = talk.until("checked")
    assert answer["failure"]["code"] == "content_policy"
    talk.draw(a=spec("a fox", 1), b=spec("a fox", 5), c=spec("a car"), d=spec("a dog", 2))
    heard = talk.until("idle")
    assert set(done(heard)) == {"a", "d"}
    assert [one["kind"] for one in heard].count("done") == 2
    refused = {one["id"]: one["failure"] for one in heard if one["kind"] == "failed"}
    assert {name: one["code"] for name, one in refused.items()} == dict.fromkeys(
        ("b", "c"), "content_policy"
    )
    assert "not this one" in refused["b"]["message"]
    talk.close()


def test_a_hook_that_is_none_stops_the_start(pipe: Pipeline) -> None:
    talk = Talk(lambda name: pipe, hooks=["unclip.server.hooks:none_such"])
    assert "none_such" in talk.until("broken")[-1]["message"]
    talk.close()


def test_refused_words_are_whole_words_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "words.txt"
    file.write_text("gun\nbloody mess  # a phrase\n# nothing\n", "utf-8")
    monkeypatch.setenv("UNCLIP_REFUSED_WORDS", str(file))
    assert refuse_words("prompt", "a GUN on a table") == "it holds 'GUN'"
    assert refuse_words("prompt", "a bloody mess")
    assert refuse_words("prompt", "a gunboat, a mess, nothing") is None
    assert refuse_words("picture", object()) is None

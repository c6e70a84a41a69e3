"""What every ability's request keeps: plain numbers inside, and wrong ones refused by name.

Fields are found from the classes, so that a new one is tested by being there. The pipeline's
stages fail at their first use: whatever is refused is refused before any work.
"""

from __future__ import annotations

import inspect
import json
import math
import tracemalloc
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from PIL import Image
from pydantic.fields import FieldInfo

from unclip import Pipeline
from unclip.abilities import ABILITIES
from unclip.config import override
from unclip.cost import Cost, Policy
from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.record import Record
from unclip.request import Drawing, Request
from unclip.stages import Stage
from unclip.stages.model import Model

PICTURE = Image.radial_gradient("L").resize((16, 16)).convert("RGB")
INPUTS: dict[str, Any] = {
    "image": PICTURE,
    "mask": Image.new("L", (16, 16), 255),
    "a": PICTURE,
    "b": "a fox",
    "pictures": [PICTURE] * 4,
    "prompt": "a fox",
    "source": "a fox",
    "target": "a car",
    "labels": ["a fox", "a car"],
    "dims": [1, 2],
    "left": 8,
}
"""An argument for every field that has no default, and for those that are worth one."""

CLASSES: dict[str, type[Request]] = {name: ABILITIES[name].request for name in ABILITIES.names()}
FIELDS = [(name, field) for name, cls in CLASSES.items() for field in cls.model_fields]


def arguments(cls: type[Request], **changes: Any) -> dict[str, Any]:
    """A call of the ability's method."""
    called = {name: INPUTS[name] for name in cls.model_fields if name in INPUTS} | changes
    return called | called.pop("settings", {})


def kind_of(field: FieldInfo) -> type | None:
    """int, float, or str; None for another type."""
    kinds = {field.annotation, *typing.get_args(field.annotation)} - {type(None)}
    return next((kind for kind in (int, float, str) if kinds == {kind}), None)


def of_kind(*kinds: type) -> list[tuple[str, str]]:
    return [
        (name, key) for name, key in FIELDS if kind_of(CLASSES[name].model_fields[key]) in kinds
    ]


class Idle(Exception):
    """The first step was about to be taken."""


@pytest.fixture(scope="module")
def idle(make_stage: Callable[[str], Stage], tokenizer: Tokenizer) -> Pipeline:
    """A whole model, none of whose stages may work; CLIP may read a picture."""
    names = ("clip", "prior", "decoder", "upsampler")
    model = Model(tokenizer, {name: make_stage(name) for name in names}, "idle")

    def stop(cost: Cost) -> None:
        raise Idle

    return Pipeline(model, policy=Policy(on_cost=stop))


def method(name: str) -> str:
    """What `Pipeline` calls an ability."""
    return str(ABILITIES[name].function.__name__)


def call(pipe: Pipeline, name: str, **changes: Any) -> None:
    getattr(pipe, method(name))(**arguments(CLASSES[name], **changes))


ASKED = {("edit", "prompt"): "", ("outpaint", "prompt"): ""}
"""Defaults that a method alone has, where a prompt may stand at several places."""


def test_every_ability_of_a_pipeline_has_its_request() -> None:
    methods = {method(name) for name in CLASSES}
    assert len(CLASSES) == len(methods) == 10
    for name, cls in CLASSES.items():
        taken = inspect.signature(getattr(Pipeline, method(name))).parameters
        among = {"settings", *getattr(cls, "shared", ())}
        fields = {key: field for key, field in cls.model_fields.items() if key not in among}
        assert set(fields) <= set(taken)
        for key, field in fields.items():
            own = inspect.Parameter.empty if field.is_required() else field.default
            assert taken[key].default == ASKED.get((name, key), own), (name, key)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"probe"}))
def test_a_sound_request_comes_as_far_as_the_first_step(name: str, idle: Pipeline) -> None:
    with pytest.raises(Idle):
        call(idle, name)


WORDS = {"size": "16x16", "aspect": "2:1"}
"""Texts of fields that take no others."""

SAME: dict[type, list[Callable[[Any], Any]]] = {
    int: [np.int64, np.uint8, lambda v: np.array(v), torch.tensor],
    float: [np.float32, np.float64, np.float16, torch.tensor],
    str: [np.str_],
}
"""Ways to write a value that mean the plain one."""


@pytest.mark.parametrize(("name", "key"), of_kind(int, float, str))
def test_numbers_of_numpy_and_torch_are_plain_numbers(name: str, key: str) -> None:
    cls = CLASSES[name]
    kind = kind_of(cls.model_fields[key])
    assert kind is not None
    value: Any = WORDS.get(key, {int: 3, float: 0.5, str: "none"}[kind])
    given = {name: INPUTS[name] for name in cls.model_fields if name in INPUTS}
    plain = cls.of(**given | {key: value})
    for write in SAME[kind]:
        request = cls.of(**given | {key: write(value)})
        assert request == plain
        assert type(getattr(request, key)) is kind
        if isinstance(request, Drawing) and isinstance(plain, Drawing):
            assert json.loads(request.record().to_json()) == json.loads(plain.record().to_json())


LISTS = {(name, "prompt") for name in ("generate", "img2img", "edit", "outpaint")}
"""Of these the method takes several."""


def wrong(field: FieldInfo) -> list[Any]:
    """Values that no such field can have."""
    kind = kind_of(field)
    required = [None] if field.is_required() or kind is not str else []
    if kind is str:
        return [b"a fox", 3, ["a fox", "a car"], ("a fox",), "a \udcff", True, *required]
    values: list[Any] = ["2", "two", b"2", True, np.bool_(True), [2], {}, 2 + 0j, None, "𝟚"]
    values += [np.array([2, 3]), torch.ones(2), math.nan, np.float32("nan"), torch.tensor(math.inf)]
    values += [10**5000, -(10**5000)] if kind is int else []
    values += [2.5, np.float32(2), torch.tensor(2.0)] if kind is int else []
    for bound in field.metadata:
        values += [bound.ge - 1] if isinstance(bound, Ge) else []
        values += [bound.gt] if isinstance(bound, Gt) else []
        values += [bound.le + 1] if isinstance(bound, Le) else []
        values += [bound.lt] if isinstance(bound, Lt) else []
    return values


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_a_field_has_one_bound_of_a_kind(name: str, key: str) -> None:
    """Of two, pydantic checks the last alone: a `Count` with `le=3` takes 4."""
    bounds = CLASSES[name].model_fields[key].metadata
    kinds = [type(one) for one in bounds if isinstance(one, Ge | Gt | Le | Lt)]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(("name", "key"), of_kind(int, float, str))
def test_what_is_wrong_is_named_before_any_step(name: str, key: str, idle: Pipeline) -> None:
    cls = CLASSES[name]
    for value in wrong(cls.model_fields[key]):
        if (name, key) in LISTS and isinstance(value, list | tuple):
            value = []
        with pytest.raises(UsageError) as caught:
            call(idle, name, **{key: value})
        text = str(caught.value)
        assert key.replace("_", " ") in text.replace("_", " "), (value, text)
        assert "\n" not in text
        assert len(text) < 200


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"probe"}))
@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"upsampler_steps": "2"}, "'upsampler_steps' must be a whole number, got '2'"),
        ({"upsampler_steps": 2.5}, "'upsampler_steps' must be a whole number, got 2.5"),
        ({"upsampler_steps": True}, "'upsampler_steps' must be a whole number, got True"),
        ({"upsampler_steps": 0}, "'upsampler_steps' must be at least 1, got 0"),
        ({"upsampler_steps": 1001}, "steps must be at most 1000"),
        ({"upsampler_steps": {2}}, "upsampler_steps must be a finite number"),
        ({"upsampler_steps": 10**5000}, "upsampler_steps must be a finite number"),
        ({"upsampler_eta": math.nan}, "upsampler_eta must be a finite number"),
        ({"upsampler_sampler": "dimm"}, "unknown sampler 'dimm' (did you mean 'ddim'?)"),
        ({"upsampler_sampler": "a\udcff"}, "upsampler_sampler must be"),
        ({"upsampler_spacing": "kerras"}, "unknown spacing 'kerras' (did you mean 'karras'?)"),
        ({"upsampler_guidance_interval": [0.5]}, "upsampler_guidance_interval"),
        ({"upsampler_stepz": 3}, "'upsampler_stepz' (did you mean 'upsampler_steps'?)"),
    ],
)
def test_a_setting_is_checked_before_any_step(
    name: str, settings: dict[str, Any], part: str, idle: Pipeline
) -> None:
    with pytest.raises(UsageError) as caught:
        call(idle, name, settings=settings)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"probe"}))
def test_a_setting_that_is_wrong_by_itself_is_named_without_more(name: str, idle: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"^spacing must be a finite number, a text, or a list"):
        call(idle, name, settings={"spacing": math.nan})
    hint = r"^unknown setting 'settings': it is not a setting of the sampling; it may have an"
    with pytest.raises(UsageError, match=hint):
        call(idle, name, settings={"settings": 3})


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"probe"}))
def test_the_example_of_a_setting_is_one_of_a_stage_that_runs(
    name: str, idle: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls, costs = CLASSES[name], list[Cost]()
    assert issubclass(cls, Drawing)

    def note(cost: Cost) -> None:
        costs.append(cost)
        raise Idle

    monkeypatch.setattr(idle, "policy", Policy(on_cost=note))
    with pytest.raises(Idle):
        call(idle, name, settings=override({}, [cls.example]))
    assert cls.example.partition("_")[0] in costs[0].steps


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"probe"}))
def test_settings_of_numpy_and_torch_are_recorded_as_plain_numbers(name: str) -> None:
    cls = CLASSES[name]
    given = {key: INPUTS[key] for key in cls.model_fields if key in INPUTS}
    settings = {
        "steps": np.int64(4),
        "guidance_scale": torch.tensor(1.5),
        "guidance_interval": np.array([0.25, 1.0]),
        "prior_guidance_scale": np.float32(2),
        "upsampler_eta": None,
    }
    request = cls.of(**given, settings=settings)
    assert isinstance(request, Drawing)
    recorded = json.loads(request.record().to_json())["settings"]
    assert {key: recorded.get(key) for key in settings} == {
        "steps": 4,
        "guidance_scale": 1.5,
        "guidance_interval": [0.25, 1.0],
        "prior_guidance_scale": 2.0,
        "upsampler_eta": None,
    }
    assert type(recorded["steps"]) is int


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"probe"}))
def test_a_callback_that_cannot_be_called_is_refused(name: str, idle: Pipeline) -> None:
    with pytest.raises(UsageError, match="on_step must be a function or None, got 3"):
        getattr(idle, method(name))(**arguments(CLASSES[name]), on_step=3)


@pytest.mark.parametrize(
    ("name", "changes", "part"),
    [
        ("probe", {"labels": "a fox"}, "labels must be a list of texts, got 'a fox'"),
        ("probe", {"labels": ["a fox", 3]}, "labels.1 must be text, got 3"),
        ("probe", {"labels": ["a fox", "a \udcff"]}, "labels is not valid text"),
        ("reconstruct", {"dims": 3}, "dims"),
        ("reconstruct", {"dims": ["2", "3"]}, "dims.0 must be a whole number, got '2'"),
        ("reconstruct", {"dims": torch.tensor([1.0])}, "dims.0 must be a whole number, got 1.0"),
        ("reconstruct", {"pictures": "photos/"}, "pictures must be a list of pictures"),
        ("interpolate", {"noise": "pink"}, "noise must be 'slerp' or 'fixed', got 'pink'"),
        ("interpolate", {"a": " "}, "the prompt is empty (a)"),
        ("interpolate", {"b": "a \udcff"}, "the b is not valid text"),
        ("interpolate", {"b": 3}, "cannot read a picture from a int"),
        ("edit", {"box": (0, 0, 1)}, "box must be left, top, width and height in pixels, got (0"),
        ("edit", {"box": "all"}, "box must be left, top, width and height in pixels, got 'all'"),
        ("edit", {"box": (0, 0, 1, "1")}, "box.3 must be a whole number, got '1'"),
        ("edit", {"image": None}, "cannot read a picture from a NoneType"),
        (
            "upscale",
            {"image": np.zeros((8, 8, 3))},
            "an array of float64 and shape (8, 8, 3); give",
        ),
        ("vary", {"image": ["a.png"]}, "cannot read a picture from a list"),
        ("generate", {"prompt": ["a", ["b", "c"]]}, "prompt must be one text, got 2: call once"),
        ("generate", {"prompt": ["a", " "]}, "the prompt is empty"),
        ("edit", {"prompt": ["a", 3]}, "prompt must be text, got 3"),
        ("img2img", {"prompt": []}, "prompt must be a text or a list of them, got an empty list"),
        ("generate", {"prior": "mine"}, "no prior 'mine'"),
    ],
)
def test_what_is_no_number_is_checked_too(
    name: str, changes: dict[str, Any], part: str, idle: Pipeline
) -> None:
    with pytest.raises(UsageError) as caught:
        call(idle, name, **changes)
    assert part in str(caught.value)


def test_dims_may_be_an_array() -> None:
    cls = CLASSES["reconstruct"]
    for dims in (np.array([1, 2]), torch.tensor([1, 2]), range(1, 3), (1, np.int64(2))):
        assert cls.of(image=PICTURE, dims=dims) == cls.of(image=PICTURE, dims=[1, 2])


HUGE: list[tuple[str, dict[str, Any]]] = [
    ("generate", {"n": 10**9}),
    ("generate", {"best_of": 10**8}),
    ("generate", {"settings": {"steps": 10**9}}),
    ("generate", {"settings": {"prior_steps": 10**9}}),
    ("vary", {"n": 10**9}),
    ("vary", {"settings": {"steps": 10**6}}),
    ("img2img", {"n": 10**9}),
    ("edit", {"n": 10**9}),
    ("edit", {"settings": {"resample": 10**9}}),
    ("outpaint", {"n": 10**9}),
    ("outpaint", {"image": PICTURE.resize((8, 8)), "left": 7992, "bottom": 7992}),
    ("interpolate", {"frames": 10**9}),
    ("textdiff", {"frames": 10**9}),
    ("reconstruct", {"dims": [1] * 250_000, "pictures": None}),
    ("upscale", {"n": 10**9}),
]


@pytest.mark.parametrize(("name", "changes"), HUGE)
def test_what_would_never_end_is_refused_in_words(
    name: str, changes: dict[str, Any], idle: Pipeline
) -> None:
    with pytest.raises(UsageError, match=r"sampling steps: .* hours .*limit is 1,000,000 steps"):
        call(idle, name, **changes)


@pytest.mark.parametrize(
    ("name", "count"),
    [("generate", "best_of"), *(one for one in FIELDS if one[1] in ("n", "frames"))],
)
def test_more_pictures_than_memory_holds_are_refused_whatever_the_limit(
    name: str, count: str, idle: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "limit", None)
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=r"stay in memory .* GiB of .*: ask for fewer"):
            call(idle, name, **{count: 10**12})
        assert tracemalloc.get_traced_memory()[1] < 10**6, "no list of them is made before"
    finally:
        tracemalloc.stop()


def test_another_limit_may_be_set_or_none(idle: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "limit", 10)
    with pytest.raises(UsageError, match="limit is 10 steps"):
        idle.generate("a fox", n=2)
    monkeypatch.setattr(idle, "limit", None)
    with pytest.raises(Idle):
        idle.generate("a fox", n=10**6)


def test_a_record_goes_through_json(idle: Pipeline) -> None:
    for name in sorted(set(CLASSES) - {"probe"}):
        request = CLASSES[name].of(
            **{key: INPUTS[key] for key in CLASSES[name].model_fields if key in INPUTS}
        )
        assert isinstance(request, Drawing)
        picture = Image.new("RGB", (2, 2))
        picture.info["unclip"] = request.record(image="0123").to_json()
        record = Record.of(picture)
        assert (record.ability, record.seed, record.inputs) == (
            request.ability,
            0,
            {"image": "0123"},
        )


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"probe"}))
def test_a_request_follows_from_its_record_and_its_inputs(name: str) -> None:
    cls = CLASSES[name]
    assert issubclass(cls, Drawing)
    given = {key: INPUTS[key] for key in cls.model_fields if key in INPUTS and key != "mask"}
    more = {"strength": 0.25, "eta": 0.5, "frames": 3, "theta": 0.25, "best_of": 2, "prior": "none"}
    given |= {key: value for key, value in more.items() if key in cls.model_fields}
    request = cls.of(**given, seed=7, settings={"steps": 4, "guidance_interval": (0.25, 1.0)})
    fields = cls.model_fields.items()
    inputs = {key: given[key] for key, field in fields if field.exclude and key in given}
    words = {key: value for key, value in inputs.items() if isinstance(value, str)}
    record = Record.parse(request.record(**words).to_json())
    assert cls.of_record(record, **inputs) == request

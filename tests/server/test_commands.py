"""Commands that draw the same: each is read back, by what it is for, into an equal request."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unclip
from unclip.arguments import Arguments
from unclip.cli import _ability
from unclip.cli._jobs import Jobs
from unclip.cli._result import collecting
from unclip.cli.app import make_app
from unclip.errors import UsageError
from unclip.facade import Pipeline
from unclip.request import Drawing
from unclip.server import abilities
from unclip.server.commands import Place, commands
from unclip.server.job import Finish, Spec

from .fakes import png
from .house import KEY, STRANGER, House, a_house

TEXTS = st.one_of(
    st.sampled_from(
        [
            *("a fox", "{red|blue} car", "a __b__ c", """it's "so\"""", "-n", "--seed", "a\nb"),
            *("\\{a\\}", "a | b", "狐狸", "`rm`", "{", "a\\_b", "3", "true", "{2::a|b}", "$HOME"),
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
)
NAMES = st.none() | st.sampled_from(["prior", "none", "-x"])
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.integers(1, 99),
        "guidance_scale": st.floats(0, 20),
        "sampler": st.sampled_from(["ddim", "euler"]),
        "spacing": st.sampled_from(["uniform", "true", "3", "a b", "\"'"]),
        "prior_steps": st.integers(1, 99),
        "eta": st.floats(0, 1),
        "guidance_interval": st.tuples(st.floats(0, 0.5), st.floats(0.5, 1)),
    },
)
FIELDS: dict[str, Any] = {
    "prompt": TEXTS,
    "negative_prompt": TEXTS,
    "source": TEXTS,
    "target": TEXTS,
    "a": TEXTS,
    "b": TEXTS,
    "n": st.integers(1, 9),
    "frames": st.integers(2, 9),
    "box": st.tuples(*[st.integers(1, 9)] * 4),
    "dims": st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    "prior": NAMES,
    "decoder": NAMES,
    "size": st.sampled_from([None, "64x32"]),
    "tile": st.sampled_from([None, "x", "both"]),
    "noise": st.sampled_from(["slerp", "fixed"]),
    "best_of": st.integers(1, 3),
    "strength": st.floats(0, 1),
    "eta": st.floats(0, 1),
    "theta": st.floats(0.1, 1),
    **dict.fromkeys(("left", "right", "top", "bottom"), st.integers(0, 99)),
}


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Jobs of every ability, with texts that a shell and the command line read in their own way."""
    ability = draw(st.sampled_from(sorted(abilities.drawing())))
    kind = abilities.drawing()[ability]
    takes = abilities.pictures_of(kind)
    fields = {
        name: draw(FIELDS[name])
        for name, info in kind.model_fields.items()
        if name in FIELDS and (info.is_required() or draw(st.booleans()))
    }
    own = {k: one for k, one in draw(SETTINGS).items() if k not in kind.model_fields}
    fields |= {"seed": draw(st.integers(0, 2**40)), "settings": own}
    inputs = {name: "0" * 64 for name in takes if name not in fields and name != "pictures"}
    form = draw(st.sampled_from(["png", "webp"]))
    try:
        kind.of(**fields, **{name: f"{name}.png" for name in inputs})
    except UsageError:
        return draw(st.just(Spec("generate", {"prompt": "a fox", "seed": 1}, model="tiny")))
    return Spec(ability, fields, inputs, "tiny", finish=Finish(format=form))


def wanted(spec: Spec) -> Drawing:
    """What is to come back."""
    kind = abilities.drawing()[spec.ability]
    return kind.of(**spec.fields, **{name: f"{name}.png" for name in spec.inputs})


def values(request: Any) -> dict[str, Any]:
    """All of a request, pictures included."""
    every = {name: getattr(request, name) for name in type(request).model_fields}
    every["settings"] = json.loads(json.dumps(every["settings"]))
    return every


class Caught(Exception):
    """With what a call asked for."""


@contextmanager
def catching(request: Any) -> Iterator[None]:
    """Within, the call of a command or a method asks for an equal request, and does no more."""
    with pytest.raises(Caught) as caught:
        yield
    assert values(caught.value.args[0]) == values(request)


@pytest.fixture(scope="module")
def asked_alone() -> Iterator[None]:
    """Whoever makes a request from a command or a method, stops there."""

    def run(command: Any) -> None:
        raise Caught(Jobs(command).all()[0].request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ability.DrawCommand, "run", run)
        yield


def call(line: str) -> None:
    """A line of the shell, as the command line reads it."""
    program, *words = shlex.split(line)
    assert program == "unclip"
    with collecting():
        APP(words, standalone_mode=False)


APP = make_app()
QUICK = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@QUICK
@given(specs())
def test_the_shells_line_asks_for_the_same(asked_alone: None, spec: Spec) -> None:
    line = commands(spec, Place("http://localhost", model="runs/mine"))["cli"]
    assert "--model runs/mine" in line
    with catching(wanted(spec)):
        call(line)


@QUICK
@given(specs())
def test_pythons_lines_ask_for_the_same(spec: Spec) -> None:
    code = commands(spec, Place("http://localhost"))["python"]
    of = Arguments.of.__func__  # type: ignore[attr-defined]

    def stop(cls: Any, **values: Any) -> Any:
        raise Caught(of(cls, **values))

    with pytest.MonkeyPatch.context() as patch, catching(wanted(spec)):
        patch.setattr(unclip, "load", lambda: Pipeline.__new__(Pipeline))
        patch.setattr(Arguments, "of", classmethod(stop))
        exec(code, {})


@QUICK
@given(specs())
def test_curls_line_sends_the_same(spec: Spec) -> None:
    line = commands(spec, Place("http://localhost/draw", key=True))["curl"]
    program, url, *words = shlex.split(line)
    assert (program, url) == ("curl", "http://localhost/draw/v1/jobs")
    sent = json.loads(words[words.index("-d") + 1])
    again = Spec(sent["ability"], sent["fields"], sent.get("inputs", {}), sent.get("model", ""))
    assert values(wanted(again)) == values(wanted(spec))
    assert "authorization: Bearer $UNCLIP_API_KEY" in words and KEY not in line


def test_every_ability_that_draws_is_a_method() -> None:
    for name in abilities.drawing():
        assert hasattr(Pipeline, abilities.ABILITIES[name].function.__name__), name


def test_only_what_differs_is_said() -> None:
    spec = Spec("generate", {"prompt": "a red fox", "seed": 7, "n": 1, "negative_prompt": ""})
    told = commands(spec, Place("http://127.0.0.1:8000"))
    assert told["cli"] == "unclip generate 'a red fox' --seed 7"
    assert "pipe = unclip.load()\npictures = pipe.generate('a red fox', seed=7)\n" in told["python"]
    assert "finish" not in told["curl"] and told["files"] == {}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for the file."""
    with a_house(tmp_path_factory.mktemp("house"), device="cpu") as made:
        yield made


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    """With the first key."""
    with house.client() as made:
        yield made


def ask(client: httpx2.Client, ability: str, fields: Any, inputs: Any = None) -> dict[str, Any]:
    """A job that has ended."""
    body = {"ability": ability, "fields": fields, "inputs": inputs or {}}
    job = client.post("/v1/jobs", json=body).json()
    client.get(f"/v1/jobs/{job['id']}/events")
    done: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").json()
    return done


def test_a_jobs_and_a_pictures_commands(house: House, client: httpx2.Client) -> None:
    job = ask(client, "generate", {"prompt": "a fox", "n": 3, "seed": 5})
    whole = client.get(f"/v1/jobs/{job['id']}/commands").json()
    assert whole["cli"] == "unclip generate 'a fox' -n 3 --seed 5 --model tiny --device cpu"
    third = client.get(f"/v1/pictures/{job['pictures'][2]['id']}/commands").json()
    assert third["cli"] == "unclip generate 'a fox' --seed 7 --model tiny --device cpu"
    assert re.search(r"generate\('a fox', seed=7\)", third["python"])
    line = third["curl"].replace("$UNCLIP_API_KEY", KEY)
    url, *words = shlex.split(line)[1:]
    headers = dict(words[i + 1].split(": ") for i, one in enumerate(words) if one == "-H")
    reply = httpx2.post(url, content=words[words.index("-d") + 1].encode(), headers=headers)
    assert reply.status_code == 202 and reply.json()["fields"]["seed"] == 7


def test_files_that_it_begins_from_are_named(client: httpx2.Client) -> None:
    kind = {"content-type": "image/png"}
    id = client.post("/v1/pictures", content=png((8, 8)), headers=kind).json()["id"]
    job = ask(client, "vary", {"seed": 3}, {"image": id})
    told = client.get(f"/v1/pictures/{job['pictures'][0]['id']}/commands").json()
    assert told["cli"].startswith("unclip vary image.png -n 1 --seed 3")
    assert told["files"] == {"image.png": id}


def test_anothers_commands_are_as_if_they_were_not_there(client: httpx2.Client) -> None:
    job = ask(client, "generate", {"prompt": "a fox"})
    for path in (f"jobs/{job['id']}", f"pictures/{job['pictures'][0]['id']}"):
        assert client.get(f"/v1/{path}/commands", headers=STRANGER).status_code == 404

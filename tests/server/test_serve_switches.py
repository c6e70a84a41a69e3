"""What `unclip serve` is told on its command line reaches the engine, the worker and the files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_group

from unclip import Pipeline
from unclip.cli.app import make_app
from unclip.cli.serve import Serve
from unclip.errors import UsageError
from unclip.server import credentials
from unclip.server.options import ServeOptions
from unclip.server.run import engine_options

from .conftest import Talk, spec
from .house import a_house
from .test_worker import done


def options(*words: str) -> ServeOptions:
    """Of `unclip serve` with these words."""
    group = get_group(make_app())
    command = group.commands["serve"]
    context = command.make_context("serve", list(words))
    context.params.pop("as_json", None)
    return Serve(**context.params).options()


def test_each_switch_reaches_the_engine() -> None:
    asked = options("--hook", "a.b:c", "--hook", "d:e", "--workers", "2", "--most-workers", "5")
    made = engine_options(asked)
    assert (made.hooks, made.workers, made.most_workers) == (("a.b:c", "d:e"), 2, 5)
    assert made.c2pa is None


def test_workers_do_not_grow_unless_told() -> None:
    assert engine_options(options("--workers", "3")).most_workers == 3
    assert engine_options(options()).most_workers == 1


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--hook", "no_function"], "hooks"),
        (["--hook", ":check"], "hooks"),
        (["--workers", "0"], "workers"),
        (["--c2pa", "--c2pa-key", "key.pem"], "c2pa"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(words: list[str], field: str) -> None:
    with pytest.raises(UsageError, match=field.removesuffix("s")):
        options(*words)


@pytest.mark.parametrize(
    ("words", "record", "marked"),
    [([], True, True), (["--no-record"], False, True), (["--no-mark"], True, False)],
)
def test_one_place_says_what_files_tell_for_every_route(
    tmp_path: Path, words: list[str], record: bool, marked: bool
) -> None:
    asked = options(*words)
    with a_house(tmp_path, record=asked.record, marked=asked.marked) as house:
        with house.client() as client:
            body: dict[str, Any] = {"prompt": "a fox", "response_format": "b64_json"}
            assert client.post("/v1/images/generations", json=body).status_code == 200
            body = {"ability": "generate", "fields": {"prompt": "a fox"}, "finish": {"quality": 9}}
            job = client.post("/v1/jobs", json=body).json()
            assert client.get(f"/v1/jobs/{job['id']}/events").status_code == 200
        told = [job["spec"]["finish"] for job in house.worker.drawn]
        assert [(one["record"], one["marked"]) for one in told] == [(record, marked)] * 2
        assert [one["quality"] for one in told] == [95, 9]


def test_a_worker_that_is_told_signs_its_pictures(tmp_path: Path, pipe: Pipeline) -> None:
    c2pa = pytest.importorskip("c2pa")
    pems = credentials.signing_pems(options("--data", str(tmp_path), "--c2pa"))
    talk = Talk(lambda name: pipe, c2pa=pems)
    talk.until("ready")
    talk.draw(a=spec(), b=spec(seed=1))
    made = done(talk.until("idle"))
    talk.close()
    for one in made.values():
        (file,) = (base64.b64decode(picture["data"]) for picture in one["pictures"])
        reader = c2pa.Reader("image/png", io.BytesIO(file))
        assert reader.get_validation_state() == "Valid"


def test_a_worker_says_at_its_start_that_it_cannot_sign(tmp_path: Path, pipe: Pipeline) -> None:
    pytest.importorskip("c2pa")
    talk = Talk(lambda name: pipe, c2pa=["-----BEGIN nothing", ""])
    message = talk.until("broken")[-1]["message"]
    assert message.startswith("c2pa_key must be a private key")


def test_without_the_package_signing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'unclip\[c2pa\]'"):
        engine_options(options("--data", str(tmp_path), "--c2pa"))
    assert not list(tmp_path.iterdir())

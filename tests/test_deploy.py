"""The files of `deploy/`: what they start is understood, and what they name is there."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_group

from unclip.cli.app import make_app
from unclip.cli.serve import Serve
from unclip.server.options import ServeOptions

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["unclip"]
UNIT = (DEPLOY / "unclip.service").read_text()


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A file with a key."""
    made = tmp_path / "keys.txt"
    made.write_text("0123456789abcdef\n")
    return str(made)


def options(words: list[str]) -> ServeOptions:
    """Of a command that serves; raises where a server would refuse to start."""
    program, name, *given = words
    assert (Path(program).name, name) == ("unclip", "serve")
    context = get_group(make_app()).commands["serve"].make_context("serve", given)
    context.params.pop("as_json")
    return Serve(**context.params).options()


def entrypoint() -> list[str]:
    """Of the image."""
    found = re.search(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    assert found
    words: list[str] = json.loads(found[1])
    return words


def test_the_container_serves_with_a_key_at_an_address_that_clients_reach(keys: str) -> None:
    asked = [keys if one == "/run/secrets/keys" else one for one in SERVICE["command"]]
    asked = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", one) for one in asked]
    made = options([*entrypoint(), *asked])
    assert (made.host, len(made.keys), made.public_url) == ("0.0.0.0", 1, "http://127.0.0.1:8000")
    assert SERVICE["ports"] == [f"127.0.0.1:8000:{made.port}"]
    assert SERVICE["volumes"] == [f"data:{made.data}"]
    assert COMPOSE["secrets"].keys() == set(SERVICE["secrets"]) == {"keys"}


def test_the_image_alone_does_not_serve_without_a_key() -> None:
    with pytest.raises(ValueError, match="--api-key-file"):
        options(entrypoint())


def test_the_image_gets_what_it_copies_and_extras_that_there_are() -> None:
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)]
    names = [name for one in copied for name in one]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    assert {f"!{name}" for name in names} == {one for one in ignored if one.startswith("!")}
    assert all((ROOT / name).exists() for name in names)
    assert (DEPLOY / SERVICE["build"]["context"] / SERVICE["build"]["dockerfile"]).is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    given = dict(re.findall(r'^ARG (\w+)="(.*)"$', DOCKERFILE, re.MULTILINE))
    assert set(given["EXTRAS"].split(",")) <= project["optional-dependencies"].keys()
    assert set(SERVICE["build"]["args"]) == given.keys()


def test_the_unit_serves_with_its_credential_and_lets_workers_finish(keys: str) -> None:
    found = re.search(r"^ExecStart=(.+)$", UNIT, re.MULTILINE)
    assert found
    words = shlex.split(found[1].replace("%d/keys", keys).replace("%S", "/var/lib"))
    made = options(words)
    assert made.data == Path("/var/lib/unclip")
    assert (made.host, len(made.keys)) == ("127.0.0.1", 1)
    assert re.search(r"^StateDirectory=unclip$", UNIT, re.MULTILINE)
    assert re.search(r"^LoadCredential=keys:", UNIT, re.MULTILINE)
    assert re.search(r"^KillMode=mixed$", UNIT, re.MULTILINE)  # else its workers would be killed

"""The scripts of the API against `unclip serve`, with a model that draws 16 x 16 noise."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..clients.official import Server
from ..clients.servers import commanded

EXAMPLES = Path(__file__).parents[2] / "examples"
STANDS_IN = '''\
"""What openai 0.28.1 sends for Image.create, and what it gives, for where it is not installed."""
import json, os, urllib.request

class Image:
    def create(**fields):
        address = os.environ["OPENAI_API_BASE"] + "/images/generations"
        key = os.environ["OPENAI_API_KEY"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        asked = urllib.request.Request(address, json.dumps(fields).encode(), headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)
'''


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with commanded(tiny_model, tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture
def run(served: Server, tmp_path: Path) -> Callable[[str, str], str]:
    """Runs a script in an empty folder; the name of its base URL's variable differs."""

    def started(script: str, variable: str) -> str:
        told = {variable: f"{served.url}/v1", "OPENAI_API_KEY": served.key or ""}
        environment = {**os.environ, **told, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, str(EXAMPLES / script)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return started


def test_the_articles_script(
    run: Callable[[str, str], str], served: Server, tmp_path: Path
) -> None:
    """Its client is stood in for; tests/server/test_article.py has the true one."""
    (tmp_path / "openai.py").write_text(STANDS_IN)
    said = run("api_openai_028.py", "OPENAI_API_BASE")
    assert said.startswith(f"{served.url}/files/")
    with Image.open(tmp_path / "car.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (1024, 1024))


def test_todays_client(run: Callable[[str, str], str], tmp_path: Path) -> None:
    run("api_openai_2.py", "OPENAI_BASE_URL")
    with Image.open(tmp_path / "api.png") as strip:
        first, edited, one, other = np.split(np.asarray(strip.convert("RGB"), int), 4, axis=1)
    assert first.shape == (256, 256, 3)
    assert (edited[:128] == first[:128]).all() and (edited[128:] != first[128:]).any()
    assert (one != other).any()


def test_stable_diffusions_script(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """tests/parity/test_stable_diffusion.py runs it with a folder that diffusers wrote."""
    monkeypatch.chdir(tmp_path)
    script = str(EXAMPLES / "diffusers_local.py")
    monkeypatch.setattr(sys, "argv", [script, str(tiny_model), "a fox"])
    runpy.run_path(script, run_name="__main__")
    assert capsys.readouterr().out.endswith("drawn again it is the same\n")
    with Image.open("car.png") as picture:
        assert picture.size == (16, 16)

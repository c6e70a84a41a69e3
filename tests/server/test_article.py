"""The articles' example with the client of their time: openai 0.28.1, in a venv of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "api_openai_028.py"
MADE = ROOT / ".venv-clients" / "openai-0.28.1" / "bin" / "python"
"""Of `make clients`, where that has run."""
WANTED = ["openai==0.28.1", "pillow"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def old_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with openai 0.28.1."""
    if MADE.is_file() and (MADE.parents[1] / "done").read_text().split() == WANTED:
        return MADE
    folder = tmp_path_factory.mktemp("openai")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *WANTED], check=True)
    return python


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    """Of `unclip serve` with the bundled model."""
    command = [sys.executable, "-m", "unclip", "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/v1", said)
            assert found, said
            yield found[0]
        finally:
            process.terminate()
            assert process.wait(60) == 0


def test_it_draws_and_fetches_a_picture(old_client: Path, base: str, tmp_path: Path) -> None:
    told = {"OPENAI_API_BASE": base, "OPENAI_API_KEY": "none"}
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(old_client), str(EXAMPLE)]
    done = subprocess.run(
        command, env={**clean, **told}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(base.removesuffix("v1") + "files/")
    assert done.stdout.endswith("the picture, 1024x1024, is in car.png\n")
    with Image.open(tmp_path / "car.png") as picture:
        assert picture.format == "PNG" and picture.size == (1024, 1024)
        red, green, blue = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert red > green and red > blue, "it shows something red"

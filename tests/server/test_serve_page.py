"""docs/serve.md: its calls work as they stand, and its tests and metrics are there."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from .house import House, a_house

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
TEST = re.compile(r"`((?:tests/(?:\w+/)?)?test_\w+\.py)::(test_\w+)`")
METRIC = re.compile(r"`(unclip_\w+)`")
BASE = "http://127.0.0.1:8000"


def section(name: str) -> str:
    """From a heading to the next of its kind."""
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[one.strip() for one in line.split("|")[1:-1]] for line in lines][1:]


@cache
def functions(path: Path) -> set[str]:
    """The names of a file's functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}


def test_every_row_of_the_trust_table_names_tests_that_are_there() -> None:
    table = rows(section("Trust"))
    assert len(table) > 25
    for what, _, tests in table:
        named = TEST.findall(tests)
        assert named and re.sub(r"[, ]|\(nightly\)", "", TEST.sub("", tests)) == "", what
        for file, name in named:
            path = ROOT / file if "/" in file else Path(__file__).parent / file
            assert name in functions(path), f"{what}: {name}"


def test_files_that_are_named_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    code = re.findall(r"`((?:tests|examples)/[\w/.]+)(?:::\w+)?`", PAGE)
    code += re.findall(r"benchmarks/\w+\.py", PAGE)
    assert links and code
    for path in [*((ROOT / "docs" / one) for one in links), *((ROOT / one) for one in code)]:
        assert path.exists(), path


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server without keys, as the page starts it."""
    with a_house(tmp_path_factory.mktemp("house"), keys=()) as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the pictures that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    fox = Image.new("RGBA", (64, 64), "red")
    fox.save("fox.png")
    fox.paste((0, 0, 0, 0), (0, 0, 32, 64))
    fox.save("hole.png")
    fox.save("mask.png")
    return tmp_path


def test_metrics_are_those_of_the_server(house: House) -> None:
    with house.client() as client:
        text = client.get("/metrics").text
    told = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    own = {one for one in told if one.startswith("unclip_") and not one.endswith("_created")}
    assert set(METRIC.findall(section("Watching it"))) == own
    assert {"process_resident_memory_bytes", "process_open_fds"} <= told


@cache
def blocks() -> list[tuple[str, str]]:
    """(language, code) of what can be run here, without lines that start a server."""
    page = _reader().blocks(PAGE)
    return [(one.language, one.body) for one in page if not one.mark]


def _reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "scripts" / "readme.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme"] = module  # where dataclass looks its types up
    spec.loader.exec_module(module)
    return module


PYTHON = [code for language, code in blocks() if language == "python"]
CURL = [
    line for language, code in blocks() if language == "sh" for line in code.splitlines()
    if line.startswith("curl ")
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of `create_variation`
@pytest.mark.parametrize("code", PYTHON)
def test_python(code: str, house: House, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(code.replace(BASE, house.url), {})
    assert capsys.readouterr().out.count(f"{house.url}/files/") == 2


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.parametrize("line", CURL)
def test_curl(line: str, house: House, here: Path) -> None:
    command = line.replace("curl ", "curl -sS --fail-with-body ").replace(BASE, house.url)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error"' not in done.stdout and done.stdout.startswith("{")


def test_enough_is_run() -> None:
    assert len(PYTHON) >= 1 and len(CURL) >= 8

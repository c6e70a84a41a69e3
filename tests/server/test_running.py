"""The file that says which server runs on a data folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unclip.server import running
from unclip.server.running import FILE, address, announced, answers, find, has_page

from .house import House, a_house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for the file."""
    with a_house(tmp_path_factory.mktemp("house")) as made:
        yield made


def test_a_server_is_found_while_it_runs_and_no_longer(house: House, tmp_path: Path) -> None:
    assert find(tmp_path) is None
    with announced(tmp_path, house.url):
        assert find(tmp_path) == house.url
        told = json.loads((tmp_path / FILE).read_text())
        assert told == {"url": house.url, "pid": os.getpid()}
    assert find(tmp_path) is None and not (tmp_path / FILE).exists()


def test_what_a_killed_server_left_is_recognised(house: House, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    free = "http://127.0.0.1:9"
    for url, pid in ((house.url, int(gone.stdout)), (free, os.getpid())):
        (tmp_path / FILE).write_text(json.dumps({"url": url, "pid": pid}))
        assert find(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 9999, '{"url": 3, "pid": 1}', '{"url": "file:///etc/passwd", "pid": 1}',
     '{"url": "http://127.0.0.1:9", "pid": "1"}', '{"url": "http://127.0.0.1:9", "pid": -1}'],
)  # fmt: skip
def test_a_damaged_file_names_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert find(tmp_path) is None


def test_another_process_file_is_left_there(tmp_path: Path) -> None:
    with announced(tmp_path, "http://127.0.0.1:1"):
        (tmp_path / FILE).write_text('{"url": "http://127.0.0.1:2", "pid": 1}')
    assert (tmp_path / FILE).exists()


def test_what_is_no_server_of_this_package_does_not_answer(house: House) -> None:
    assert answers(house.url) and not answers(f"{house.url}/v1") and not answers("nothing")
    assert not has_page("http://127.0.0.1:9")


def test_a_server_everywhere_is_reached_here() -> None:
    assert address("0.0.0.0", 8000) == "http://127.0.0.1:8000"
    assert address("::", 80, "/draw") == "http://[::1]:80/draw"
    assert running.PATIENCE <= 5

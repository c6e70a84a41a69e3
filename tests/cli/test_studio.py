"""`unclip studio`: which server it joins or starts, and when it opens a browser."""

from __future__ import annotations

import json
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unclip.cli import studio
from unclip.server import routes_page, run, running
from unclip.server.options import ServeOptions

Run = Callable[..., Any]
HERE = "http://127.0.0.1:8123"


class Served:
    """What a server was asked to be, in place of running."""

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self.options: list[ServeOptions] = []

    def __call__(self, options: ServeOptions, ready: Callable[[str], None]) -> int:
        self.options.append(options)
        if options.port in self.taken:
            raise run.PortError(f"port {options.port} is in use").about("port")
        url = running.address(options.host, options.port)
        with running.announced(options.data, url):
            ready(f"serving tiny at {url}/v1")
        return 0


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Served:
    """No server runs, and the page is built."""
    made, page = Served(), tmp_path / "web"
    page.mkdir()
    (page / "index.html").write_text("<html>")
    monkeypatch.setattr(routes_page, "FOLDER", page)
    monkeypatch.setattr(run, "serve", made)
    monkeypatch.setattr(running, "answers", lambda url: False)
    monkeypatch.setattr(running, "has_page", lambda url: True)
    return made


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pages that a browser was asked to show."""
    pages: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", pages.append)
    return pages


def ended() -> None:
    """Wait for whoever opens the browser."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and "_open" in thread.name:
            thread.join(5)


def test_it_starts_a_server_and_opens_its_page(
    unclip: Run, served: Served, opened: list[str]
) -> None:
    result = unclip("studio", "--data", "kept", "--device", "cpu", "--model", "mine")
    ended()
    assert result.code == 0 and "the studio is at http://127.0.0.1:8000/" in result.out
    assert opened == ["http://127.0.0.1:8000/"]
    (options,) = served.options
    assert (options.data, options.device, options.models) == (Path("kept"), "cpu", ("mine",))


def test_the_next_free_port_is_taken_unless_one_is_asked_for(
    unclip: Run, served: Served, opened: list[str]
) -> None:
    served.taken = {8000, 8001}
    assert unclip("studio", "--data", "kept").code == 0
    ended()
    assert opened == ["http://127.0.0.1:8002/"]
    unclip("studio", "--data", "kept", "--port", 8001).fails(1, "8001")
    served.taken = set(range(8000, 8020))
    unclip("studio", "--data", "kept").fails(1, "in use")
    assert len(opened) == 1


def test_a_running_server_is_joined_by_its_folder_or_its_address(
    unclip: Run, served: Served, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "answers", lambda url: url == HERE)
    with running.announced(Path("kept").absolute(), HERE):
        assert f"{HERE}/" in unclip("studio", "--data", "kept").out
    unclip("studio", "--url", f"{HERE}/v1/")
    assert opened == [f"{HERE}/"] * 2 and not served.options
    unclip("studio", "--url", "http://127.0.0.1:9").fails(2, "127.0.0.1:9", "unclip serve")


@pytest.mark.parametrize(
    "given",
    [
        ("--model", "mine"),
        ("--host", "localhost"),
        ("--port", "9000"),
        ("--api-key-file", "keys.txt"),
        ("--device", "cpu"),
        ("--dtype", "float32"),
    ],
    ids=lambda given: given[0],
)
def test_a_running_server_takes_no_options_of_a_new_one(
    given: tuple[str, str],
    unclip: Run,
    served: Served,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("keys.txt").write_text("sk-0123456789abcdef\n")
    monkeypatch.setattr(running, "answers", lambda url: url == HERE)
    with running.announced(Path("kept").absolute(), HERE):
        unclip("studio", "--data", "kept", *given).fails(2, HERE, given[0])
    unclip("studio", "--url", HERE, *given).fails(2, HERE, given[0])
    assert opened == [] and not served.options


def test_a_running_server_is_joined_whatever_is_usual(
    unclip: Run, served: Served, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "answers", lambda url: url == HERE)
    for name in ("UNCLIP_STUDIO_DEVICE", "UNCLIP_DEVICE"):
        monkeypatch.setenv(name, "cpu")
    assert unclip("studio", "--url", HERE).code == 0 and opened == [f"{HERE}/"]
    unclip("studio", "--url", HERE, "--data", "kept").fails(2, HERE, "--data")


def test_a_stale_file_is_passed_over(unclip: Run, served: Served, opened: list[str]) -> None:
    Path("kept").mkdir()
    Path("kept", running.FILE).write_text(json.dumps({"url": HERE, "pid": 1}))
    assert unclip("studio", "--data", "kept").code == 0
    ended()
    assert len(served.options) == 1 and opened == ["http://127.0.0.1:8000/"]


@pytest.mark.parametrize("how", ["--no-open", "no display"])
def test_without_a_browser_the_address_is_printed(
    how: str, unclip: Run, served: Served, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        if how == "no display":
            monkeypatch.delenv(name, raising=False)
    more = [how] if how.startswith("--") else []
    result = unclip("studio", "--data", "kept", *more)
    ended()
    assert "the studio is at http://127.0.0.1:8000/" in result.out and opened == []


def test_others_are_not_let_in_without_a_key(unclip: Run, served: Served) -> None:
    unclip("studio", "--host", "0.0.0.0").fails(2, "--api-key-file")


def test_without_a_page_it_says_so(
    unclip: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_page, "FOLDER", Path("none"))
    unclip("studio", "--data", "kept").fails(2, "no page")
    monkeypatch.setattr(running, "answers", lambda url: True)
    monkeypatch.setattr(running, "has_page", lambda url: False)
    unclip("studio", "--url", HERE).fails(2, "no page")

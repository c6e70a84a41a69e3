"""`--preview` and `--open`: what is seen of pictures, while they are drawn and after."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.cli import _preview, _progress
from unclip.cli._graphics import Box
from unclip.cli._preview import Screen, viewer
from unclip.media import save

RunCli = Callable[..., Any]


def test_a_file_is_rewritten_and_the_picture_is_the_same(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def note(picture: Image.Image, path: Path | str, new: bool = False) -> None:
        save(picture, path, new)
        if Path(path).name == "look.png":
            with Image.open(path) as whole:  # at any time
                seen.append(whole.size)

    monkeypatch.setattr("unclip.media.writing.save", note)
    monkeypatch.setattr("unclip.abilities._preview.FIRST", 0.0)
    words = ("generate", "a fox", "-n", 2, "--seed", 3, "--model", model)
    assert unclip(*words, "-o", "plain/").code == 0
    done = unclip(*words, "-o", "seen/", "--preview", "look.png")
    assert done.code == 0, done.err
    assert seen and set(seen) == {(16 + 4 + 16, 16)}, "two of the model's 16 x 16, side by side"
    for name in os.listdir("plain"):
        assert Path("plain", name).read_bytes() == Path("seen", name).read_bytes()
    assert sorted(os.listdir()) == ["look.png", "plain", "seen"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--preview", "look.xyz"], "cannot write '.xyz' pictures"),
        (
            ["--preview", "look"],
            "--preview must be a .png, .webp or .jpg file, or terminal, blocks",
        ),
        (["--open", "-o", "-"], "--open needs a file to open"),
        (
            ["--preview", "../here/a.png", "-o", "./a.png"],
            "--preview and -o are both ./a.png: give two different files",
        ),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_what_cannot_be_shown_is_refused_before_any_work(
    words: list[str], part: str, unclip: RunCli
) -> None:
    unclip("generate", "a fox", *words).fails(2, part)
    assert os.listdir() == []


def test_off_a_terminal_nothing_is_drawn_into_the_log(unclip: RunCli, model: Path) -> None:
    for where in ("terminal", "kitty", "off"):
        done = unclip("generate", "a fox", "--preview", where, "--model", model)
        assert done.code == 0
        assert "\x1b" not in done.out + done.err
        assert ("no terminal that shows pictures" in done.err) == (where != "off")


class Terminal(io.StringIO):
    """Something that says it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_pictures_stand_above_the_bars_and_the_cursor_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A terminal of a few rows, played through: where each picture is drawn."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = Screen(lambda picture, box: "<picture>", 24, 80)
    with _progress.stage_progress(alone=False, above=screen) as update:
        for done in (1, 2):
            update("prior", done, 2)
            screen([Image.new("RGB", (8, 8))])
        update("decoder", 1, 2)
        screen([Image.new("RGB", (8, 8))])
    text = sys.stderr.getvalue()
    row, saved, drawn = 0, 0, []
    for word in re.findall(r"\x1b7|\x1b8|\x1b\[\d*A|\n|<picture>", text):
        if word == "\n":
            row += 1
        elif word == "\x1b7":
            saved = row
        elif word == "\x1b8":
            row = saved
        elif word == "<picture>":
            drawn.append(row)
        else:
            row -= int(word[2:-1] or 1)
    assert drawn == [0, 0, 0]


def test_a_small_terminal_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.setenv("LINES", "8")
    assert _preview.preview_to(None) is None
    monkeypatch.setenv("LINES", "24")
    monkeypatch.delenv("TMUX", raising=False)
    shown = _preview.preview_to(None)
    assert isinstance(shown, Screen)
    assert isinstance(shown._box, Box)
    monkeypatch.setattr(_progress, "quiet", _progress.quiet)
    token = _progress.quiet.set(True)
    try:
        assert _preview.preview_to("kitty") is None
    finally:
        _progress.quiet.reset(token)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What would be run, on a screen with xdg-open."""
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda words, **_: calls.append(words))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WSL_DISTRO_NAME", raising=False)
    monkeypatch.setattr("shutil.which", {"xdg-open": "/bin/xdg-open"}.get)
    return calls


def test_the_result_is_opened(unclip: RunCli, model: Path, opened: list[list[str]]) -> None:
    here = Path.cwd()
    for output, path in (("x.png", here / "x.png"), ("many/", here / "many")):
        words = ("a fox", "-n", 2, "--model", model, "--open", "-o", output)
        assert unclip("generate", *words).code == 0
        assert opened.pop() == ["/bin/xdg-open", str(path)]
    unclip("generate", "a fox", "--steps", 0, "--model", model, "--open").fails(2, "steps")
    assert opened == []


def test_without_a_viewer_a_line_says_so(
    unclip: RunCli, model: Path, opened: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = unclip("generate", "a fox", "-o", "x.png", "--model", model, "--open", "--json")
    assert (done.code, opened, Path("x.png").is_file()) == (0, [], True)
    (warning,) = json.loads(done.out)["warnings"]
    assert warning.startswith("cannot open x.png: there is no screen here, or no xdg-open")


def test_each_system_has_its_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name != "xdg-open" else None)
    monkeypatch.setattr(_preview.sys, "platform", "darwin")
    assert viewer() == ["open"]
    monkeypatch.setattr(_preview.sys, "platform", "linux")
    assert viewer() is None
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert viewer() == ["/bin/gio", "open"]
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")
    assert viewer() == ["/bin/wslview"]

"""Pictures in a terminal: what is written is what the terminal would show."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from unclip.cli import _graphics
from unclip.cli._graphics import (
    Box,
    blocks,
    chosen,
    colour_cube,
    iterm,
    kitty,
    named_by,
    sixel,
    truecolor,
)


@pytest.fixture
def picture() -> Image.Image:
    """Four flat colours, wider than high."""
    made = Image.new("RGB", (60, 30), (255, 0, 0))
    draw = ImageDraw.Draw(made)
    draw.rectangle((30, 0, 59, 14), (0, 255, 0))
    draw.rectangle((0, 15, 29, 29), (0, 0, 255))
    draw.rectangle((30, 15, 59, 29), (255, 255, 255))
    return made


def opened(data: bytes) -> Image.Image:
    """A PNG."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_a_box_fits_and_keeps_the_sides_in_proportion(picture: Image.Image) -> None:
    assert Box(16, 200, (20, 10)).around(picture) == Box(16, 64, (20, 10))
    assert Box(16, 20, (20, 10)).around(picture) == Box(5, 20, (20, 10))
    assert Box(2, 2).around(Image.new("RGB", (1000, 1))).rows == 1


def test_kitty(picture: Image.Image) -> None:
    """In chunks of at most 4096, the last of which says so; nothing asks for an answer."""
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    for one, box in ((picture, Box(3, 12)), (Image.fromarray(noise), Box(8, 16))):
        parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text := kitty(one, box))
        assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) == text
        assert all(len(data) <= 4096 for _, data in parts)
        more = [dict(pair.split("=") for pair in keys.split(","))["m"] for keys, _ in parts]
        assert more == ["1"] * (len(parts) - 1) + ["0"]
        first = dict(pair.split("=") for pair in parts[0][0].split(","))
        assert first.items() >= {"a": "T", "f": "100", "C": "1", "q": "2"}.items()
        assert (first["r"], first["c"]) == (str(box.rows), str(box.columns))
        sent = opened(base64.b64decode("".join(data for _, data in parts)))
        assert sent.tobytes() == box.pixels(one).tobytes()
    assert len(parts) > 1


def test_iterm(picture: Image.Image) -> None:
    box = Box(3, 12)
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;([^:]*):([^:]*)\a", iterm(picture, box))
    assert found is not None
    head, data = found.groups()
    assert "width=12;height=3" in head
    assert opened(base64.b64decode(data)).tobytes() == box.pixels(picture).tobytes()


def unsixel(text: str) -> NDArray[np.uint8]:
    """(H, W, 3): what a terminal shows, by DEC's rules."""
    head, body = re.match(r'\x1bP0;1q"1;1;(\d+;\d+)(.*)\x1b\\$', text, re.DOTALL).groups()  # type: ignore[union-attr]
    width, height = map(int, head.split(";"))
    shown = np.zeros((height + 6, width, 3), np.uint8)
    palette: dict[int, tuple[int, ...]] = {}
    x = y = colour = 0
    word = re.compile(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)(.)|([?-~])|([$-])", re.DOTALL)
    for number, red, green, blue, count, repeated, one, move in word.findall(body):
        if number:
            colour = int(number)
            if red:
                palette[colour] = tuple(round(int(c) * 255 / 100) for c in (red, green, blue))
        elif move:
            x, y = 0, y + 6 * (move == "-")
        else:
            for _ in range(int(count or 1)):
                for bit in range(6):
                    if (ord(repeated or one) - 63) >> bit & 1:
                        shown[y + bit, x] = palette[colour]
                x += 1
        assert x <= width
    return shown[:height]


def test_sixel(picture: Image.Image) -> None:
    box = Box(3, 12)
    shown = unsixel(sixel(picture, box))
    assert np.abs(shown.astype(int) - np.asarray(box.pixels(picture)).astype(int)).max() <= 3
    small = Box(1, 2, (7, 5))  # no multiple of six
    assert unsixel(sixel(picture, small)).shape == (7, 10, 3)


def test_half_blocks(picture: Image.Image) -> None:
    box = Box(3, 12)
    text = blocks(truecolor)(picture, box)
    rows = text.split("\r\x1b[1B")
    cell = r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀"
    cells = [[tuple(map(int, one)) for one in re.findall(cell, row)] for row in rows]
    assert re.sub(cell, "", "".join(rows)) == "\x1b[0m" * 3
    shown = np.asarray(cells, np.uint8).reshape(3, 12, 2, 3).transpose(0, 2, 1, 3)
    assert np.array_equal(shown.reshape(6, 12, 3), np.asarray(picture.resize((12, 6))))
    assert [colour_cube(*one) for one in ((255, 0, 0), (0, 0, 255), (255, 255, 255))] == [
        "5;196", "5;21", "5;231",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, ""),
        ({"TERM_PROGRAM": "Apple_Terminal"}, ""),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, ""),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, ""),
        ({}, ""),
    ],
)
def test_terminals_are_known_by_their_variables(environment: dict[str, str], name: str) -> None:
    assert named_by(environment) == name


class Terminal(io.StringIO):
    """Something that says it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("wanted", ["auto", "terminal", "blocks", "kitty", "iterm", "sixel"])
@pytest.mark.parametrize("term", ["xterm-kitty", "dumb"])
def test_nothing_is_drawn_where_no_terminal_is(
    wanted: str, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", io.StringIO() if term != "dumb" else Terminal())
    assert chosen(wanted) is None


def test_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being asked, only terminals that say what they can get anything."""
    for name in ("TMUX", "STY", "KITTY_WINDOW_ID", "TERM_PROGRAM", "LC_TERMINAL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    answer = False
    monkeypatch.setattr(_graphics, "answers_sixel", lambda: answer)
    assert chosen("auto") is None
    assert chosen("sixel") is sixel
    drawn = chosen("terminal")
    assert drawn is not None
    assert "▀" in drawn(Image.new("RGB", (2, 2)), Box(1, 2))
    answer = True
    assert chosen("terminal") is sixel
    monkeypatch.setenv("TERM", "xterm-kitty")
    assert chosen("auto") is kitty is chosen("terminal")


@pytest.mark.parametrize(
    ("colorterm", "colours"), [("", "38;5;196"), ("truecolor", "38;2;255;0;0")]
)
@pytest.mark.parametrize("term", ["xterm", "xterm-256color"])
def test_a_terminal_that_names_no_colours_has_256(
    term: str, colorterm: str, colours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMUX", "STY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLORTERM", colorterm)
    drawn = chosen("blocks")
    assert drawn is not None
    assert colours in drawn(Image.new("RGB", (2, 2), "red"), Box(1, 2))


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """A terminal's two ends."""
    pty = pytest.importorskip("pty")
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(
    ("answer", "attributes"), [("\x1b[?62;4;22c", ["62", "4", "22"]), ("\x1b[?1;2c", ["1", "2"])]
)
def test_a_terminal_is_asked(answer: str, attributes: list[str], pair: tuple[int, int]) -> None:
    outer, inner = pair
    asked: list[bytes] = []

    def reply() -> None:
        asked.append(os.read(outer, 16))
        os.write(outer, answer.encode())

    thread = threading.Thread(target=reply)
    thread.start()
    found = _graphics._attributes(_graphics._asked(inner, "\x1b[c", 30.0))
    thread.join()
    assert (found, asked) == (attributes, [b"\x1b[c"])


def test_a_terminal_that_does_not_answer_is_not_waited_for(pair: tuple[int, int]) -> None:
    import termios

    before, began = termios.tcgetattr(pair[1]), time.monotonic()
    assert _graphics._asked(pair[1], "\x1b[c", 0.05) == ""
    assert time.monotonic() - began < 20
    assert termios.tcgetattr(pair[1]) == before

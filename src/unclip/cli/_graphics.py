"""Pictures in a terminal: which way it shows them, and what is to be written for that.

kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol
iterm: https://iterm2.com/documentation-images.html
sixel: https://vt100.net/docs/vt3xx-gp/chapter14.html
blocks: a letter is the upper half of its cell, the background the lower one
"""

from __future__ import annotations

import base64
import io
import os
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

ESCAPE = "\x1b"
ANSWER = 0.2
"""Seconds that a terminal has to answer."""

CELL = (20, 10)
"""(height, width) of a letter in pixels, where the terminal does not tell."""

COLOURS = 64
"""Of a sixel picture."""


@dataclass(frozen=True)
class Box:
    """A picture's place: rows and columns of letters, and how large a letter is."""

    rows: int
    columns: int
    cell: tuple[int, int] = CELL

    def around(self, picture: Image) -> Box:
        """The part of it that the picture fills, its sides in proportion."""
        height, width = self.cell
        scale = min(self.rows * height / picture.height, self.columns * width / picture.width)
        rows = max(1, int(picture.height * scale / height + 0.01))
        columns = max(1, int(picture.width * scale / width + 0.01))
        return Box(rows, columns, self.cell)

    def pixels(self, picture: Image) -> Image:
        """The picture at the size of the box."""
        height, width = self.cell
        return picture.resize((self.columns * width, self.rows * height)).convert("RGB")


def kitty(picture: Image, box: Box) -> str:
    """One picture, which each call replaces; the cursor stays, the terminal does not answer."""
    head = f"a=T,f=100,i=6174,p=1,q=2,C=1,c={box.columns},r={box.rows}"
    data = base64.standard_b64encode(_png(box.pixels(picture))).decode()
    parts = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    lines = []
    for number, part in enumerate(parts, start=1):
        keys = f"{head}," if number == 1 else ""
        lines.append(f"{ESCAPE}_G{keys}m={int(number < len(parts))};{part}{ESCAPE}\\")
    return "".join(lines)


def iterm(picture: Image, box: Box) -> str:
    """iTerm2's inline picture."""
    data = base64.standard_b64encode(_png(box.pixels(picture))).decode()
    size = f"width={box.columns};height={box.rows};preserveAspectRatio=1"
    return f"{ESCAPE}]1337;File=inline=1;{size};doNotMoveCursor=1:{data}\a"


def sixel(picture: Image, box: Box) -> str:
    """Bands of six rows; in each, every colour's pixels."""
    import numpy

    paletted = box.pixels(picture).quantize(COLOURS)
    palette = numpy.asarray(paletted.getpalette() or [], numpy.int64).reshape(-1, 3) * 100 // 255
    index = numpy.asarray(paletted)  # (H, W)
    height, width = index.shape
    head = f'{ESCAPE}P0;1q"1;1;{width};{height}'
    colours = "".join(f"#{n};2;{r};{g};{b}" for n, (r, g, b) in enumerate(palette))
    bands = []
    for top in range(0, height, 6):
        band = index[top : top + 6]
        bits = 1 << numpy.arange(len(band))[:, None]
        lines = [
            f"#{colour}{_runs(((band == colour) * bits).sum(0) + 63)}"
            for colour in numpy.unique(band)
        ]
        bands.append("$".join(lines))
    return f"{head}{colours}{'-'.join(bands)}{ESCAPE}\\"


def _runs(codes: NDArray[np.integer[Any]]) -> str:
    """(W,) letters by their codes; runs of more than three are shortened."""
    text = codes.astype("uint8").tobytes().decode("ascii")
    return re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", text)


def blocks(colour: Callable[[int, int, int], str]) -> Callable[[Image, Box], str]:
    """Half blocks, two pixels a letter.

    Args:
        colour: the numbers of a terminal's colour, after 38 or 48.
    """

    def draw(picture: Image, box: Box) -> str:
        small = picture.convert("RGB").resize((box.columns, 2 * box.rows))
        rows = []
        for row in range(box.rows):
            pairs = (
                (small.getpixel((x, 2 * row)), small.getpixel((x, 2 * row + 1)))
                for x in range(box.columns)
            )
            cells = (
                f"{ESCAPE}[38;{colour(*up)};48;{colour(*down)}m▀"  # type: ignore[misc]
                for up, down in pairs
            )
            rows.append("".join(cells) + f"{ESCAPE}[0m")
        return f"\r{ESCAPE}[1B".join(rows)

    return draw


def truecolor(red: int, green: int, blue: int) -> str:
    """24 bits."""
    return f"2;{red};{green};{blue}"


def colour_cube(red: int, green: int, blue: int) -> str:
    """The nearest of 6 x 6 x 6."""
    r, g, b = (round(one / 51) for one in (red, green, blue))
    return f"5;{16 + 36 * r + 6 * g + b}"


def _png(picture: Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG", compress_level=1)
    return data.getvalue()


Draw = Callable[["Image", Box], str]
GRAPHICS: dict[str, Draw] = {"kitty": kitty, "iterm": iterm, "sixel": sixel}


def named_by(environment: Mapping[str, str]) -> str:
    """The graphics of a terminal that its variables name; empty where they name none.

    tmux and screen keep such pictures to themselves.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or "STY" in environment or term.startswith(("tmux", "screen")):
        return ""
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "sixel" if term.partition("-")[0] in ("foot", "mlterm") else ""


def answers_sixel(seconds: float = ANSWER) -> bool:
    """Whether the terminal says that it shows sixels: primary device attributes, 4 among them."""
    try:
        with open("/dev/tty", "r+b", buffering=0) as terminal:
            return "4" in _attributes(_asked(terminal.fileno(), f"{ESCAPE}[c", seconds))
    except (ImportError, OSError):  # no terminal, or none of this system's kind
        return False


def _attributes(answer: str) -> list[str]:
    found = re.search(r"\x1b\[\?([\d;]*)c", answer)
    return found[1].split(";") if found else []


def _asked(terminal: int, question: str, seconds: float) -> str:
    """What a terminal answers, read without echo and without waiting for longer."""
    import select
    import termios
    import tty

    before, answer, until = termios.tcgetattr(terminal), b"", time.monotonic() + seconds
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)
        os.write(terminal, question.encode())
        while not answer.endswith(b"c") and (left := until - time.monotonic()) > 0:
            if select.select([terminal], [], [], left)[0]:
                answer += os.read(terminal, 256)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    return answer.decode(errors="replace")


def chosen(wanted: str) -> Draw | None:
    """How pictures are drawn on this terminal, stderr.

    Args:
        wanted: `auto` for what its variables name; `terminal` for the best that it can, which it is
            asked, and half blocks elsewhere; else a name.

    Returns:
        None where it shows none.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return None
    if wanted in GRAPHICS:
        return GRAPHICS[wanted]
    name = named_by(os.environ) if wanted != "blocks" else ""
    if not name and wanted == "terminal" and "TMUX" not in os.environ and answers_sixel():
        name = "sixel"
    if name or wanted == "auto":
        return GRAPHICS.get(name)
    return _blocks()


def _blocks() -> Draw | None:
    from ._terminal import console

    # any terminal of today has 256 colours, whether or not its name says so, as 'xterm' does not
    kinds = {"truecolor": truecolor, "256": colour_cube, "standard": colour_cube}
    colour = kinds.get(console(stderr=True).color_system or "")
    utf = "utf" in (getattr(sys.stderr, "encoding", "") or "").lower()
    return blocks(colour) if colour and utf else None


def cell_size() -> tuple[int, int]:
    """(height, width) of a letter in pixels."""
    try:
        import fcntl
        import termios

        answer = fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError, ValueError):
        return CELL
    rows, columns, width, height = struct.unpack("HHHH", answer)
    return (height // rows, width // columns) if width and height else CELL


def names() -> Iterator[str]:
    """What may be asked for."""
    yield from ("terminal", "blocks", *GRAPHICS)

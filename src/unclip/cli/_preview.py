"""`--preview` and `--open`: seeing pictures while they are drawn, and when they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ._graphics import ESCAPE, Box, Draw, cell_size, chosen, names
from ._output import check_writable
from ._progress import quiet
from ._terminal import complain

if TYPE_CHECKING:
    from PIL.Image import Image

    Show = Callable[[Sequence[Image]], None]

AUTO, OFF = "auto", "off"
ROWS = 16
"""Of a terminal that previews take, at most."""


class Screen:
    """A place for pictures in a terminal, above what is written next and `below` lines of it."""

    def __init__(self, draw: Draw, lines: int, columns: int) -> None:
        self._draw, self._box = draw, Box(min(ROWS, lines - 6), columns - 1, cell_size())
        self._stream = sys.stderr  # that of now: bars put another in its place
        self.below = 1

    def open(self) -> None:
        """Make the place, empty."""
        self._write("\n" * self._box.rows)

    def __call__(self, pictures: Sequence[Image]) -> None:
        """Show them, in a grid; the cursor stays where it is."""
        from ..media.grid import make_grid

        sheet = make_grid(pictures) if len(pictures) > 1 else pictures[0]
        up = self._box.rows + self.below - 1
        drawn = self._draw(sheet, self._box.around(sheet))
        self._write(f"{ESCAPE}7{ESCAPE}[{up}A\r{drawn}{ESCAPE}8")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def preview_to(where: str | None) -> Show | None:
    """What shows previews; None where nothing does.

    Args:
        where: a file; `off`; one of `names()`; or None, for terminals that are known to show
            pictures.

    Raises:
        UsageError: it is none of these, or the suffix is of no format that is written here.
        OutputError: the file cannot be written.
    """
    wanted = where or AUTO
    if wanted == OFF:
        return None
    if wanted in (AUTO, *names()):
        size = shutil.get_terminal_size()
        draw = None if quiet.get() or size.lines < 12 else chosen(wanted)
        if draw is None and wanted != AUTO:
            complain("this is no terminal that shows pictures; --preview FILE writes them", "")
        return draw and Screen(draw, size.lines, size.columns)
    check_preview(wanted)
    return _file(Path(wanted).expanduser())


def check_preview(where: str) -> None:
    """Raise UsageError for what is neither a way to show pictures nor a picture's file."""
    from ..media.writing import format_of

    modes, path = (*names(), OFF), Path(where).expanduser()
    if where in modes:
        return
    if not path.suffix:
        every = ", ".join(modes)
        raise UsageError(f"--preview must be a .png, .webp or .jpg file, or {every}; got '{where}'")
    format_of(path)


def _file(path: Path) -> Show:
    """What writes previews into a file, whole at any time."""
    from ..media.grid import make_grid
    from ..media.writing import save

    check_writable(path)

    def show(pictures: Sequence[Image]) -> None:
        save(make_grid(pictures) if len(pictures) > 1 else pictures[0], path)

    return show


def open_file(path: Path) -> None:
    """Show a file or a folder with the system's viewer; a warning where there is none."""
    command = viewer()
    if command is None:
        complain(
            f"cannot open {path}: there is no screen here, or no xdg-open (package xdg-utils)",
            "warning",
        )
        return
    try:
        if sys.platform == "win32":
            os.startfile(path)
        else:
            nowhere = subprocess.DEVNULL
            subprocess.Popen(
                [*command, str(path.absolute())],
                stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        complain(f"cannot open {path}: {error.strerror or error}", "warning")


def viewer() -> list[str] | None:
    """The command that opens files; None where there is none, or nothing to see them on."""
    if sys.platform == "darwin":
        return ["open"]
    if sys.platform == "win32":
        return []
    if "WSL_DISTRO_NAME" in os.environ and (wsl := shutil.which("wslview")):
        return [wsl]
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return None
    for name, *words in (("xdg-open",), ("gio", "open")):
        if found := shutil.which(name):
            return [found, *words]
    return None

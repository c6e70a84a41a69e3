"""How far long work is: bars on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Timer
from typing import TYPE_CHECKING

from ._terminal import complain, console, duration, size

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from ..types import OnStep, Step

Tell = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is, and how much there is in all."""

FIRST = 5.0
"""Seconds before the first line: what is done by then says nothing."""

OFTEN, SELDOM = 10.0, 60.0
"""Seconds between two lines, at first and at last."""

quiet: ContextVar[bool] = ContextVar("quiet", default=False)
"""Whether progress is not wanted, as `unclip --quiet` has it."""


class Lines:
    """Progress for a log: 'decoder 12/50, 8 s left'.

    The first line comes after `FIRST` seconds, the next after `OFTEN`, and later ones after a tenth
    of the time so far, at least every `SELDOM` seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None] = lambda line: complain(line, ""),
        clock: Callable[[], float] = time.monotonic,
        words: Callable[[float], str] = lambda count: f"{count:.0f}",
    ) -> None:
        self._write, self._clock, self._words = write, clock, words
        self._began = clock()
        self._due = self._began + FIRST
        self._since: dict[str, tuple[float, int]] = {}  # what -> (when it began, what was done)
        self._last: dict[str, int] = {}  # what -> done

    def tell(self, what: str, done: int, total: int) -> None:
        """Write a line where it is time for one."""
        now = self._clock()
        if done < self._last.get(what, done + 1):  # it begins, or begins again
            self._since[what] = (now, done)
        (start, before), self._last[what] = self._since[what], done
        if now < self._due:
            return
        self._due = now + min(SELDOM, max(OFTEN, (now - self._began) / 10))
        left = (now - start) / (done - before) * (total - done) if done > before else 0.0
        line = f"{what} {self._words(done)}/{self._words(total)}"
        self._write(f"{line}, {_rounded(left)} left" if left > 0 else line)


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 99.5 else duration(seconds)


@contextmanager
def _told(lines: Callable[[], Lines], bars: Callable[[], Progress], alone: bool) -> Iterator[Tell]:
    """Lines or bars, whichever fits to where stderr goes, or neither.

    Args:
        alone: show the bar of what was told last, and no other.
    """
    if quiet.get():
        yield lambda what, done, total: None
    elif not (sys.stderr and sys.stderr.isatty()):
        yield lines().tell
    else:
        known: dict[str, TaskID] = {}
        with bars() as drawn:

            def tell(what: str, done: int, total: int) -> None:
                if what not in known:
                    known[what] = drawn.add_task(what, total=total)
                for name, bar in known.items() if alone else ():
                    drawn.update(bar, visible=name == what)
                drawn.update(known[what], completed=done, total=total)

            yield tell


def _bars(*columns: ProgressColumn) -> Progress:
    from rich import progress

    counted = (progress.MofNCompleteColumn(), progress.TimeElapsedColumn())
    return progress.Progress(
        progress.TextColumn("{task.description:>12}"),
        progress.BarColumn(),
        *(columns or counted),
        console=console(stderr=True),
        transient=True,
    )


def _byte_bars() -> Progress:
    from rich import progress

    return _bars(
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )


@contextmanager
def sampling_progress() -> Iterator[OnStep]:
    """How far each stage is while pictures are drawn; yields an `on_step`."""
    with _told(Lines, _bars, alone=False) as tell:
        known: dict[str, tuple[int, int]] = {}  # stage -> (steps done, steps announced)

        def on_step(step: Step) -> None:
            done, total = known.get(step.stage, (0, 0))
            if step.index == 1:  # a new batch, or another stage of the same kind
                total += step.total
            known[step.stage] = (done + 1, total)
            tell(step.stage, done + 1, total)

        yield on_step


@contextmanager
def stage_progress() -> Iterator[Tell]:
    """How far each of several things is that are done one after the other."""
    with _told(Lines, _bars, alone=True) as tell:
        yield tell


@contextmanager
def counting_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """How far one thing is; yields a function of (done, in all)."""
    with stage_progress() as tell:
        yield lambda done, total: tell(what, done, total)


@contextmanager
def byte_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """The same in bytes, with speed and time left."""
    with _told(lambda: Lines(words=size), _byte_bars, alone=True) as tell:
        yield lambda done, total: tell(what, done, total)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """One line where something that cannot be counted takes longer than `FIRST` seconds."""
    if quiet.get():
        yield
        return
    late = Timer(FIRST, complain, (f"{what} ...", ""))
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()

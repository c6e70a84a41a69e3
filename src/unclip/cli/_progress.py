"""How far long work is: bars on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING, Protocol

from ._terminal import complain, console, duration, size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..cost import Cost
    from ..types import Step

Update = Callable[[str, int, int], None]
"""Takes what is done, how much of it is, and how much there is in all."""

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

    def update(self, what: str, done: int, total: int) -> None:
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


class Above(Protocol):
    """What stands above the bars in a terminal, and has to know how many lines they take."""

    below: int

    def open(self) -> None:
        """Make its place."""


@contextmanager
def stage_progress(
    in_bytes: bool = False, alone: bool = True, left: bool = False, above: Above | None = None
) -> Iterator[Update]:
    """How far things are: bars on a terminal, else lines, or nothing with `--quiet`.

    Args:
        in_bytes: what is counted is bytes; their speed and the time left are shown too.
        alone: show the bar of what was updated last, and no other.
        above: drawn to between two updates, so that the bars are drawn by `update` alone.
        left: show the time left on a bar too.
    """
    if quiet.get():
        yield lambda what, done, total: None
    elif not (sys.stderr and sys.stderr.isatty()):
        yield (Lines(words=size) if in_bytes else Lines()).update
    else:
        known: dict[str, TaskID] = {}
        if above is not None:
            above.open()
        with _bars(in_bytes, left, auto_refresh=above is None) as bars:

            def update(what: str, done: int, total: int) -> None:
                if what not in known:
                    known[what] = bars.add_task(what, total=total)
                for name, bar in known.items() if alone else ():
                    bars.update(bar, visible=name == what)
                bars.update(known[what], completed=done, total=total)
                if above is not None:
                    bars.refresh()
                    above.below = len(known)

            yield update


def _bars(in_bytes: bool, left: bool = False, auto_refresh: bool = True) -> Progress:
    from rich import progress as rich

    columns: tuple[rich.ProgressColumn, ...] = (rich.MofNCompleteColumn(), rich.TimeElapsedColumn())
    columns += (rich.TimeRemainingColumn(),) if left else ()
    if in_bytes:
        sizes = rich.DownloadColumn(binary_units=True)
        columns = (sizes, rich.TransferSpeedColumn(), rich.TimeRemainingColumn())
    named = rich.TextColumn("{task.description:>12}")
    out = console(stderr=True)
    return rich.Progress(
        named, rich.BarColumn(), *columns, console=out, transient=True, auto_refresh=auto_refresh
    )


class SamplingProgress:
    """An `on_step` that shows how far each stage is.

    `cost` is what is to be drawn, where that is known: then later batches, prompts and windows
    count from the first step on.
    """

    def __init__(self, update: Update, cost: Cost | None = None) -> None:
        self._update, self.cost = update, cost
        self._done: dict[str, int] = {}  # stage -> steps
        self._announced: dict[str, int] = {}  # steps of the batches that have begun
        self._drawn: dict[str, int] = {}  # steps of pictures

    def __call__(self, step: Step) -> None:
        """Count a step of a batch."""
        name = step.stage
        if step.index == 1:  # a new batch, or another stage of the same kind
            self._announced[name] = self._announced.get(name, 0) + step.total
        self._done[name] = done = self._done.get(name, 0) + 1
        self._update(name, done, max(self._announced[name], done + self._ahead(step)))

    def _ahead(self, step: Step) -> int:
        """Steps to come of a stage, in batches such as this one; none where nobody knows."""
        if self.cost is None or self.cost.inverting:
            return 0
        self._drawn[step.stage] = drawn = self._drawn.get(step.stage, 0) + len(step.x0)
        return math.ceil((self.cost.steps.get(step.stage, 0) - drawn) / len(step.x0))


@contextmanager
def sampling_progress(above: Above | None = None) -> Iterator[SamplingProgress]:
    """How far each stage is while pictures are drawn."""
    with stage_progress(alone=False, above=above) as update:
        yield SamplingProgress(update)


@contextmanager
def counting_progress(what: str, in_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """How far one thing is; yields a function of (done, in all)."""
    with stage_progress(in_bytes) as update:
        yield partial(update, what)


def byte_progress(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """The same in bytes."""
    return counting_progress(what, in_bytes=True)


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

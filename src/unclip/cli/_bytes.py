"""A bar for downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ._terminal import console


@contextmanager
def byte_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """One bar of bytes on stderr with speed and time left; yields a function of (done, in all)."""
    from rich import progress

    err = console(stderr=True)
    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)

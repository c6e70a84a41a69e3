"""The signals that ask a process to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

SAVE_NOW = [getattr(signal, name) for name in ("SIGUSR1", "SIGBREAK") if hasattr(signal, name)]
"""The signal that asks to save and go on; Ctrl-Break on Windows."""


def asked_to_stop() -> tuple[signal.Signals, ...]:
    """Ctrl-C's, that of `kill`, and, unless `nohup` ignores it, that of a terminal which closes."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within, every signal that asks to stop is a KeyboardInterrupt, as Ctrl-C is.

    What is being written is then taken back. What fails after a signal came, such as worker
    processes that got it too, fails because of it. Only a process' main thread may ask for that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    try:
        with _handled(handle, *(one for one in asked_to_stop() if one != signal.SIGINT)):
            yield
    except Exception:
        if came:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    """Within, these signals go to a function."""
    old = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


@dataclass
class Stop:
    """Says whether a signal asked to stop."""

    came: list[int] = field(default_factory=list)
    stepping: bool = False
    wanted: bool = False  # a state, now
    speaks: bool = True  # where several processes get the signal, one says so

    def __call__(self) -> bool:
        """Whether one did."""
        return bool(self.came)

    def save(self) -> bool:
        """Whether a signal asked for a state since the last call."""
        wanted, self.wanted = self.wanted, False
        return wanted

    @contextmanager
    def after_step(self) -> Iterator[None]:
        """Within, somebody asks after each step, and nothing need be interrupted."""
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """A signal: the first outside steps is a KeyboardInterrupt, and so is a second Ctrl-C."""
        first = not self.came
        self.came.append(number)
        if (first and not self.stepping) or (not first and number == signal.SIGINT):
            raise KeyboardInterrupt
        if first and self.speaks:
            # os.write, because a handler may interrupt a print and must not print itself
            with suppress(OSError):  # the terminal may be gone
                os.write(2, b"\nunclip: stopping after this step; Ctrl-C to stop at once\n")

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Within, signals are handled so, and `SAVE_NOW`; a second Ctrl-C ends at once.

        The others may come twice without anybody having asked twice: `timeout` sends its signal
        to the process and then to its group.
        """
        with _handled(self._want, *SAVE_NOW), _handled(self.handle, *asked_to_stop()):
            yield

    def _want(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True

"""The signals that ask a process to stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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

    numbers = [number for number in asked_to_stop() if number != signal.SIGINT]
    old = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    except Exception:
        if came:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

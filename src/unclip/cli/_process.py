"""The process around a command: what it has to be given before PyTorch is imported."""

from __future__ import annotations

import atexit
import gc
import os
import sys

SOON = {"GOMP_SPINCOUNT": "1500", "KMP_BLOCKTIME": "1"}
"""How long an idle thread looks for work before it sleeps.

GNU's OpenMP counts turns (measured: benchmarks/start.py); LLVM's, of macOS, and Intel's count
milliseconds, 200 unless they are told.
"""

WAITING = ("OMP_WAIT_POLICY", *SOON)
"""Environment variables that say how idle threads wait for work."""


def prepare() -> None:
    """Prepare this process and those that it starts. Called first, before PyTorch is there."""
    let_threads_sleep()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # each of many would repeat PyTorch's advice
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    open_streams()
    collect_garbage_seldom()


def let_threads_sleep() -> None:
    """Let threads without work sleep soon, unless the environment says otherwise.

    OpenMP's threads spin between two operations. Beside another busy process they take its cores
    from the one thread that all wait for, and a picture takes many times as long. Asleep at once
    they wake too late: a picture takes nearly twice as long on an idle machine.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ.update(SOON)


def collect_garbage_seldom() -> None:
    """Look for garbage in cycles seldom, and no more when the process ends.

    Importing PyTorch makes 150,000 objects and no garbage. Looking for some costs a tenth of
    the import, and half as much as the import itself at the end, when the memory is given back
    anyway.
    """
    gc.set_threshold(50_000, 10, 10)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def open_streams() -> None:
    """Put the null device where stdin, stdout or stderr is closed (`2>&-`, pythonw).

    Else there is nothing to write to, and the next file that is opened becomes stderr.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115

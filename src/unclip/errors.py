"""Errors that a person can act on.

Every foreseeable failure is an `UnclipError`: one line that names the thing that is wrong and
what would be right. The command line prints that line and exits with `exit_code`; a program
catches one base class.
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable


class UnclipError(Exception):
    """Base of the errors raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(UnclipError, ValueError):
    """The caller asked for something that cannot be: a bad argument, setting or recipe."""

    exit_code = 2


class DataError(UnclipError):
    """A dataset is missing, empty or not what it claims to be."""


class CheckpointError(UnclipError):
    """A weights file or a model folder is missing, damaged or does not fit the network."""


class OutputError(UnclipError):
    """A result cannot be written where the caller asked for it."""


class TrainingError(UnclipError):
    """Training cannot go on: a loss is not finite, or a saved state does not fit the recipe."""


class WorkersLostError(TrainingError):
    """Processes that make batches were killed again and again; what was trained can be saved."""


class SamplingError(UnclipError):
    """A stage gave numbers that are not finite, of which no picture can be made."""

    def __init__(self, stage: str, when: str) -> None:
        super().__init__(stage, when)
        self.stage, self.when = stage, when

    def __str__(self) -> str:
        """Which stage, when, and what may be at fault."""
        return (
            f"stage '{self.stage}' gave numbers that are not finite {self.when}: its weights are "
            "damaged, or too large for their number format (try --dtype float32; in Python "
            "dtype='float32')"
        )


class PromptWarning(UserWarning):
    """A prompt will not be drawn as it stands: a word is not known, or it is too long to be read.

    A pipeline warns once a prompt; `warnings.simplefilter("ignore", PromptWarning)` turns it off.
    """


class Cancelled(UnclipError):
    """The caller stopped the work between two steps."""

    exit_code = 130


def warn(text: str) -> None:
    """A `PromptWarning` at the line outside this package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, PromptWarning, stacklevel=level)


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def quoted(name: object) -> str:
    """A name as it is, in quotes and escaped where it would not be seen for what it is."""
    text = str(name)
    return text if text == text.strip() != "" and text.isprintable() else repr(text)

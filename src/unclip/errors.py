"""Errors that the user can act on.

Every foreseeable failure is an `UnclipError`: one line with the fault and what is expected. The
command line prints that line and exits with `exit_code`; programs catch this base class.
"""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self


class UnclipError(Exception):
    """Base of all errors of this package; `exit_code` is the exit code of the command line."""

    exit_code = 1
    field: str | None = None  # the argument or setting at fault, where it is one

    @property
    def code(self) -> str:
        """The kind of failure, for programs: 'usage', 'checkpoint', 'output', ..."""
        words = re.findall("[A-Z][a-z]+", type(self).__name__.removesuffix("Error"))
        return "_".join(words).lower()

    def about(self, field: str) -> Self:
        """The same error, of this field unless it has one."""
        self.field = self.field or field
        return self


@contextmanager
def about(field: str) -> Iterator[None]:
    """Within, an error is of this field unless it has one."""
    try:
        yield
    except UnclipError as error:
        error.about(field)
        raise


class UsageError(UnclipError, ValueError):
    """An invalid argument, setting or recipe."""

    exit_code = 2


class DataError(UnclipError):
    """A dataset is missing, empty or malformed."""


class NoCaptionsError(DataError):
    """There are pictures, or one, and not one of them has a caption."""


class CheckpointError(UnclipError):
    """A weights file or a model folder is missing, damaged or does not fit the network."""


class OutputError(UnclipError):
    """A result cannot be written to the given path."""


class TrainingError(UnclipError):
    """Training cannot continue: a loss is not finite, or a saved state does not fit the recipe."""


class WorkersLostError(TrainingError):
    """Worker processes were killed repeatedly; the training so far can be saved."""


class SamplingError(UnclipError):
    """A stage returned values that are not finite, so there is no picture."""

    def __init__(self, stage: str, when: str) -> None:
        super().__init__(stage, when)
        self.stage, self.when = stage, when

    def __str__(self) -> str:
        """The stage, the step and likely causes."""
        return (
            f"stage '{self.stage}' gave numbers that are not finite {self.when}: a setting such as "
            "guidance_scale is too large, or its weights are damaged or too large for their number "
            "format (try --dtype float32; in Python dtype='float32')"
        )


class UnclipWarning(UserWarning):
    """Base of all warnings of this package, each one line, as of the errors.

    `warnings.simplefilter("ignore", UnclipWarning)`, or one of its subclasses, disables them.
    """


class PromptWarning(UnclipWarning):
    """A prompt has unknown words, or is longer than the model reads.

    A pipeline warns once per prompt.
    """


class SettingWarning(UnclipWarning):
    """A setting has no effect on the pictures that it was given for, or not quite what it says."""


class RecordWarning(UnclipWarning):
    """A picture is saved without its record, or without the text for other programs."""


class Cancelled(UnclipError):
    """The caller cancelled the work between two steps."""

    exit_code = 130


def is_of_memory(error: Exception) -> bool:
    """Whether there is not enough of it, of this machine or of a GPU."""
    return "OutOfMemory" in type(error).__name__ or isinstance(error, MemoryError)


def warn(text: str, kind: type[UnclipWarning] = PromptWarning) -> None:
    """Warn, with the position of the calling line outside this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, kind, stacklevel=level)


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known word closest to `word`, or an empty string.

    Never the word itself, which is wrong where it was written.
    """
    others = [one for one in known if one != word]
    close = difflib.get_close_matches(word, others, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def counted(count: int, one: str, several: str = "") -> str:
    """'1 file', '2,000 files'; `several` where the plural is not made with an s."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def unknown(noun: str, name: str, known: Iterable[str]) -> UsageError:
    """The error of a name that is none of the known ones."""
    known = list(known)
    return UsageError(f"unknown {noun} '{name}'{nearest(name, known)}; known: {', '.join(known)}")


def quoted(name: object) -> str:
    """A name, quoted and escaped if it has unprintable characters."""
    text = str(name)
    return text if text == text.strip() != "" and text.isprintable() else repr(text)


def beginning(text: str, most: int = 80) -> str:
    """The first words of a text, at most so many letters of them."""
    if len(text) <= most:
        return text
    words = text[: most + 1].rpartition(" ")[0].strip()
    return f"{words} …" if words else f"{text[:most]}…"


def ending(text: str, most: int = 40) -> str:
    """The last words of a text, at most so many letters of them."""
    if len(text) <= most:
        return text
    words = text[-most - 1 :].partition(" ")[2].strip()
    return f"… {words}" if words else f"…{text[-most:]}"

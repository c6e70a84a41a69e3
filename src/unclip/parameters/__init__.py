"""How other programs say what a picture was made of: prompt, seed, steps, sampler, size.

`Parameters.of` reads what Stable Diffusion web UI, ComfyUI or NovelAI wrote in a picture. Pictures
of this package carry such a text too, so that those programs can read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ..config import shown
from ..errors import UsageError
from ..media import Source, read_notes
from ..media._metadata import TEXTS
from ..registry import Registry

Reader = Callable[[str], dict[str, Any] | None]
"""The fields of `Parameters` in a text; None where another program wrote it."""

PROGRAMS: Registry[Mapping[str, Reader]] = Registry("unclip.parameters", "READERS", "program")
"""What reads a program's texts, by their names in a picture: one file a program."""

MOST = 2**20
"""Longest text in characters that is read."""
LARGEST = 2**128
"""As of seeds."""


@dataclass(frozen=True)
class Parameters:
    """What a picture was made of, with the values and names of the program that wrote them.

    Its prompts are in the syntax of `unclip.weighting`, and mean what they meant there.
    """

    prompt: str = ""
    negative_prompt: str = ""
    steps: int | None = None
    sampler: str = ""  # by its name there, such as "DPM++ 2M"
    spacing: str = ""  # of the noise levels, such as "Karras"
    guidance_scale: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None  # (height, width)
    model: str = ""
    model_hash: str = ""
    others: Mapping[str, str] = field(default_factory=dict)  # what else was said, by its name
    program: str = ""  # that wrote them

    @classmethod
    def of(cls, picture: Source) -> Self:
        """What a picture or its file says. Raises UsageError where it says nothing, or wrongly."""
        found = cls.in_notes(read_notes(picture))
        if found is None:
            known = "Stable Diffusion web UI, ComfyUI, NovelAI"
            raise UsageError(f"the picture has no parameters of a program known here ({known})")
        return found

    @classmethod
    def in_notes(cls, notes: Mapping[str, str]) -> Self | None:
        """The parameters among what programs wrote in a picture, None if there are none.

        Raises:
            UsageError: they are damaged.
        """
        readers = {n: read for one in PROGRAMS.names() for n, read in PROGRAMS[one].items()}
        for name in (name for name in TEXTS if name in notes and name in readers):
            try:
                if len(notes[name]) > MOST:
                    raise ValueError(f"it is longer than {MOST:,} letters")
                values = readers[name](notes[name])
            except ValueError as error:
                raise UsageError(f"the picture's text '{name}' is damaged: {error}") from None
            if values is not None:
                return cls(**values)
        return None


def whole(name: str, value: Any) -> int:
    """A whole number up to `LARGEST`. Raises ValueError."""
    try:
        result = int(value)
    except (TypeError, ValueError, OverflowError):
        result = LARGEST + 1
    fraction = isinstance(value, float) and not value.is_integer()
    if abs(result) > LARGEST or isinstance(value, bool) or fraction:
        raise ValueError(f"{name} must be a whole number, got {shown(value)}")
    return result


def number(name: str, value: Any) -> float:
    """A finite number. Raises ValueError."""
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number, got {shown(value)}")
    return result

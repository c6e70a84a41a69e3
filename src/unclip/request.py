"""What was asked for: checked before any work, what it costs, and the record that tells of it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Self

from PIL import Image
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from .config import Config, shown
from .errors import UsageError
from .plain import parse_json

LIMIT = 1_000_000
"""Sampling steps, of all pictures and stages together, from which on a request is refused."""

BATCH = 16
"""Pictures drawn at once, so that memory does not grow with how many are asked for."""

MOST = 10**12
"""The largest count that is taken for one."""


def plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own, lists of them as tuples; all else as it is."""
    if hasattr(value, "dtype") and getattr(value, "ndim", 2) <= 1:
        try:
            return plain(value.tolist())
        except (RuntimeError, ValueError):  # a tensor without data
            return value
    if isinstance(value, list | tuple) or (isinstance(value, range) and len(value) <= LIMIT):
        return tuple(plain(one) for one in value)
    return value


def _text(value: Any, info: ValidationInfo) -> Any:
    """Refuse lists, and what UTF-8 cannot say, which pydantic would say in other words."""
    name = info.field_name or ""
    if isinstance(value, tuple) and name != "labels":
        raise UsageError(f"{name} must be one text, got {len(value)}: call once for each of them")
    if isinstance(value, str):
        check_text(value, name)
    return value


def check_text(value: str, name: str = "prompt") -> None:
    """Raise UsageError where UTF-8 cannot write it: it was read from bytes that are none."""
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UsageError(f"the {name} is not valid text: it holds bytes that are not UTF-8")


def check_prompt(value: str, name: str = "prompt") -> None:
    """Raise UsageError where a prompt is no text or says nothing."""
    check_text(value, name)
    if not value.strip():
        which = "" if name == "prompt" else f" ({name})"
        raise UsageError(f"the prompt is empty{which}; say what to draw, such as 'a red car'")


def _said(value: str, info: ValidationInfo) -> str:
    check_prompt(value, info.field_name or "")
    return value


Text = Annotated[str, BeforeValidator(_text)]
"""Any text that UTF-8 can write."""

Prompt = Annotated[str, BeforeValidator(_text), AfterValidator(_said)]
"""A text that says something."""

Count = Annotated[int, Field(ge=1, le=MOST)]
Frames = Annotated[int, Field(ge=2, le=MOST)]
Pixels = Annotated[int, Field(ge=0, le=MOST)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=-(2**128), le=2**128)]


class Arguments(Config):
    """Arguments of a function, normalised and checked.

    Numbers of numpy and torch become Python's own; whatever is of another type than it should be
    is refused by name.
    """

    model_config = ConfigDict(strict=True)
    called: ClassVar[str] = "{}"

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain(value)

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Raises UsageError, which names the argument."""
        return cls.parse(values)


class Request(Arguments):
    """All arguments of an ability but `on_step`.

    One class an ability, in the ability's file, as `REQUEST`.
    """

    ability: ClassVar[str]  # as in the record
    method: ClassVar[str]  # of `Pipeline`

    @property
    def one_pass(self) -> bool:
        """Whether each stage runs once, so that nobody needs its weights afterwards."""
        return False


class Drawing(Request):
    """A request for pictures.

    `settings` holds the sampling's, flat, as `Pipeline.generate` takes them; those that are None
    are left out. Which of them there are depends on the model: see `Pipeline.by_stage`.
    """

    records_defaults: ClassVar[bool] = True
    seed: Seed = 0
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("settings", mode="after")
    @classmethod
    def _simple(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Only what JSON can write, as the record has to."""
        simple = given({key: plain(value) for key, value in settings.items()})
        for key, value in simple.items():
            try:
                json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            except (TypeError, ValueError, RecursionError):
                wanted = "a finite number, a text, or a list of them"
                raise ValueError(f"{key} must be {wanted}, got {shown(value)}") from None
        return simple

    def record(self, **inputs: str) -> Record:
        """What the first picture tells of this request, but for the model.

        Args:
            inputs: digests or words of what it began from.
        """
        own = self.model_dump(
            exclude={"prompt", "n", "seed", "settings"},
            exclude_none=True,
            exclude_defaults=not self.records_defaults,
        )
        prompt, settings = getattr(self, "prompt", ""), {**self.settings, **own}
        return Record(prompt, self.seed, settings, ability=self.ability, inputs=inputs)


Input = Annotated[Any, Field(exclude=True)]
"""A picture or a text that a record keeps among its inputs."""


@dataclass(frozen=True)
class Work:
    """What an ability is going to have the stages do."""

    pictures: int
    settings: Mapping[str, Any]  # flat, as it draws with
    drawings: int  # runs of the decoder and the upsamplers, for one picture each
    imagined: int = 0  # runs of the prior
    inversions: int = 0
    size: tuple[int, int] | None = None  # of each picture; None: the model's own
    holds: bool = False  # a part of the picture is known
    enlarges: bool = False  # the upsamplers alone


@dataclass(frozen=True)
class Cost:
    """What a request takes, known before its first step.

    `steps` counts each picture's sampling steps by stage, without those of inversions, which come
    first and are `inverting`.
    """

    pictures: int
    size: tuple[int, int]
    steps: Mapping[str, int]
    inverting: int = 0

    @property
    def total(self) -> int:
        """Steps of all pictures and stages."""
        return self.inverting + sum(self.steps.values())

    def times(self, count: int) -> Cost:
        """`count` such requests."""
        steps = {name: count * steps for name, steps in self.steps.items()}
        return Cost(count * self.pictures, self.size, steps, count * self.inverting)

    def __add__(self, other: Cost) -> Cost:
        names = dict.fromkeys((*self.steps, *other.steps))
        steps = {name: self.steps.get(name, 0) + other.steps.get(name, 0) for name in names}
        inverting = self.inverting + other.inverting
        return Cost(self.pictures + other.pictures, self.size, steps, inverting)

    def __str__(self) -> str:
        width, height = self.size
        what = "1 picture" if self.pictures == 1 else f"{self.pictures:,} pictures"
        return f"{what} of {width:,}×{height:,} in up to {self.total:,} sampling steps"

    def check(self, limit: int | None) -> None:
        """Raise UsageError where there are more than `limit` steps."""
        if limit is None or self.total <= limit:
            return
        hours = self.total / 3_600_000
        raise UsageError(
            f"this would be {self}: {hours:,.1f} hours even at a millisecond a step; the limit is "
            f"{limit:,} steps: ask for less, or lift it (--no-limit, in Python pipe.limit = None)"
        )


def check_memory(pictures: int, size: tuple[int, int]) -> None:
    """Raise UsageError where this machine's memory cannot hold so many, which it has to at the end.

    Args:
        pictures: all that are drawn for one request.
        size: of each.
    """
    needed, memory = 3 * size[0] * size[1] * pictures, _memory()
    if needed > memory:
        raise UsageError(
            f"{pictures:,} pictures of {size[0]:,}×{size[1]:,} lie in memory until the last is "
            f"drawn, {needed / 2**30:,.0f} GiB of {memory / 2**30:,.0f}: ask for fewer at a time"
        )


def _memory() -> float:
    """Bytes of this machine's memory; without end where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


@dataclass(frozen=True)
class Record:
    """All that is needed to make a picture again; travels in the PNG as `unclip`."""

    prompt: str
    seed: int
    settings: dict[str, Any]
    model: str = ""
    model_hash: str = ""
    version: str = ""
    threads: int = 0  # of the CPU that drew it; 0 where none is known
    n: int = 1  # a grid holds several, from `seed` on
    ability: str = "generate"
    inputs: dict[str, str] = field(default_factory=dict)  # what it began from -> digest or words
    unknown: tuple[str, ...] = field(default=(), compare=False)  # read past: a later version's

    def to_json(self) -> str:
        """One line of JSON."""
        values = asdict(self)
        del values["unknown"]
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def of(cls, picture: Image.Image) -> Self:
        """The record that a picture carries. Raises UsageError where it carries none."""
        text = picture.info.get("unclip")
        if not isinstance(text, str):
            raise UsageError("the picture carries no record of how it was made by unclip")
        known = {one.name for one in fields(cls)} - {"unknown"}
        try:
            values = dict(parse_json(text))
            unknown = tuple(sorted(values.keys() - known))
            record = cls(**{k: values[k] for k in values.keys() & known}, unknown=unknown)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the picture's record is damaged: {error}") from None
        for name, kind in _KINDS.items():
            value = getattr(record, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise UsageError(f"the picture's record is damaged: '{name}' is no {kind.__name__}")
        return record


_KINDS = {
    **dict.fromkeys(("prompt", "model", "model_hash", "version", "ability"), str),
    **dict.fromkeys(("seed", "n", "threads"), int),
    **dict.fromkeys(("settings", "inputs"), dict),
}


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not None."""
    return {key: value for key, value in settings.items() if value is not None}

"""Normalise and check arguments of public functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from .config import Config, shown
from .cost import LIMIT
from .errors import UsageError
from .weighting import plain as plain_text

MOST = 10**12
"""Largest valid count."""


def plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python numbers, lists as tuples; other values unchanged."""
    if hasattr(value, "dtype") and getattr(value, "ndim", 2) <= 1:
        try:
            return plain(value.tolist())
        except (RuntimeError, ValueError):  # a tensor without data
            return value
    if isinstance(value, list | tuple) or (isinstance(value, range) and len(value) <= LIMIT):
        return tuple(plain(one) for one in value)
    return value


def _text(value: Any, info: ValidationInfo) -> Any:
    """Reject lists and invalid text, with clearer messages than pydantic."""
    name = info.field_name or ""
    if isinstance(value, tuple) and name != "labels":
        raise UsageError(f"{name} must be one text, got {len(value)}: call once for each of them")
    if isinstance(value, str):
        check_text(value, name)
    return value


def check_text(value: str, name: str = "prompt") -> None:
    """Raise UsageError for text with lone surrogates, read from bytes that are not UTF-8."""
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UsageError(f"the {name} is not valid text: it has bytes that are not UTF-8")


def check_prompt(value: str, name: str = "prompt") -> None:
    """Raise UsageError if a prompt is empty or not valid text, or a weight is out of range."""
    check_text(value, name)
    if not plain_text(value).strip():
        which = "" if name == "prompt" else f" ({name})"
        raise UsageError(f"the prompt is empty{which}; say what to draw, such as 'a red car'")


def _prompt(value: str, info: ValidationInfo) -> str:
    check_prompt(value, info.field_name or "")
    return value


Text = Annotated[str, BeforeValidator(_text)]
"""Any valid text."""


def _negative(value: str) -> str:
    plain_text(value)
    return value


NegativePrompt = Annotated[str, BeforeValidator(_text), AfterValidator(_negative)]
"""A text that may be empty, whose weights are in their range."""

Prompt = Annotated[str, BeforeValidator(_text), AfterValidator(_prompt)]
"""A text that is not empty."""

Count = Annotated[int, Field(ge=1, le=MOST)]
"""How many. A field with bounds of its own is an `int`: of two `le`, pydantic checks the last."""


def _seed(value: Any) -> Any:
    if isinstance(value, int) and value < 0:
        text = f"seed must be at least 0, got {shown(value)}; --seed -1 is a random one"
        raise UsageError(text).about("seed")
    return value


Seed = Annotated[int, BeforeValidator(_seed), Field(ge=0, le=2**128)]


class Arguments(Config):
    """Arguments of a function, normalised and checked.

    Numbers of numpy and torch become Python numbers. A value of a wrong type is an error that names
    the argument.
    """

    model_config = ConfigDict(strict=True)
    called: ClassVar[str] = "{}"

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain(value)

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Parse arguments. Raises UsageError with the name of the argument."""
        return cls.parse(values)


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not None."""
    return {key: value for key, value in settings.items() if value is not None}

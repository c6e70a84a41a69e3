"""Arguments of functions that anybody may call: normalised, and checked by name."""

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

from .config import Config
from .cost import LIMIT
from .errors import UsageError

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


def _prompt(value: str, info: ValidationInfo) -> str:
    check_prompt(value, info.field_name or "")
    return value


Text = Annotated[str, BeforeValidator(_text)]
"""Any text that UTF-8 can write."""

Prompt = Annotated[str, BeforeValidator(_text), AfterValidator(_prompt)]
"""A text that says something."""

Count = Annotated[int, Field(ge=1, le=MOST)]
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


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not None."""
    return {key: value for key, value in settings.items() if value is not None}

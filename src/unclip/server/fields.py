"""Read the values of a request, from JSON or from a form, as OpenAI's API does.

An absent value, null and (in a form, where clients write None so) an empty one mean the default.
Names that nobody asks for are ignored: they are parameters of other models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..config import shown
from ..plain import parse_json
from .errors import ApiError, invalid, quoted

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,3})?")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def parse_body(data: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises ApiError 400."""
    try:
        body = parse_json(data)
        _check(body)
    except ValueError as error:
        raise invalid(None, f"The body of the request is not valid JSON: {_line(error)}") from None
    if not isinstance(body, dict):
        raise invalid(None, f"The body must be a JSON object, got {_kind(body)}.")
    return body


def _line(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return shown(str(error), 200).strip("'\"")


def _check(value: Any) -> None:
    """Raise ValueError where a value holds a number or a text that no JSON may hold."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    elif isinstance(value, dict):
        for name, one in value.items():
            _check_text(name)
            _check(one)
    elif isinstance(value, list):
        for one in value:
            _check(one)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("a text in it has a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it has half a surrogate pair") from None


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


class Fields:
    """Values by name.

    Args:
        values: of a JSON object, or texts of a form.
        form: numbers and flags are written as texts.
    """

    def __init__(self, values: Mapping[str, Any], form: bool = False) -> None:
        self._values = values
        self._form = form

    def get(self, name: str) -> Any:
        """None where it is to be the default."""
        value = self._values.get(name)
        return None if self._form and value == "" else value

    def text(self, name: str) -> str | None:
        """Any text. Raises ApiError."""
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise _wrong_type(name, "a string", value)
        return value

    def prompt(self, most: int) -> str:
        """1 to `most` characters. Raises ApiError."""
        value = self._values.get("prompt")
        if value is None:
            raise invalid(
                "prompt", "Missing required parameter: 'prompt'.", "missing_required_parameter"
            )
        if not isinstance(value, str):
            raise _wrong_type("prompt", "a string", value)
        if not value:
            raise invalid(
                "prompt",
                "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got "
                "an empty string instead.",
                "empty_string",
            )
        if len(value) > most:
            raise invalid(
                "prompt",
                "Invalid 'prompt': string too long. Expected a string with maximum length "
                f"{most}, but got a string with length {len(value)} instead.",
                "string_above_max_length",
            )
        return value

    def choice(self, name: str, known: Iterable[str], default: str) -> str:
        """One of the known texts. Raises ApiError."""
        value, known = self.get(name), list(known)
        if value is None:
            return default
        if not isinstance(value, str) or value not in known:
            raise _not_supported(name, value, known)
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number in bounds. Raises ApiError."""
        value = self.get(name)
        if value is None:
            return None
        number = self._integer(value)
        if number is None:
            raise _wrong_type(name, "an integer", value)
        if number < low:
            raise _out_of_bounds(name, "below_min", ">=", low, number)
        if number > high:
            raise _out_of_bounds(name, "above_max", "<=", high, number)
        return number

    def _integer(self, value: Any) -> int | None:
        if self._form and isinstance(value, str):
            return int(value.split(".")[0]) if _INTEGER.fullmatch(value.strip()) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return int(value) if isinstance(value, int) or value.is_integer() else None

    def number(self, name: str) -> float | None:
        """A finite number. Raises ApiError."""
        value = self.get(name)
        if value is None:
            return None
        number = self._number(value)
        if number is None:
            raise _wrong_type(name, "a finite number", value)
        return number

    def _number(self, value: Any) -> float | None:
        if self._form and isinstance(value, str):
            value = float(value) if _NUMBER.fullmatch(value.strip()) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            number = float(value)
        except OverflowError:  # of a long integer
            return None
        return number if math.isfinite(number) else None

    def flag(self, name: str) -> bool:
        """True or false; false where it is absent. Raises ApiError."""
        value = self.get(name)
        if self._form and isinstance(value, str):
            value = _FLAGS.get(value.strip().lower(), value)
        if value is not None and not isinstance(value, bool):
            raise _wrong_type(name, "a boolean", value)
        return bool(value)


def _wrong_type(name: str, wanted: str, value: Any) -> ApiError:
    got = quoted(value) if isinstance(value, str | float) else _kind(value)
    message = f"Invalid type for '{name}': expected {wanted}, but got {got} instead."
    return invalid(name, message, "invalid_type")


def _out_of_bounds(name: str, side: str, sign: str, bound: int, value: int) -> ApiError:
    message = (
        f"Invalid '{name}': integer {side.replace('_', ' ')}imum value. Expected a value {sign} "
        f"{bound}, but got {shown(value)} instead."
    )
    return invalid(name, message, f"integer_{side}_value")


def _not_supported(name: str, value: Any, known: list[str]) -> ApiError:
    listed = [f"'{one}'" for one in known]
    every = ", ".join([*listed[:-1], f"and {listed[-1]}"])
    message = f"Invalid value: {quoted(value)}. Supported values are: {every}."
    return invalid(name, message, "invalid_value")

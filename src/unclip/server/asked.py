"""The parameters of a JSON body or a query, read one by one."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from . import errors


class Asked:
    """A JSON body. Its readers raise ApiError where a parameter is not as it should be.

    Args:
        values: the body, or a section of it.
        known: names of its parameters.
        where: what their names begin with in errors, such as "finish.".
    """

    def __init__(self, values: Mapping[str, Any], known: frozenset[str], where: str = "") -> None:
        self.values, self.known, self.where = values, known, where
        for name in sorted(values.keys() - known):
            text = f"Unknown parameter: '{where}{name[:60]}'."
            raise errors.invalid(f"{where}{name[:60]}", text, "unknown_parameter")

    def wrong(self, name: str, wanted: str) -> errors.ApiError:
        """The error of a parameter that is not as it should be."""
        name = f"{self.where}{name}"
        return errors.invalid(name, f"{name} must be {wanted}.")

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        value = self.values.get(name)
        value = "" if value is None else value
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def section(self, name: str) -> dict[str, Any]:
        """An object; empty where there is none."""
        value = self.values.get(name)
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def texts(self, name: str) -> dict[str, str]:
        """An object of texts."""
        section = self.section(name)
        for key, value in section.items():
            if not isinstance(value, str):
                raise self.wrong(f"{name}.{key}", "a text")
        return section

    def truth(self, name: str) -> bool | None:
        """True, false, or nothing."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def list(self, name: str) -> builtins.list[str]:
        """A list of texts; empty where there is none."""
        value = self.values.get(name)
        value = [] if value is None else value
        if not isinstance(value, builtins.list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(name, "a list of texts")
        return value

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        """A whole number within bounds."""
        value = self.values.get(name)
        value = default if value is None else value
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value


def number(name: str, value: str, low: int, high: int) -> int:
    """A whole number of a query. Raises ApiError."""
    if value.isascii() and value.isdecimal() and low <= int(value[:20]) <= high:
        return int(value)
    raise errors.invalid(name, f"{name} must be a whole number from {low} to {high}.")


def truth(name: str, value: str) -> bool:
    """Of a query: true, 1, false, 0 or nothing. Raises ApiError."""
    if value.lower() not in ("", "true", "false", "1", "0"):
        raise errors.invalid(name, f"{name} must be true or false.")
    return value.lower() in ("true", "1")

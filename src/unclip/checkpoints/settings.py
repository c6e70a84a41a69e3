"""Files of settings, read so that what is missing or unknown is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import plain
from ..errors import CheckpointError


class Settings(dict[str, Any]):
    """A file of settings, which says so where one that is needed is not there."""

    def __init__(self, values: Mapping[str, Any], file: Path) -> None:
        super().__init__(values)
        self._file = file

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"{self._file} lacks '{key}'")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError, also where a setting is asked for that it lacks."""
    try:
        values = plain.read_json(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file.parent} is missing its {file.name}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is not a JSON object")
    return Settings(values, file)


@contextmanager
def shapes_of(what: str) -> Iterator[None]:
    """Names and shapes that are not a whole network's become a CheckpointError: `what`, and why."""
    try:
        yield
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"{what}: {error}") from None


def leaves(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every value in nested tables."""
    for key, value in values.items():
        dotted = f"{where}.{key}" if where else key
        if isinstance(value, dict):
            yield from leaves(value, dotted)
        else:
            yield dotted, value


def need(values: Mapping[str, Any], file: Path, **expected: Any) -> None:
    """Refuse a configuration with a setting other than the ones that can be read.

    Args:
        values: the file's.
        file: for the error's text.
        expected: setting -> the value that it may have, or a tuple of them; absent is fine.

    Raises:
        CheckpointError: names the setting, its value, and what is read.
    """
    for key, allowed in expected.items():
        choices = allowed if isinstance(allowed, tuple) else (allowed,)
        if key in values and values[key] not in choices:
            known = " or ".join(repr(one) for one in choices)
            raise CheckpointError(f"{file}: {key} is {values[key]!r}; only {known} is read")

"""Typed, frozen configuration, read from TOML or JSON, with one-line errors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import UsageError, counted, nearest
from .files import text_of
from .located import known_keys, written
from .plain import TOML_BYTES, parse_toml


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"no home folder '{path.parts[0]}' on this machine") from None


UserPath = Annotated[Path, AfterValidator(_at_home)]
"""A path in which `~` is the home folder."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, or a probability."""

Layers = Annotated[int, Field(le=512)]
"""Blocks of a transformer."""
Blocks = Annotated[int, Field(le=32)]
"""Blocks of one level of a network, or parts of one block."""
LEVELS = 12
"""Most levels of a network. These three limits bound the size of any network."""

SHOWN = 200
"""Most characters of a wrong value in an error."""


class Config(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    called: ClassVar[str] = "setting '{}'"  # a field, in errors

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "", strict: bool = False) -> Self:
        """Validate `values`.

        Args:
            values: nested plain data from TOML or JSON.
            where: source of the values (a file, a section), for error messages; if it ends in
                `_`, it is the prefix of every key.
            strict: reject numbers in quotes, and 2.0 or true as a whole number.

        Raises:
            UsageError: an unknown key (with the nearest known one) or a value out of range.
        """
        try:
            if strict:  # through JSON, where lists may be tuples and nothing else is converted
                return cls.model_validate_json(json.dumps(dict(values)), strict=True)
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError(explain(cls, error, where)).about(
                _at_fault(cls, error, where)
            ) from None

    def dump(self) -> dict[str, Any]:
        """Plain data that `parse` reads back to an equal configuration."""
        return self.model_dump(mode="json")


_REASONS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "finite_number": "must be finite",
    "literal_error": "must be {expected}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "int_parsing_size": "is too large a number",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a section"),
    "union_tag_not_found": "needs the setting {discriminator}",
    "union_tag_invalid": "must have as {discriminator} one of {expected_tags}",
}
"""Expected value, by pydantic's error type, with its context."""


def explain(cls: type[BaseModel], error: ValidationError, where: str = "") -> str:
    """One line for one error of pydantic: where, what, and what is expected.

    An unknown key comes first: a mistyped key is also missing where it should be.
    """
    first = _first(error)
    keys = [key[:SHOWN] for key in written(cls, first["loc"])]
    if where.endswith("_") and keys:
        where, keys[0] = "", where + keys[0]
    name = ".".join(filter(None, [where, *keys]))
    kind = getattr(cls, "called", Config.called)
    called = kind.format(name)
    if first["type"] == "extra_forbidden":
        return unknown(name, first["input"], known_keys(cls, first["loc"][:-1]))
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):  # of a tuple
        whole = name.rpartition(".")[0]
        return f"{kind.format(whole)} has too few values, got {shown(first['input'])}"
    if first["type"] == "missing":
        return f"{called} is missing"
    if first["type"] == "value_error":  # our own validator, whose message includes the value
        text = str(first["ctx"]["error"])[: 2 * SHOWN]
        return f"section '{name}': {text}" if name and called != name else text
    return called + expected(first)


def _first(error: ValidationError) -> Mapping[str, Any]:
    """The error that is told of."""
    every = error.errors(include_url=False)
    return next((one for one in every if one["type"] == "extra_forbidden"), every[0])


def _at_fault(cls: type[BaseModel], error: ValidationError, where: str) -> str:
    """The setting that it is about, such as `steps` or `prior_steps`."""
    prefix = where if where.endswith("_") else ""
    return prefix + ".".join(key[:SHOWN] for key in written(cls, _first(error)["loc"]))


def expected(error: Mapping[str, Any]) -> str:
    """' must be at least 1, got 0': one of pydantic's errors without the name of the value."""
    if error["type"] in _REASONS:
        bounds = {key: _bound(key, value) for key, value in error.get("ctx", {}).items()}
        reason = f" {_REASONS[error['type']]}".format(**bounds)
    else:
        reason = f": {error['msg'][:1].lower()}{error['msg'][1:]}"
    return f"{reason}, got {shown(error['input'])}"


def _bound(name: str, value: Any) -> Any:
    if name in ("min_length", "max_length"):
        return counted(value, "value")
    return f"{value:g}" if isinstance(value, float) else value


def unknown(name: str, value: object, known: Collection[str]) -> str:
    """The error for a key that is none of `known`; the last part of `name` is compared."""
    kind = "section" if isinstance(value, Mapping) else "setting"
    return f"unknown {kind} '{name}'{nearest(name.rpartition('.')[2], known)}"


def check_keys(values: Mapping[str, Any], where: str, known: Collection[str]) -> None:
    """Raise UsageError if a section has a key that is none of `known`."""
    for key, value in values.items():
        if key not in known:
            raise UsageError(unknown(f"{where}.{key}", value, known))


def shown(value: object, most: int = 60) -> str:
    """A value on one line, truncated."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an int with more digits than Python prints
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: the file is missing or is not TOML (the message gives the line).
    """
    try:
        return parse_toml(text_of(path, TOML_BYTES))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def override(
    values: dict[str, Any],
    assignments: Sequence[str],
    option: str = "--set",
    taken: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Apply `a.b.c=value` assignments (values in TOML syntax, bare words as strings) to a copy.

    Args:
        option: what they are given with, for errors.
        taken: keys that have an option of their own and were set by it, such as `--steps 4`.

    Raises:
        UsageError: an assignment without `=`, into something that is not a table, or to what is
            set already.
    """
    result: dict[str, Any] = json.loads(json.dumps(values))
    before = {tuple(key.split(".")): typed for key, typed in taken.items()}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} needs key=value, got '{assignment}'")
        *path, last = whole = tuple(key.strip().split("."))
        typed = f"{option} {assignment.strip()}"
        for earlier, other in before.items():
            if earlier[: len(whole)] == whole:
                raise UsageError(f"{other} and {typed} set the same: give only one of them")
        before[whole] = typed
        table = result
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UsageError(f"{option} {key.strip()}: '{part}' is a value, not a section")
        table[last] = _value(text.strip())
    return result


def _value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text

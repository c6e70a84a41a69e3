"""A request's field as an argument or an option of the command line, and what is typed there."""

from __future__ import annotations

import os
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import typer

from ..abilities._options import option_name, option_of
from ..errors import DataError, UsageError
from ._options import SAMPLING, option

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from ..request import Request

ASKED = "asked_"
"""Before the names of a request's fields, which are anybody's: a command has others too."""


def fields_of(request: type[Request[Any]]) -> dict[str, FieldInfo]:
    """The fields that are arguments and options by themselves."""
    every = request.model_fields.items()
    return {name: info for name, info in every if name not in ("seed", "settings")}


def pictures_of(request: type[Request[Any]]) -> dict[str, FieldInfo]:
    """The fields that are files: pictures, or a folder of them."""
    return {name: info for name, info in fields_of(request).items() if info.annotation is Any}


def option_field(name: str, info: FieldInfo, group: str = "") -> tuple[Any, ...]:
    """(name, type, default) of a dataclass' field, as typer reads it; no default if it has none.

    Args:
        group: of options, in the command's help.
    """
    shown = option_of(info)
    metavar, kind = shown.metavar or name.upper(), _type(info.annotation, shown.positional)
    made: Any
    if shown.positional:
        made = typer.Argument(metavar=metavar, help=info.description)
    else:  # without min and max: the request says better what is out of range
        group = group or (SAMPLING if shown.sampling else "")
        made = option(option_name(name, info), metavar, _help(info), shown.default, group)
    default = info.default if shown.begins_with is None else shown.begins_with
    if shown.begins_with is None and info.is_required():
        return ASKED + name, Annotated[kind, made]
    return ASKED + name, Annotated[kind, made], _written(default)


def _written(default: Any) -> Any:
    """Numbers in one, as they are typed."""
    return ",".join(map(str, default)) if isinstance(default, tuple) else default


def _type(annotation: Any, positional: bool) -> Any:
    """What typer reads from the command line for it."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _type(inner[0], positional)
    if get_origin(annotation) in (Union, UnionType):
        (kind,) = (one for one in inner if one is not NoneType)
        return _type(kind, positional) | None
    if get_origin(annotation) is tuple:  # several words, or numbers in one
        return list[str] if positional else str
    return str if annotation is Any else annotation


def _help(info: FieldInfo) -> str:
    """Its description and its range."""
    text, low, high = info.description or "", _bound(info, "ge"), _bound(info, "le")
    if low is None and high is None:
        return text
    words = f"{low} to {high}" if low is not None and high is not None else ""
    words = words or (f"at most {high}" if low is None else f"at least {low}")
    return f"{text.removesuffix('.')} ({words})."


def _bound(info: FieldInfo, name: str) -> Any:
    """One that a person may meet."""
    from ..arguments import MOST

    found = (getattr(one, name, None) for one in info.metadata)
    return next((value for value in found if value not in (None, MOST)), None)


def argument(name: str, info: FieldInfo, value: Any) -> Any:
    """A word of the command line as the request takes it. Raises UsageError."""
    if not isinstance(value, str):
        return value
    if option_of(info).folder:
        from ..data.listing import pictures_in

        try:
            return pictures_in(Path(value))
        except DataError as error:
            raise UsageError(str(error)).about(name) from None
    if info.annotation is Any:
        return _readable_again(value)
    kind = _type(info.annotation, True)
    return _numbers(name, info, value) if kind in (list[str], list[str] | None) else value


def _numbers(name: str, info: FieldInfo, text: str) -> tuple[int, ...]:
    """'10,40' -> (10, 40). Raises UsageError."""
    metavar = option_of(info).metavar
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or ("..." not in metavar and len(numbers) != len(metavar.split(","))):
        option = option_name(name, info)
        example = option_of(info).example
        such = f", such as {example}" if example else ""
        wanted = f"{option} must be {metavar} in whole numbers{such}, got '{text}'"
        raise UsageError(wanted).about(name)
    return numbers


def _readable_again(path: str) -> str | bytes:
    """The content of a pipe, which can be read but once; any other path or text as it is."""
    if not os.path.exists(path) or os.path.isfile(path) or os.path.isdir(path):
        return path
    from ..media._formats import MAX_BYTES

    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return path  # who reads it says why it cannot be

"""What typer finds wrong with a command line, in the words of this package's other errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import UnclipError, nearest
from ._defaults import key_of, origins_of

_EXTRA = re.compile(r"got unexpected extra arguments?(?:\(s\))? \((.*)\)")
_COMMAND = re.compile(r"No such command '(.*?)'\.")
_CHOICE = re.compile(r"'.*' is not one of (.*?)\.?")


def usage_fault(error: Any) -> str:
    """One line for an error of typer's: what is wrong, and what would be right."""
    from pydantic import ValidationError

    param, cause = getattr(error, "param", None), error.__cause__
    if param is not None and isinstance(cause, ValidationError):
        return _name(param) + _fault(cause.errors(include_url=False)[0]) + _origin(param, error.ctx)
    text = error.format_message()
    if hasattr(error, "possibilities"):
        option = error.option_name
        text = f"no such option: {option}{_nearest_option(option, error.possibilities or ())}"
    if typo := _COMMAND.match(text):  # typer's own hint also names hidden ones
        known = [name for name, one in error.ctx.command.commands.items() if not one.hidden]
        text = f"no such command: {typo[1]}{nearest(typo[1], known)}"
    text = _EXTRA.sub(_extra, f"{text[:1].lower()}{text[1:]}").rstrip(".")
    context = getattr(error, "ctx", None)
    return text + (f" (see {context.command_path} --help)" if context else "")


def at_fault(error: Any) -> str | None:
    """The field that an error is about: of a request, of a setting, or of the command line."""
    if isinstance(error, UnclipError):
        return error.field
    param = getattr(error, "param", None)
    return param and (key_of(param) or _name(param).lower())


def _origin(param: Any, ctx: Any) -> str:
    """Where a value is from that was not typed."""
    origin = ctx and origins_of(ctx, ctx.command.options_of(ctx)).get(key_of(param))
    return f" (from {origin})" if origin else ""


def _extra(found: re.Match[str]) -> str:
    return f"unexpected argument: {found[1]}; put a text of several words in quotes"


def _name(param: Any) -> str:
    """What a person types: the longest name of an option, or what help calls an argument."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    return str(max(param.opts, key=len))


def _fault(fault: Mapping[str, Any]) -> str:
    """' must be a whole number, got 'x''."""
    from ..config import expected

    if choice := _CHOICE.fullmatch(str(fault.get("ctx", {}).get("error", ""))):
        return f" must be one of {choice[1]}, got {fault['input']!r}"
    return expected(fault)


def _nearest_option(option: str, known: Any) -> str:
    """As `nearest`, but the dashes, which all options have, do not make two alike."""
    return nearest(option.lstrip("-"), [one.lstrip("-") for one in known]).replace("'", "'--", 1)

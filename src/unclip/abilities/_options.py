"""What the command line calls the fields of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from ..request import Option


def option_of(info: FieldInfo) -> Option:
    """How a field is shown there."""
    from ..request import Option

    found = [one for one in info.metadata if isinstance(one, Option)]
    return found[-1] if found else Option()


def option_name(name: str, info: FieldInfo) -> str:
    """What the command line calls a field."""
    shown = option_of(info)
    if shown.positional:
        return shown.metavar or name.upper()
    return shown.name or f"--{name.replace('_', '-')}"

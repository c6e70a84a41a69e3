"""Draw another program's picture again, with a model of this package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ._terminal import complain

if TYPE_CHECKING:
    from ..abilities.generate import GenerateRequest
    from ..facade import Pipeline
    from ..parameters import Parameters

AS = "unclip"
"""The only value of --as."""


def others_parameters(file: Path, notes: Mapping[str, str]) -> Parameters:
    """What another program says of a picture. Raises UsageError where it is no use."""
    from ..arguments import check_prompt
    from ..parameters import Parameters

    try:
        found = Parameters.in_notes(notes)
        if found is None:
            raise UsageError("it has neither a record nor parameters of a program known here")
        check_prompt(found.prompt)
    except UsageError as error:
        raise UsageError(f"{file} cannot be drawn: {error}") from None
    return found


def others_request(
    file: Path, parameters: Parameters, pipe: Pipeline, seed: int
) -> GenerateRequest:
    """The request for it; a line for each thing that is not taken over."""
    from ..abilities._others import request_of

    try:
        request, left = request_of(parameters, pipe, seed)
    except UsageError as error:
        raise UsageError(f"{file} cannot be drawn: {error}") from None
    for one in left:
        complain(f"{file}: not taken over: {one}", "warning")
    return request


def hint(notes: Mapping[str, str]) -> str:
    """What to do with a picture that has no record, if another program made it."""
    from ..parameters import Parameters

    try:
        found = Parameters.in_notes(notes)
    except UsageError:
        return ""
    if found is None:
        return ""
    return f"; it has parameters of {found.program}: add --as {AS} to draw its prompt"

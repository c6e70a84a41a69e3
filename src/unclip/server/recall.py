"""How an uploaded picture was made, as fields that a job takes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..abilities import ability_of
from ..abilities._others import request_of
from ..abilities._recorded import words_of
from ..arguments import check_prompt
from ..errors import UnclipError, UsageError
from ..parameters import Parameters
from ..record import Record
from ..request import Drawing
from .abilities import check_bounds, drawing, pictures_of

if TYPE_CHECKING:
    from ..facade import Pipeline
    from .lane import Lane
    from .protocol import ModelInfo

Recalled = dict[str, Any]
PICTURE = object()
"""Stands for one that is not there."""
READING = 5.0
"""Most seconds that an upload waits for a worker to read what another program wrote."""


async def recalled(
    notes: Mapping[str, str], models: Sequence[ModelInfo], lanes: Sequence[Lane]
) -> Recalled | None:
    """How a picture was made; None where it does not say, or nothing of use.

    Args:
        notes: what programs wrote in it.
        models: that are served.
        lanes: of workers, one of which reads what other programs wrote.
    """
    with suppress(UnclipError, TimeoutError):
        if "unclip" in notes:
            return of_record(notes["unclip"], models)
        if Parameters.in_notes(notes) is not None and models and lanes:
            lane = min(lanes, key=lambda one: (bool(one.running), one.asked))
            about = {"model": models[0].name, "notes": dict(notes)}
            answer = await lane.ask(READING, kind="recall", **about)
            found: Recalled = answer["recalled"]
            return found
    return None


def of_record(text: str, models: Sequence[ModelInfo]) -> Recalled:
    """What a record of this package says. Raises UsageError where no job can be made of it."""
    record = Record.parse(text)
    request = ability_of(record.ability).request
    if not issubclass(request, Drawing):
        raise UsageError(f"'{record.ability}' draws no picture")
    words, takes = words_of(record), pictures_of(request)
    known = {name: one for name, one in words.items() if name in request.model_fields}
    files = {name: one for name, one in record.inputs.items() if name in takes.keys() - known}
    needed = [name for name in takes if request.model_fields[name].is_required()]
    given = dict.fromkeys([name for name in needed if name not in known], PICTURE)
    try:
        made = request.of_record(record, **known, **given)
    except UsageError:  # it began from others too
        given |= dict.fromkeys(files, PICTURE)
        made = request.of_record(record, **known, **given)
    served = next((one.name for one in models if one.hash == record.model_hash), None)
    return _shown(made) | {
        "inputs": {name: str(files.get(name, "")) for name in given},
        "model": record.model,
        "served": served,
        "program": "unclip",
        "left": [f"{name} is not known here" for name in record.unknown],
    }


def of_parameters(notes: Mapping[str, str], pipe: Pipeline) -> Recalled:
    """What another program says, as far as a model can draw it. Raises UsageError."""
    parameters = Parameters.in_notes(notes)
    if parameters is None:
        raise UsageError("no program known here wrote of it")
    check_prompt(parameters.prompt)
    made, left = request_of(parameters, pipe, random.randrange(2**31))
    return _shown(made) | {
        "inputs": {},
        "model": parameters.model,
        "served": None,
        "program": parameters.program,
        "left": left,
    }


def texts_of(request: Drawing) -> dict[str, str]:
    """The texts that a record names among its inputs."""
    fields = type(request).model_fields.items()
    values = {name: getattr(request, name) for name, info in fields if info.exclude}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def _shown(request: Drawing) -> Recalled:
    """The ability, and the fields that are not as they are by default. Raises UsageError."""
    check_bounds(request)
    command = next(name for name, one in drawing().items() if one is type(request))
    fields = {**texts_of(request), **request.model_dump(mode="json", exclude_defaults=True)}
    fields["seed"] = request.seed
    return {"ability": command, "fields": fields, "seed": request.seed}

"""What jobs may ask for: every ability that draws, by the same requests as everywhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..abilities import ABILITIES, Ability
from ..abilities._several import shared
from ..errors import UsageError, nearest
from ..media import SUFFIXES
from ..request import Drawing, Option
from . import errors
from .job import Spec

MOST_PICTURES = 64
"""Most pictures of a job."""
MOST_SEED = 2**63 - 2 * MOST_PICTURES
"""Largest seed, so that those of all pictures can be stored."""
BOUNDS = {
    "seed": {"minimum": 0, "maximum": MOST_SEED},
    **{name: {"maximum": MOST_PICTURES} for name in ("n", "frames")},
}
"""Of fields, narrower than an ability's own."""
EITHER = "IMAGE|PROMPT"
"""How the command line shows what may be a picture or a text."""


_HERE = {
    "must be a section": "must be an object",
    "; --seed -1 is a random one": "",
    "; it may have an option of its own (see --help)": "; it may be a field of its own",
}
"""Words of the command line or of Python: what they are called here."""


@cache
def drawing() -> dict[str, type[Drawing]]:
    """The requests of the abilities that draw, by the names of their commands."""
    known = {name: ABILITIES[name].request for name in ABILITIES.names()}
    return {name: one for name, one in known.items() if issubclass(one, Drawing)}


def pictures_of(request: type[Drawing]) -> dict[str, bool]:
    """The fields that take one picture, and whether a text may be there instead."""
    found = {}
    for name, field in request.model_fields.items():
        options = [one for one in field.metadata if isinstance(one, Option)]
        if field.annotation is Any and not any(one.folder for one in options):
            found[name] = any(one.metavar == EITHER for one in options)
    return found


def describe(name: str) -> dict[str, Any]:
    """An ability: what it is for, the schema of its fields, and the pictures that it takes."""
    request, ability = drawing()[name], ABILITIES[name]
    schema = request.model_json_schema()
    properties, inputs = dict(schema.get("properties", {})), {}
    required = set(schema.get("required", ()))
    for field, or_text in pictures_of(request).items():
        told = properties.pop(field)
        about = {"description": told.get("description", ""), "required": field in required}
        inputs[field] = {**about, "or_text": or_text}
        if or_text:
            properties[field] = {"type": "string", "description": about["description"]}
    kept = properties.keys() - _folders(request)
    fields = {
        "type": "object",
        "properties": {key: _one(key, one) for key, one in properties.items() if key in kept},
        "required": sorted(required - inputs.keys()),
        "additionalProperties": False,
    }
    return {"help": _help(ability), "needs": sorted(ability.needs), "fields": fields,
            "inputs": inputs}  # fmt: skip


def _folders(request: type[Drawing]) -> set[str]:
    """Fields that take a folder of pictures, which nobody may name here."""
    return {
        name
        for name, field in request.model_fields.items()
        if any(isinstance(one, Option) and one.folder for one in field.metadata)
    }


def _one(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema, with this server's bounds, and without what JSON Schema does not know."""
    left = ("title", "ge", "le")  # pydantic's, where it cannot say them as bounds
    return {key: one for key, one in schema.items() if key not in left} | BOUNDS.get(name, {})


def _help(ability: Ability) -> str:
    """The command's help, without its examples."""
    module = __import__(ability.request.__module__, fromlist=["__doc__"])
    return " ".join((module.__doc__ or "").partition("\b")[0].split())


def spec_of(
    name: str, fields: Mapping[str, Any], inputs: Mapping[str, tuple[str, Path]], model: str
) -> Spec:
    """The job of an ability, checked as its command checks it.

    Args:
        fields: of its request, without pictures.
        inputs: field -> digest and path of a stored picture.

    Raises:
        ApiError: a field is unknown, missing or out of range.
    """
    if name not in drawing():
        known = ", ".join(drawing())
        raise errors.invalid("ability", f"Invalid value: {name!r}. Supported values are: {known}.")
    kind = drawing()[name]
    given = {key: value for key, value in fields.items() if value is not None}
    _check_known(name, given)
    _check_places(kind, given, inputs)
    try:
        request = kind.of(**given, **{key: str(path) for key, (_, path) in inputs.items()})
        request.check_inputs()
        check_bounds(request)
    except UsageError as error:
        raise errors.invalid(error.field, _in_json(str(error))) from None
    own = request.model_dump(mode="json", exclude_unset=True)
    texts = {key: given[key] for key in given.keys() & kind.model_fields.keys() - own.keys()}
    return Spec(
        ability=name,
        fields={**own, **texts},
        inputs={key: digest for key, (digest, _) in inputs.items()},
        model=model,
        pictures=_pictures(request),
        batch=f"{model} {kept}" if (kept := shared(request)) else "",
    )


def check_bounds(request: Drawing) -> None:
    """Raise UsageError for what no job takes, though the ability does."""
    count = _pictures(request)
    if count > MOST_PICTURES:
        raise UsageError(f"A job has at most {MOST_PICTURES} pictures, got {count}.").about("n")
    if request.seed > MOST_SEED:
        text = f"seed must be at most {MOST_SEED}."
        raise UsageError(text).about("seed")


def _check_known(ability: str, fields: Mapping[str, Any]) -> None:
    """Raise ApiError where the ability has no such field."""
    names = drawing()[ability].model_fields
    for name in fields.keys() - names.keys():
        hint = nearest(name, names) or "; settings of the sampling, such as steps, are in settings"
        text = f"'{ability}' has no field {errors.quoted(name)}{hint}."
        raise errors.invalid(name[:60], text, "unknown_parameter")


def _in_json(message: str) -> str:
    """The words of an error of the command line or of Python, as they are called here."""
    for ours, here in _HERE.items():
        message = message.replace(ours, here)
    return message


def _pictures(request: Drawing) -> int:
    """How many it draws."""
    for field in ("frames", "n"):
        if field in type(request).model_fields:
            return int(getattr(request, field))
    return len(getattr(request, "dims", (1,)))


def _check_places(
    kind: type[Drawing], fields: Mapping[str, Any], inputs: Mapping[str, Any]
) -> None:
    """Raise ApiError where a text would be read as a file's name, or a picture is no input."""
    takes = pictures_of(kind)
    for name in inputs:
        if name not in takes or name in fields:
            raise errors.invalid(f"inputs.{name}", f"inputs.{name}: no picture can be given there.")
    for name, or_text in takes.items():
        value = fields.get(name)
        if value is None:
            continue
        if not (or_text and isinstance(value, str)):
            raise errors.invalid(name, f"{name} is a picture: upload it and name it in inputs.")
        if os.sep in value or Path(value).suffix.lower() in SUFFIXES or os.path.isfile(value):
            raise errors.invalid(name, f"{name} must be a text that is no file's name.")
    for name in _folders(kind) & fields.keys():
        raise errors.invalid(name, f"{name} cannot be given here.")

"""Where an error of pydantic's is, in the keys that a file has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel


def written(cls: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """A path of pydantic's in the keys of a file: the `kind` of a union is none."""
    return [str(key) for key, of_file, _ in _walk(cls, path) if of_file]


def known_keys(cls: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The field names of the models that may stand at a path of keys."""
    *_, models = [cls], *(models for _, _, models in _walk(cls, path))
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _walk(
    cls: type[BaseModel], path: Sequence[str | int]
) -> Iterator[tuple[str | int, bool, list[type[BaseModel]]]]:
    """Each key of a path, whether a file has it, and the models that may stand there."""
    models, may_be_kind = [cls], False
    for key in path:
        fields = [model.model_fields[key] for model in models if key in model.model_fields]
        of_kind = [model for model in models if key in _kinds(model)]
        if not fields and of_kind and may_be_kind:
            models, may_be_kind = of_kind, False
            yield key, False, models
            continue
        inner = [model for field in fields for model in _models(field.annotation)]
        models = inner or models  # a place in a list is no key of a model
        may_be_kind = bool(inner) or (may_be_kind and isinstance(key, int))
        yield key, True, models


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    """By which a union knows a model."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)

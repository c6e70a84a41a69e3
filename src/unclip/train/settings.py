"""Every setting of a recipe: its key, type, default, bounds and help, for the terminal and docs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..data import SOURCES
from ..data.framing import FrameSettings
from ..nn.conditioning import NETWORKS, NetConfig
from ..stages import STAGES
from .config import TrainConfig
from .recipe import Recipe, RecipeSettings, TokenizerConfig
from .skipped import MOST

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

TOP = "the recipe itself"
ANY = "with any source: what it is, and how its pictures are cut"

OWN = {
    "kind": "what the stage is; by default the section's name",
    "from": "a model of any format from which the stage takes its configuration and weights",
    "from_stage": "which of its stages, if not the one of this name or kind",
}
"""Keys of a stage's section beside those of its kind."""


@dataclass(frozen=True)
class Setting:
    """One key of a section."""

    key: str
    type: str
    default: str  # as it is written in TOML; empty where it must be given
    bounds: str
    help: str
    value: str = ""  # what a recipe has


@dataclass(frozen=True)
class Section:
    """The keys that stand together.

    Args:
        name: as in TOML, with NAME for what a recipe names as it likes.
        about: what it is for.
    """

    name: str
    about: str
    settings: tuple[Setting, ...]

    def dump(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def every_section() -> list[Section]:
    """All sections that a recipe may have, each nested one once."""
    found = [
        section(RecipeSettings, "", TOP, skip=("data", "stages", "tokenizer")),
        section(TokenizerConfig, "tokenizer", _first_line(TokenizerConfig)),
        *(
            section(SOURCES[name].Config, "data", f'with source = "{name}"')
            for name in SOURCES.names()
        ),
        Section("data", ANY, (*_data_keys(), *section(FrameSettings, "data", "").settings)),
        section(TrainConfig, "stages.NAME.train", "how a stage is trained; without it, it is not"),
        Section("stages.NAME", "beside the keys of its kind", _own_keys()),
    ]
    nested: dict[type[BaseModel], list[str]] = {}
    _collect(RecipeSettings, nested, "")
    nested.pop(TokenizerConfig)
    _collect(TrainConfig, nested, "stages.NAME.train")
    for name in STAGES.names():
        config = STAGES[name].Config
        found.append(section(config, "stages.NAME", f'with kind = "{name}"', skip=("kind",)))
        _collect(config, nested, "stages.NAME")
    found += [section(cls, paths[0], _about(cls)) for cls, paths in nested.items()]
    return [one for one in found if one.settings]


def sections_of(recipe: Recipe) -> list[Section]:
    """The sections of a recipe, with the values that they have in it."""
    settings = recipe.settings
    (top,) = _valued(settings, "", skip=("data", "stages", "tokenizer", "card"))
    found = [
        replace(top, about=TOP),
        *_valued(settings.tokenizer, "tokenizer"),
        *_data_of(recipe),
    ]
    for name, stage in recipe.stages.items():
        found += _valued(stage.config, f"stages.{name}")
        if stage.train is not None:
            found += _valued(stage.train, f"stages.{name}.train")
    return found


def markdown(sections: list[Section]) -> str:
    """A table a section."""
    lines = list[str]()
    for one in sections:
        title = f"`[{one.name}]`" if one.name else "Top of the file"
        about = f"{one.about[:1].upper()}{one.about[1:]}."
        lines += [f"### {title}", "", about, "", *table(one.settings), ""]
    return "\n".join(lines)


def table(settings: Iterable[Setting]) -> list[str]:
    """The lines of a table in Markdown."""
    lines = ["| key | type | default | bounds | help |", "|---|---|---|---|---|"]
    for it in settings:
        default = f"`{it.default}`" if it.default else "must be given"
        cells = [f"`{it.key}`", it.type, default, it.bounds, it.help]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def section(cls: type[BaseModel], name: str, about: str, skip: tuple[str, ...] = ()) -> Section:
    """The fields of a class but nested ones, which are sections of their own."""
    fields = {key: info for key, info in cls.model_fields.items() if key not in skip}
    rows = (_setting(key, info) for key, info in fields.items() if not _is_nested(info))
    return Section(name, about, tuple(rows))


def _valued(config: BaseModel, name: str, skip: tuple[str, ...] = ()) -> Iterator[Section]:
    rows, inner = list[Setting](), list[Section]()
    for key, info in type(config).model_fields.items():
        value = getattr(config, key)
        if key in skip:
            continue
        if isinstance(value, BaseModel):
            inner += _valued(value, f"{name}.{key}" if name else key)
        else:
            rows.append(_setting(key, info, _written(value)))
    yield Section(name, _about(type(config)), tuple(rows))
    yield from inner


def _setting(key: str, info: FieldInfo, value: str = "") -> Setting:
    default = info.get_default(call_default_factory=True, validated_data={})
    shown = "" if info.is_required() else _written(default)
    return Setting(key, _type(info.annotation), shown, _limits(info), info.description or "", value)


def _data_keys(source: str = "", most: str = "") -> tuple[Setting, ...]:
    """Those of any source beside `FrameSettings`, with their values."""
    kinds = " or ".join(f'"{name}"' for name in SOURCES.names())
    about = "largest share of samples that may be skipped because they cannot be made"
    return (
        Setting("source", kinds, "", "", "what kind of data `path` holds", source),
        Setting("max_skipped", "number", _written(MOST), "at least 0, at most 1", about, most),
    )


def _data_of(recipe: Recipe) -> Iterator[Section]:
    """The section `data` of a recipe: the keys of any source, then its source's own."""
    own = _data_keys(_written(recipe.settings.data["source"]), _written(recipe.max_skipped))
    (framing,) = _valued(recipe.framing, "data")
    source, *inner = _valued(recipe.data, "data")
    yield replace(source, settings=(*own, *framing.settings, *source.settings))
    yield from inner


def _own_keys() -> tuple[Setting, ...]:
    return tuple(Setting(key, "text", "none", "", text) for key, text in OWN.items())


def _collect(cls: type[BaseModel], into: dict[type[BaseModel], list[str]], path: str) -> None:
    """The nested sections of a section, each class once."""
    for key, info in cls.model_fields.items():
        for inner in _models(info.annotation):
            place = f"{path}.{key}" if path else key
            seen = inner in into
            into.setdefault(inner, []).append(place)
            if not seen:
                _collect(inner, into, place)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is NetConfig or (issubclass(annotation, NetConfig) and _is_usual(annotation)):
            return [NETWORKS[name] for name in NETWORKS.names()]
        return [annotation]
    return [one for inner in get_args(annotation) for one in _models(inner)]


def _is_usual(annotation: type[BaseModel]) -> bool:
    """Whether `kind` may name another network in its place."""
    return annotation is NETWORKS["unet"]


def _is_nested(info: FieldInfo) -> bool:
    return bool(_models(info.annotation))


def _type(annotation: Any) -> str:
    """In words."""
    inner = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " or ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(one) for one in inner if one is not NoneType))
    if origin in (tuple, list):
        each = [one for one in inner if one is not Ellipsis]
        many = Ellipsis in inner or origin is list
        return f"list of {_type(each[0])}" if many else f"[{', '.join(map(_type, each))}]"
    if origin in (dict, Mapping) or annotation in (dict, Mapping):
        return "section"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f'"{one.value}"' for one in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _WORDS.get(annotation, "any")


def _limits(info: FieldInfo) -> str:
    """'at least 0, below 1': its own bounds, or those of each value of a list."""
    found = _bounds(info.metadata) or _inner_bounds(info.annotation)
    return ", ".join(f"{_BOUNDS[key]} {_bound(value)}" for key, value in found.items())


def _bound(value: float) -> str:
    """As in TOML; a large power of 10 or 2 as such."""
    for base in (10, 2):
        power = round(math.log(value, base)) if value >= 10**12 else 0
        if power and base**power == value:
            return f"{base}^{power}"
    return _written(value)


def _bounds(metadata: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in metadata:
        for key in _BOUNDS:
            value = getattr(one, key, None)
            if isinstance(value, int | float):
                found[key] = value
        found |= _bounds(getattr(one, "metadata", ()))
    return found


def _inner_bounds(annotation: Any) -> dict[str, float]:
    if get_origin(annotation) is Annotated:
        return _bounds(annotation.__metadata__)
    found: dict[str, float] = {}
    for inner in get_args(annotation):
        found = found or _inner_bounds(inner)
    return found


def _written(value: Any) -> str:
    """As in TOML."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return f'"{value}"' if "\n" not in str(value) else '"..."'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {_written(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return f"{value:g}" if isinstance(value, float) and value < 1e5 else str(value)


def _about(cls: type[BaseModel]) -> str:
    kind = cls.model_fields.get("kind")
    named = kind.get_default() if kind is not None and not kind.is_required() else None
    text = _first_line(cls)
    return f'with kind = "{named}": {text}' if isinstance(named, str) else text


def _first_line(cls: type[BaseModel]) -> str:
    return (cls.__doc__ or cls.__name__).strip().split("\n\n")[0].replace("\n    ", " ").strip(" .")

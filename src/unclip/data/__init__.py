"""Sources of samples, one file a source. A source knows nothing of networks or training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import UsageError, nearest
from ..registry import Registry
from .source import IndexedSource, Sample, Source

SOURCES: Registry[type[Source]] = Registry("unclip.data", "SOURCE", "data source")

__all__ = ["SOURCES", "IndexedSource", "Sample", "Source", "settings_of", "source_at"]


def source_at(
    path: Path, size: tuple[int, int], settings: Mapping[str, Any] | None = None
) -> Source:
    """The source that reads a folder; a plain folder of pictures if no other knows it.

    Args:
        path: the folder, or a file or pattern of a source that takes one.
        size: (height, width) of the pictures.
        settings: others of the source, such as the names of columns.

    Raises:
        DataError: it has no pictures or no captions.
        UsageError: the source has no such settings.
    """
    given = {key: value for key, value in (settings or {}).items() if value is not None}
    names = [*(name for name in SOURCES.names() if name != "folder"), "folder"]
    for name in names:
        if given and SOURCES[name].recognises(path):
            settings_of({"source": name, "path": path, **given})
        more = (given,) if given else ()
        found = SOURCES[name].at(path, size, *more)
        if found is not None:
            return found
    raise AssertionError("a folder is any folder")


def settings_of(values: Mapping[str, Any], where: str = "data") -> Config:
    """The settings of the source that `values["source"]` names.

    Args:
        values: of the section `where` of a recipe.
        where: its name, in errors.

    Raises:
        UsageError: there is no such source, or it has no such setting; the message says which.
    """
    kind = SOURCES[str(values["source"])]
    known = list(kind.Config.model_fields)
    given = {key: value for key, value in values.items() if key != "source"}
    for key, value in given.items():
        if key not in known:
            what = "section" if isinstance(value, Mapping) else "setting"
            takes = ", ".join(known) or "no settings"
            raise UsageError(
                f"unknown {what} '{where}.{key}'{nearest(key, [*known, 'source'])}; "
                f"the source '{values['source']}' takes: {takes}"
            )
    return kind.Config.parse(given, where)

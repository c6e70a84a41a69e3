"""Sources of samples, one file a source. A source knows nothing of networks or training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import DataError, UsageError, nearest
from ..registry import Registry
from .source import IndexedSource, Item, ListedSource, Sample, Source

SOURCES: Registry[type[Source]] = Registry("unclip.data", "SOURCE", "data source")

__all__ = [
    "SOURCES", "IndexedSource", "Item", "ListedSource", "Sample", "Source", "opened", "settings_of",
    "source_at",
]  # fmt: skip


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


def opened(name: str, config: Config, size: tuple[int, int]) -> Source:
    """The source of a name, with its settings and (height, width) of the pictures.

    Raises:
        DataError: the data are not there; where they are another source's, the message says so.
        UsageError: the source cannot give such pictures, or needs what is not installed.
    """
    try:
        return SOURCES[name](config, size)  # type: ignore[call-arg]
    except DataError as error:
        path = Path(getattr(config, "path", ""))
        others = [other for other in SOURCES.names() if other not in (name, "folder")]
        fitting = next((other for other in others if SOURCES[other].recognises(path)), None)
        if fitting is None or (SOURCES[name].recognises(path) and name != "folder"):
            raise
        raise DataError(f"{error}; it looks like data for source = '{fitting}'") from None


def settings_of(
    values: Mapping[str, Any], where: str = "data", general: Sequence[str] = ()
) -> Config:
    """The settings of the source that `values["source"]` names.

    Args:
        values: of the section `where` of a recipe.
        where: its name, in errors.
        general: keys that the section has whatever the source; they are not among `values`.

    Raises:
        UsageError: there is no such source, or it has no such setting; the message says which.
    """
    kind = SOURCES[str(values["source"])]
    known = list(kind.Config.model_fields)
    given = {key: value for key, value in values.items() if key != "source"}
    for key, value in given.items():
        if key not in known:
            what = "section" if isinstance(value, Mapping) else "setting"
            takes = ", ".join([*known, *general]) or "no settings"
            raise UsageError(
                f"unknown {what} '{where}.{key}'{nearest(key, [*known, 'source', *general])}; "
                f"the source '{values['source']}' takes: {takes}"
            )
    if where == "data" and "path" in known and "path" not in given:
        raise UsageError("setting 'data.path' is missing: name it, or give --data DIR")
    return kind.Config.parse(given, where)

"""A section that names a data source: a recipe's `data`, and its `validation.data`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import Config, shown, unknown
from ..data import IndexedSource, Source, opened, settings_of
from ..data.framing import FrameSettings
from ..errors import UsageError, nearest
from .skipped import MOST

DATA_KEYS = ("source", "max_skipped", *FrameSettings.model_fields)
"""Keys of such a section that are not settings of the source."""


def check_section(values: Mapping[str, Any], where: str = "data") -> None:
    """Raise ValueError where no source is named, or a share is none."""
    if "source" not in values:
        wrong = [key for key in values if nearest(key, ["source"])]
        meant = [unknown(f"{where}.{key}", values[key], ["source"]) for key in wrong]
        raise ValueError(*meant[:1] or [f"setting '{where}.source' is missing"])
    share = values.get("max_skipped", MOST)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(
            f"setting '{where}.max_skipped' must be a share from 0 to 1, got {shown(share)}"
        )


def source_settings(values: Mapping[str, Any], where: str = "data") -> Config:
    """The settings of the source that a section names. Raises UsageError."""
    own = {key: one for key, one in values.items() if key not in DATA_KEYS[1:]}
    return settings_of(own, where, DATA_KEYS[1:])


def source_of(values: Mapping[str, Any], size: tuple[int, int], where: str = "data") -> Source:
    """That source, with (height, width) pictures. Raises UsageError or DataError."""
    return opened(str(values["source"]), source_settings(values, where), size)


def by_position(source: Source) -> IndexedSource:
    """A source of which pictures can be held out. Raises UsageError."""
    if not isinstance(source, IndexedSource):
        raise UsageError(
            "setting 'validation' needs a source whose samples can be had by position, not a "
            "stream: name a folder of pictures in validation.data"
        )
    return source

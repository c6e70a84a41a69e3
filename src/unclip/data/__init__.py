"""Sources of samples, one file a source. A source knows nothing of networks or training."""

from __future__ import annotations

from pathlib import Path

from ..registry import Registry
from .source import IndexedSource, Item, ListedSource, Sample, Source

SOURCES: Registry[type[Source]] = Registry("unclip.data", "SOURCE", "data source")

__all__ = ["SOURCES", "IndexedSource", "Item", "ListedSource", "Sample", "Source", "source_at"]


def source_at(path: Path, size: tuple[int, int]) -> Source:
    """The source that reads a folder; a plain folder of pictures if no other knows it.

    Raises:
        DataError: it has no pictures or no captions.
    """
    others = [SOURCES[name] for name in SOURCES.names() if name != "folder"]
    found = (source.at(path, size) for source in [*others, SOURCES["folder"]])
    return next(source for source in found if source is not None)

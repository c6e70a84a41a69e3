"""Sources of samples, one file a source. A source knows nothing of networks or training."""

from __future__ import annotations

from ..registry import Registry
from .source import IndexedSource, Sample, Source

SOURCES: Registry[type[Source]] = Registry("unclip.data", "SOURCE", "data source")

__all__ = ["SOURCES", "IndexedSource", "Sample", "Source"]

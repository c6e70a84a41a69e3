"""Libraries of data sources, which are not installed with the package itself."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import UsageError


def needed(what: str, library: str, extra: str) -> Any:
    """The library, or a part of it such as `pyarrow.parquet`, that `what` needs.

    Raises:
        UsageError: it is not installed; `extra` brings it.
    """
    name = library.partition(".")[0]
    try:
        import_module(library)
        return import_module(name)
    except ImportError:
        raise UsageError(f"{what} {name}: pip install 'unclip[{extra}]'") from None

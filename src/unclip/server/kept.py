"""What the parts of the store have in common: the database, the files, and rows as types."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Row

from .database import Database
from .files import Files
from .job import Drawn, Spec

T = TypeVar("T")


class Kept:
    """The folder's database and files.

    Args:
        folder: made if it is not there.
        now: seconds since 1970.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._db, self._now = Database(folder), now
        try:
            self._files = Files(folder)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the database, and let another process open it."""
        self._db.close()


def drawn_of(row: Row[Any]) -> Drawn:
    """A row of the table of pictures."""
    return Drawn(
        id=row.id,
        seed=row.seed,
        width=row.width,
        height=row.height,
        native=(row.native_width, row.native_height),
        bytes=row.bytes,
        format=row.format,
        favourite=row.favourite,
    )


def spec_of(values: dict[str, Any]) -> Spec:
    """What a row asks for; of one that another version wrote, a request that no worker draws.

    It then fails alone, with a reason: one row must not stop whoever reads many.
    """
    try:
        return Spec.of(values)
    except (KeyError, TypeError, ValueError):
        return Spec("of another version of unclip", {})


def storable(text: str) -> str:
    """A text that UTF-8 can hold: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def words_of(fields: dict[str, Any]) -> str:
    """What a request's pictures are searched by: its prompts, in folded case."""
    values = [fields.get(name) for name in ("prompt", "source", "target", "a", "b")]
    texts = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return storable(" ".join(text for text in texts if isinstance(text, str)).casefold())


def parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most so many values."""
    for start in range(0, len(values), size):
        yield values[start : start + size]

"""The store: what was asked of the server and what was drawn, kept through any end of the process.

A folder holds `unclip.db` (SQLite), `inputs/` (pictures that jobs read, by digest), `pictures/`
(what was drawn) and `lock` (one server a folder).
"""

from __future__ import annotations

from .gallery import Changes, Collection, Found, Gallery, Picture, Search
from .history import History, Pruned
from .queue import Queue, QueueFull, Room

__all__ = [
    "Changes",
    "Collection",
    "Found",
    "Picture",
    "Pruned",
    "QueueFull",
    "Room",
    "Search",
    "Store",
]


class Store(Queue, Gallery, History):
    """The queue, the gallery and the history of a folder, safe in any thread.

    A job that `add` has returned is never lost: what was running when the process ended, however it
    ended, is queued again by the next start. A job ends once.

    Raises:
        UsageError: another process has the folder, or a later version made it.
        OutputError: the folder cannot be written, or its database is damaged or locked.
    """

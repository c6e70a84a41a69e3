"""How much each key may upload: what no job reads takes room on the disk for a day.

A picture that is stored already takes no more room, and is not counted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from .errors import ApiError
from .history import UNUSED

GIGABYTE = 2**30


class Allowance:
    """Bytes that each owner has uploaded within a day, counted since the server's start.

    Args:
        most: of each.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._taken: dict[str, deque[tuple[float, int]]] = {}

    def take(self, owner: str, size: int) -> None:
        """Count an upload. Raises ApiError (429) where it is more than may be."""
        for one in list(self._taken):
            self._forget(one)
        if sum(bytes for _, bytes in self._taken.get(owner, ())) + size > self._most:
            raise _too_much(self._most)
        self._taken.setdefault(owner, deque()).append((self._clock(), size))

    def _forget(self, owner: str) -> None:
        """What was taken more than a day ago."""
        taken, long_ago = self._taken[owner], self._clock() - UNUSED
        while taken and taken[0][0] <= long_ago:
            taken.popleft()
        if not taken:
            del self._taken[owner]


def _too_much(most: int) -> ApiError:
    text = f"Uploads of one key take at most {most / GIGABYTE:g} GB in a day (--upload-gigabytes)."
    return ApiError(429, text, "requests", code="upload_quota_exceeded", should_retry=False)

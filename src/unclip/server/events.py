"""What happens to jobs, kept for those who watch them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from .job import ENDED, Event

KEPT = 100
"""Logs of ended jobs that are kept for those who come back; of others the store knows the end."""

SHOWN = 32
"""Of these, the last whose previews are kept too."""

LONGEST = 500
"""Events of a log; of more, the oldest steps are forgotten."""


class Log:
    """The events of a job, in order; of previews and steps, the newest of each picture alone."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._count = 0
        self._more = asyncio.Event()
        self.ended = False

    def add(self, kind: str, **data: Any) -> Event:
        """Tell of something."""
        self._count += 1
        event = Event(self._count, kind, data)
        if kind in ("step", "preview", "queued"):
            self._events = [one for one in self._events if not _replaced(one, event)]
        self._events.append(event)
        self._events = self._events[-LONGEST:]
        self.ended = self.ended or kind in ENDED
        self._more.set()
        self._more = asyncio.Event()
        return event

    def forget_previews(self) -> None:
        """Keep the rest, which is small."""
        self._events = [one for one in self._events if one.kind != "preview"]

    async def follow(self, after: int = 0) -> AsyncIterator[Event]:
        """Events numbered above `after`, as they come, to the one that ends the job."""
        while True:
            more = self._more
            for event in [one for one in self._events if one.number > after]:
                after = event.number
                yield event
            if self.ended:
                return
            if more is self._more:
                await more.wait()


def _replaced(old: Event, new: Event) -> bool:
    """Whether the new event makes an old one useless."""
    if new.kind != "preview":
        return old.kind == new.kind
    which = ("index", "number")
    return old.kind == new.kind and all(old.data.get(one) == new.data.get(one) for one in which)


class Logs:
    """The log of each job; those of ended jobs go when there are too many."""

    def __init__(self) -> None:
        self._logs: OrderedDict[str, Log] = OrderedDict()

    def __getitem__(self, job: str) -> Log:
        return self._logs.setdefault(job, Log())

    def get(self, job: str) -> Log | None:
        """A job's log; None where it is forgotten, or of before a restart."""
        return self._logs.get(job)

    def prune(self) -> None:
        """Forget the oldest of ended jobs."""
        ended = [job for job, log in self._logs.items() if log.ended]
        for job in ended[:-SHOWN]:
            self._logs[job].forget_previews()
        for job in ended[:-KEPT]:
            del self._logs[job]

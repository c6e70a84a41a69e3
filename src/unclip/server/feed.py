"""What happens to all of an owner's jobs and pictures, for those who follow them in one stream."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from .job import ENDED

MOST = 1000
"""News that wait for one who reads slowly; of more, all are forgotten, and that is told."""
MOST_PREVIEWS = 64
"""Of these, previews: of more, the oldest are left out."""


@dataclass(frozen=True)
class News:
    """Something that happened.

    Args:
        kind: as of an `Event`, or "pictures".
        job: to which it happened, by id; empty where it is none.
        data: plain data for JSON.
    """

    kind: str
    job: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def key(self, number: int) -> Hashable:
        """Equal for news of which the newest alone matters."""
        if self.kind == "preview":
            return self.kind, self.job, self.data.get("index"), self.data.get("number")
        return (self.kind, self.job) if self.kind in ("step", "queued") else number


class Feed:
    """News of one owner, until they are read; how much is kept is bounded.

    Args:
        owner: whose.
        previews: whether they are wanted.
    """

    def __init__(self, owner: str, previews: bool) -> None:
        self.owner, self.previews = owner, previews
        self._news: dict[Hashable, News] = {}
        self._numbers, self._missed, self._more = count(), False, asyncio.Event()

    def add(self, news: News) -> None:
        """Something happened."""
        if news.kind == "preview" and not self.previews:
            return
        if news.kind in ENDED:
            passing = [key for key, one in self._news.items() if _is_past(one, news.job)]
            self._forget(passing)
        key = news.key(next(self._numbers))
        self._news.pop(key, None)
        self._news[key] = news
        if news.kind == "preview":
            shown = [key for key, one in self._news.items() if one.kind == "preview"]
            self._forget(shown[:-MOST_PREVIEWS])
        if len(self._news) > MOST:
            self._news, self._missed = {}, True
        self._more.set()

    def _forget(self, keys: Sequence[Hashable]) -> None:
        for key in keys:
            del self._news[key]

    async def next(self) -> News | None:
        """The oldest that was not read; None where some were forgotten, which is told once."""
        while not self._news and not self._missed:
            self._more.clear()
            await self._more.wait()
        if self._missed:
            self._missed = False
            return None
        return self._news.pop(next(iter(self._news)))


def _is_past(news: News, job: str) -> bool:
    """Whether a job's end makes it useless."""
    return news.job == job and news.kind in ("step", "preview", "queued")


class Feeds:
    """All that are followed now."""

    def __init__(self) -> None:
        self._feeds: list[Feed] = []

    @contextmanager
    def following(self, owner: str, previews: bool) -> Iterator[Feed]:
        """Within, an owner's news are collected."""
        feed = Feed(owner, previews)
        self._feeds.append(feed)
        try:
            yield feed
        finally:
            self._feeds.remove(feed)

    def wants_previews(self, owner: str) -> bool:
        """Whether anybody looks at those of an owner's jobs."""
        return any(one.previews and one.owner == owner for one in self._feeds)

    def tell(self, owner: str, news: News) -> None:
        """Tell those who follow an owner."""
        for feed in self._feeds:
            if feed.owner == owner:
                feed.add(news)

    def tell_change(self, owner: str, ids: Sequence[str], change: str) -> None:
        """Pictures were "changed", "deleted" or "restored"."""
        self.tell(owner, News("pictures", data={"ids": list(ids), "change": change}))

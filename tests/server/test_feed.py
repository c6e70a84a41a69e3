"""News for one who follows an owner's jobs: in order, the newest of each kind, never too many."""

from __future__ import annotations

import asyncio

from unclip.server.feed import MOST, MOST_PREVIEWS, Feed, Feeds, News


async def read(feed: Feed) -> list[News | None]:
    """All that waits."""
    found: list[News | None] = []
    while True:
        try:
            found.append(await asyncio.wait_for(feed.next(), 0.01))
        except TimeoutError:
            return found


def told(*news: News, previews: bool = True) -> list[News | None]:
    """What is read after all of these."""
    feed = Feed("me", previews)
    for one in news:
        feed.add(one)
    return asyncio.run(read(feed))


def step(job: str, index: int) -> News:
    """A step of a job."""
    return News("step", job, {"index": index})


def preview(job: str, index: int = 0, number: int = 0) -> News:
    """A preview of a picture."""
    return News("preview", job, {"index": index, "number": number})


def test_news_come_in_order_and_of_steps_the_newest() -> None:
    started, done = News("started", "a"), News("done", "b")
    assert told(started, step("a", 1), done, step("a", 2)) == [started, done, step("a", 2)]


def test_a_jobs_end_makes_its_steps_and_previews_useless() -> None:
    done = News("done", "a")
    assert told(step("a", 1), preview("a"), step("b", 1), done) == [step("b", 1), done]


def test_previews_are_of_one_picture_and_of_those_who_want_them() -> None:
    shown = [preview("a", 0), preview("a", 1), preview("b", 0)]
    assert told(*shown, preview("a", 0)) == [*shown[1:], preview("a", 0)]
    assert told(*shown, previews=False) == []


def test_who_reads_slowly_holds_no_unbounded_memory() -> None:
    feed = Feed("me", True)
    for number in range(10 * MOST):
        feed.add(preview(f"{number}"))
        feed.add(step("a", number))
        assert len(feed._news) <= MOST_PREVIEWS + 1
    many = [News("started", f"{number}") for number in range(MOST + 3)]
    assert told(*many) == [None, *many[MOST + 1 :]]  # told once, and what came then


def test_a_reader_who_waits_is_woken() -> None:
    async def waiting() -> News | None:
        feed = Feed("me", True)
        reading = asyncio.create_task(feed.next())
        await asyncio.sleep(0)
        feed.add(step("a", 1))
        return await asyncio.wait_for(reading, 5)

    assert asyncio.run(waiting()) == step("a", 1)


def test_nobody_is_told_of_anothers() -> None:
    async def two() -> tuple[list[News | None], list[News | None]]:
        feeds = Feeds()
        with feeds.following("a", True) as first, feeds.following("b", False) as second:
            assert feeds.wants_previews("a") and not feeds.wants_previews("b")
            feeds.tell("a", step("j", 1))
            feeds.tell_change("b", ["p"], "deleted")
            found = await read(first), await read(second)
        assert not feeds.wants_previews("a")
        return found

    first, second = asyncio.run(two())
    assert first == [step("j", 1)]
    assert second == [News("pictures", "", {"ids": ["p"], "change": "deleted"})]

"""Following the log: nothing missed, nothing twice, and a gap is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.services.feed import Gap
from tests.support.house import House, house


def motion(it: House, number: int) -> NewEvent:
    return NewEvent(EventType.MOTION_DETECTED, it.clock.now(), payload={"n": number})


async def write(it: House, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await it.store.append([motion(it, number)])


async def heard(it: House, after: int, until: int) -> list[int | Gap]:
    """What a follower from `after` is told, up to position `until`."""
    told: list[int | Gap] = []
    async with asyncio.timeout(10):
        async for item in it.feed.follow(after):
            told.append(item if isinstance(item, Gap) else item.seq)
            if not isinstance(item, Gap) and item.seq >= until:
                return told
    raise AssertionError("it never ends")


@pytest.mark.parametrize("after", [0, 1, 7, 19])
async def test_from_any_position_everything_after_it_once(it: House, after: int) -> None:
    await write(it, 20)
    assert await heard(it, after, 20) == list(range(after + 1, 21))


async def test_followers_that_begin_while_many_write_miss_nothing(it: House) -> None:
    producers, each = 5, 40
    total = producers * each

    async def produce() -> None:
        for number in range(each):
            await it.store.append([motion(it, number), motion(it, -number)])
            await asyncio.sleep(0)

    writing = asyncio.gather(*(produce() for _ in range(producers)))
    following = []
    for _ in range(6):
        following.append(asyncio.ensure_future(heard(it, it.feed.position, total * 2)))
        await asyncio.sleep(0)
    begun = asyncio.ensure_future(heard(it, 0, total * 2))
    await writing
    assert await begun == list(range(1, total * 2 + 1))
    for told in await asyncio.gather(*following):
        assert told == list(range(int(str(told[0])), total * 2 + 1))


async def test_a_follower_that_is_slower_than_the_writers_misses_nothing(
    it: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doorlock.daemon.services.feed._BATCH", 3)
    it.feed._recent = type(it.feed._recent)(maxlen=4)
    await write(it, 10)
    told = []
    async with asyncio.timeout(10):
        async for item in it.feed.follow(0):
            assert not isinstance(item, Gap)
            told.append(item.seq)
            if len(told) < 10:
                await write(it, 2, first=100)
            if item.seq == 28:
                break
    assert told == list(range(1, 29))


async def test_who_waits_is_woken_by_the_next_event(it: House) -> None:
    following = asyncio.ensure_future(heard(it, 0, 1))
    await it.clock.settle()
    assert not following.done()
    await write(it, 1)
    assert await following == [1]


async def test_the_log_is_taken_up_where_it_stands_after_a_restart(
    it: House, tmp_path: Path
) -> None:
    await write(it, 5)
    await it.store.close()
    async with house(tmp_path, it.clock) as again:
        assert again.feed.position == 5
        following = asyncio.ensure_future(heard(again, 2, 6))
        await again.clock.settle()
        await write(again, 1)
        assert await following == [3, 4, 5, 6]


async def test_a_position_that_was_pruned_is_told_as_a_gap(it: House) -> None:
    await write(it, 8)
    it.clock.jump(timedelta(days=91))
    await write(it, 2)
    await it.retention.prune()
    assert await heard(it, 3, 11) == [Gap(3, 9), 9, 10, 11]
    assert await heard(it, 8, 11) == [9, 10, 11]


async def test_what_is_pruned_under_a_slow_follower_is_told_as_a_gap(
    it: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doorlock.daemon.services.feed._BATCH", 2)
    it.feed._recent = type(it.feed._recent)(maxlen=1)
    await write(it, 8)
    following = it.feed.follow(0)
    first = await anext(following)
    assert not isinstance(first, Gap) and first.seq == 1
    it.clock.jump(timedelta(days=91))
    await write(it, 1)
    await it.retention.prune()
    rest = []
    async for item in _until(following, 10):
        rest.append(item)
    assert rest == [2, Gap(2, 9), 9, 10]


async def _until(following: AsyncIterator[object], last: int) -> AsyncIterator[object]:
    async with asyncio.timeout(10):
        async for item in following:
            yield getattr(item, "seq", item)
            if getattr(item, "seq", 0) == last:
                return


async def test_nobody_is_waited_for_once_they_have_gone(it: House) -> None:
    await it.clock.settle()
    others = set(it.feed._waiting)  # whoever follows the log in the house itself
    following = it.feed.follow(it.feed.position)
    waiting = asyncio.ensure_future(anext(following))
    await it.clock.settle()
    assert it.feed._waiting != others
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert it.feed._waiting == others

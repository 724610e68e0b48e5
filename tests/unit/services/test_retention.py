"""Old events go in small steps, the log says which, and its chain still holds."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from doorlock.daemon.domain.events import EventType, NewEvent, verify
from doorlock.daemon.ports import EventFilter
from doorlock.daemon.services import retention
from tests.support.house import House


async def write(it: House, count: int) -> None:
    now = it.clock.now()
    await it.store.append([NewEvent(EventType.MOTION_DETECTED, now) for _ in range(count)])


async def test_what_is_old_goes_step_by_step_and_each_step_is_recorded(it: House) -> None:
    await write(it, 1200)
    it.clock.jump(timedelta(days=90, milliseconds=1))
    await write(it, 3)
    assert await it.retention.prune() == 1200
    notes = [event.new.payload for event in await it.log(EventType.LOG_PRUNED)]
    assert [(note["count"], note["fromSeq"], note["toSeq"]) for note in notes] == [
        (500, 1, 500),
        (500, 501, 1000),
        (200, 1001, 1200),
    ]
    bounds = await it.store.bounds()
    assert (bounds.first, bounds.anchor) == (1201, notes[-1]["lastHash"])


async def test_the_chain_still_verifies(it: House) -> None:
    operator = await it.person("root")
    await write(it, 30)
    it.clock.jump(timedelta(days=91))
    await write(it, 5)
    await it.retention.prune()
    await write(it, 5)
    bounds = await it.store.bounds()
    left = await it.store.list_events(EventFilter(), limit=100)
    assert verify(bounds.anchor, left) is None
    assert (await it.queries.verified())["ok"] is True
    assert operator.user.username == "root"


async def test_what_is_just_young_enough_stays(it: House) -> None:
    await write(it, 2)
    it.clock.jump(timedelta(days=90))
    assert await it.retention.prune() == 0
    assert (await it.store.bounds()).first == 1


async def test_pruning_twice_takes_nothing_more(it: House) -> None:
    await write(it, 10)
    it.clock.jump(timedelta(days=91))
    assert await it.retention.prune() == 10
    before = await it.store.bounds()
    assert await it.retention.prune() == 0
    assert await it.store.bounds() == before


async def test_it_runs_every_hour_and_outlives_a_store_that_is_away(it: House) -> None:
    await write(it, 10)
    it.clock.jump(timedelta(days=91))
    it.store.broken = True
    running = asyncio.ensure_future(it.retention.run())
    await it.clock.settle()
    it.store.broken = False
    await it.clock.advance(timedelta(minutes=59))
    assert (await it.store.bounds()).first == 1
    await it.clock.advance(timedelta(minutes=1))
    assert (await it.store.bounds()).first == 11
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_step_is_small_enough_to_leave_room_for_the_devices() -> None:
    assert retention._STEP <= 1000

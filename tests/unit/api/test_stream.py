"""The live end of the log over HTTP: state first, then changes, resumable from any position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from doorlock.daemon.api.events import with_pings
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from tests.support.asgi import Client
from tests.support.house import House

STREAM = "/api/events/stream"


async def motions(it: House, door: Device, count: int) -> None:
    for _ in range(count):
        await it.store.append(
            [NewEvent(EventType.MOTION_DETECTED, it.clock.now(), device_id=door.id)]
        )


async def test_it_says_where_it_begins_and_goes_on_from_there(
    it: House, olga: Client, door: Device
) -> None:
    await motions(it, door, 3)
    async with olga.stream(STREAM) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        hello = await stream.frame()
        assert (hello.event, hello.data, hello.id) == ("hello", {"position": 3}, None)
        await motions(it, door, 1)
        told = await stream.frame()
        assert (told.event, told.id, told.data["seq"]) == ("motion_detected", 4, 4)
        assert told.data["deviceName"] == "front"


@pytest.mark.parametrize("position", [0, 2, 5])
async def test_it_resumes_by_last_event_id_with_nothing_missed_and_nothing_twice(
    it: House, olga: Client, door: Device, position: int
) -> None:
    await motions(it, door, 5)
    async with olga.stream(f"{STREAM}?after=1", Last_Event_ID=str(position)) as stream:
        assert (await stream.frame()).data == {"position": position}
        await motions(it, door, 2)
        told = await stream.frames(7 - position)
        assert [frame.id for frame in told] == list(range(position + 1, 8))


async def test_a_position_in_the_query_counts_without_the_header(
    it: House, olga: Client, door: Device
) -> None:
    await motions(it, door, 3)
    async with olga.stream(f"{STREAM}?after=1") as stream:
        assert [frame.id for frame in await stream.frames(3)] == [None, 2, 3]


async def test_a_position_that_was_pruned_is_told(it: House, olga: Client, door: Device) -> None:
    await motions(it, door, 6)
    it.clock.jump(timedelta(days=91))
    await motions(it, door, 2)
    await it.retention.prune()
    async with olga.stream(STREAM, Last_Event_ID="2") as stream:
        hello, gap, first = await stream.frames(3)
        assert (gap.event, gap.data) == ("gap", {"requested": 2, "firstAvailable": 7})
        assert (hello.event, first.id) == ("hello", 7)


@pytest.mark.parametrize("wrong", ["-1", "x", "1.5", "", str(2**63), "9" * 5000])
async def test_a_position_that_is_none_is_refused(olga: Client, wrong: str) -> None:
    answer = await olga.get(STREAM, Last_Event_ID=wrong)
    assert (answer.status, answer.json["code"]) == (400, "bad_input")


async def test_it_tells_only_what_its_reader_may_see_and_asked_for(
    it: House, olga: Client, gina: Client, door: Device
) -> None:
    session = await it.connect(door)
    async with (
        gina.stream(f"{STREAM}?after=0") as hers,
        olga.stream(f"{STREAM}?after=0&type=status_changed") as his,
    ):
        await it.beat(session, "maintenance")
        assert [frame.event for frame in await his.frames(2)] == ["hello", "status_changed"]
        assert (await hers.frame()).event == "hello"
        guest = await it.store.find_user("gina")
        assert guest is not None
        mine = NewEvent(EventType.LOGIN_SUCCEEDED, it.clock.now(), user_id=guest.id)
        await it.store.append([mine])
        assert (await hers.frame()).event == "login_succeeded"


async def test_a_stream_of_what_is_not_seen_is_refused_before_it_begins(
    gina: Client, door: Device
) -> None:
    assert (await gina.get(f"{STREAM}?device={door.id}")).status == 404


async def test_who_leaves_is_let_go(it: House, olga: Client, door: Device) -> None:
    await it.clock.settle()
    others = set(it.feed._waiting)  # whoever follows the log in the house itself
    async with olga.stream(STREAM) as stream:
        await stream.frame()
        await it.clock.settle()
        assert len(it.feed._waiting - others) == 1
    await it.clock.settle()
    assert it.feed._waiting == others


async def test_a_silent_stream_is_kept_open_by_pings() -> None:
    go = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        await go.wait()
        yield 1

    heard: list[Any] = []
    async with asyncio.timeout(10):
        async for item in with_pings(source(), 0.001):
            heard.append(item)
            if len(heard) == 3:
                go.set()
    assert heard[:3] == [None] * 3 and heard[-1] == 1
    assert heard.count(1) == 1

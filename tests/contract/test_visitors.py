"""What a store owes visitors and the pictures of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.pictures import Picture
from doorlock.daemon.domain.visitors import Visitor, VisitorStatus
from doorlock.daemon.ports import EventFilter, Store, VisitorFilter
from tests.contract.build import NOON_KEPT, device, event
from tests.contract.conftest import StoreMaker

FRONT, BACK = "1" * 24, "2" * 24
ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
PENDING, GRANTED, DENIED = VisitorStatus.PENDING, VisitorStatus.GRANTED, VisitorStatus.DENIED


def after(seconds: float) -> Any:
    return NOON_KEPT + timedelta(seconds=seconds)


def visitor(seconds: float = 0, **fields: Any) -> Visitor:
    given: dict[str, Any] = {
        "id": new_id(),
        "device_id": FRONT,
        "opened_at": after(seconds),
        "expires_at": after(seconds + 600),
    }
    return Visitor(**{**given, **fields})


FULL = visitor(
    status=GRANTED,
    image=ONE,
    bell_pressed=True,
    message="a parcel",
    decided_by="3" * 24,
    operator_id="4" * 24,
    decided_at=after(5),
    note="come in",
    command_id="5d1f6a3e-0000-4000-8000-000000000001",
    version=3,
)


@pytest.mark.parametrize("given", [FULL, visitor()], ids=["full", "bare"])
async def test_a_visitor_comes_back_as_they_were(store: Store, given: Visitor) -> None:
    (written,) = await store.add_visitor(given, [event(device_id=FRONT)])
    kept = await store.get_visitor(given.id)
    assert kept == given
    assert kept is not None and type(kept.status) is VisitorStatus
    assert await store.list_events(EventFilter(device=FRONT), limit=9) == [written]
    assert await store.get_visitor(new_id()) is None


async def test_a_change_goes_over_the_version_before_it_alone(store: Store) -> None:
    given = visitor()
    await store.add_visitor(given)
    changed = replace(given, status=GRANTED, version=1)
    assert await store.update_visitor(changed, [event(), event()]) is not None
    assert await store.update_visitor(replace(given, status=DENIED, version=1), [event()]) is None
    assert await store.update_visitor(visitor(version=1), [event()]) is None
    assert await store.get_visitor(given.id) == changed
    assert await store.count_events(EventFilter()) == 2


async def test_of_many_changes_at_once_one_is_written(store: Store) -> None:
    given = visitor()
    await store.add_visitor(given)
    changes = [
        replace(given, status=GRANTED if number % 2 else DENIED, note=str(number), version=1)
        for number in range(100)
    ]
    written = await asyncio.gather(*(store.update_visitor(one, [event()]) for one in changes))
    assert sum(one is not None for one in written) == 1
    assert await store.count_events(EventFilter()) == 1
    winner = changes[next(i for i, one in enumerate(written) if one is not None)]
    assert await store.get_visitor(given.id) == winner


async def test_those_who_wait_come_oldest_first(store: Store) -> None:
    late, early, other = visitor(9), visitor(1), visitor(5, device_id=BACK)
    for one in (late, early, other, visitor(2, status=DENIED)):
        await store.add_visitor(one)
    assert await store.pending_visitors() == [early, other, late]
    assert await store.pending_visitors(FRONT) == [early, late]
    assert await store.pending_visitors("0" * 24) == []


async def test_a_page_is_newest_first_and_counts_all(store: Store) -> None:
    came = [visitor(n, status=GRANTED if n % 2 else PENDING) for n in range(6)]
    for one in came:
        await store.add_visitor(one)
    await store.add_visitor(visitor(3, device_id=BACK))
    front = VisitorFilter(devices=frozenset({FRONT}))
    assert await store.list_visitors(front, limit=2, offset=1) == ([came[4], came[3]], 6)
    granted = replace(front, statuses=frozenset({GRANTED}))
    assert await store.list_visitors(granted, limit=9) == ([came[5], came[3], came[1]], 3)
    span = replace(front, since=after(2), until=after(4))
    assert await store.list_visitors(span, limit=9) == ([came[3], came[2]], 2)
    assert await store.list_visitors(VisitorFilter(devices=frozenset()), limit=9) == ([], 0)
    assert (await store.list_visitors(VisitorFilter(), limit=99))[1] == 7
    counted = await store.count_visitors(front)
    assert {status: n for status, n in counted.items() if n} == {GRANTED: 3, PENDING: 3}
    assert sum((await store.count_visitors(VisitorFilter())).values()) == 7


async def test_who_is_over_and_came_long_ago_is_forgotten(store: Store) -> None:
    old, waiting, new = visitor(1, status=DENIED), visitor(1), visitor(9, status=DENIED)
    for one in (old, waiting, new, visitor(0, status=GRANTED)):
        await store.add_visitor(one)
    assert [await store.forget_visitors(after(9), 1) for _ in range(3)] == [1, 1, 0]
    assert await store.get_visitor(old.id) is None
    assert (await store.list_visitors(VisitorFilter(), limit=9))[0] == [new, waiting]


async def test_a_picture_is_the_devices_that_took_it(store: Store) -> None:
    picture = Picture(FRONT, ONE, after(1))
    (written,) = await store.add_picture(picture, [event(EventType.SNAPSHOT_CAPTURED)])
    assert await store.list_events(EventFilter(), limit=9) == [written]
    assert await store.get_picture(FRONT, ONE) == picture
    assert await store.get_picture(BACK, ONE) is None
    assert await store.get_picture(FRONT, TWO) is None
    assert await store.latest_picture(BACK) is None


async def test_the_latest_picture_is_the_one_taken_last(store: Store) -> None:
    for picture in (Picture(FRONT, ONE, after(5)), Picture(FRONT, TWO, after(3))):
        await store.add_picture(picture)
    await store.add_picture(Picture(BACK, THREE, after(9)))
    assert await store.latest_picture(FRONT) == Picture(FRONT, ONE, after(5))
    await store.add_picture(Picture(FRONT, TWO, after(7)))
    await store.add_picture(Picture(FRONT, TWO, after(1)))
    assert await store.latest_picture(FRONT) == Picture(FRONT, TWO, after(7))


async def test_a_picture_that_nobody_needs_is_forgotten(store: Store) -> None:
    front = device(id=FRONT)
    await store.add_device(front)
    await store.add_visitor(visitor(0, image=ONE))
    await store.add_visitor(visitor(0, image=TWO, device_id=BACK))  # another's visitor
    for n, image in enumerate((ONE, TWO, THREE)):
        await store.add_picture(Picture(FRONT, image, after(n)))
    assert await store.forget_pictures(after(-9), after(1), 9) == 0
    assert await store.forget_pictures(after(-9), after(9), 9) == 1
    assert await store.images_in_use([ONE, TWO, THREE]) == {ONE, THREE}
    assert await store.latest_picture(FRONT) == Picture(FRONT, THREE, after(2))
    assert await store.forget_pictures(after(1), after(1), 9) == 1
    assert await store.images_in_use([ONE, TWO, THREE]) == {THREE}


async def test_the_pictures_of_a_removed_device_are_forgotten(store: Store) -> None:
    front = device(id=FRONT)
    await store.add_device(front)
    await store.add_visitor(visitor(0, image=ONE))
    await store.add_picture(Picture(FRONT, ONE, after(0)))
    await store.remove_device(FRONT)
    assert await store.forget_pictures(after(-9), after(0), 9) == 0
    assert await store.forget_pictures(after(-9), after(1), 9) == 1


async def test_pictures_are_forgotten_in_steps(store: Store) -> None:
    for n in range(5):
        await store.add_picture(Picture(FRONT, f"{n}" * 64, after(n)))
    assert [await store.forget_pictures(after(9), after(9), 2) for _ in range(4)] == [2, 2, 1, 0]


async def test_visitors_and_pictures_are_there_again(make_store: StoreMaker) -> None:
    first = make_store()
    await first.open()
    await first.add_visitor(FULL)
    await first.add_picture(Picture(FRONT, ONE, after(0)))
    await first.close()
    second = make_store()
    await second.open()
    assert await second.get_visitor(FULL.id) == FULL
    assert await second.get_picture(FRONT, ONE) == Picture(FRONT, ONE, after(0))
    await second.close()

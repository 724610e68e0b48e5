from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from doorlock.daemon.ports import EventFilter, Store
from doorlock.errors import Unavailable
from tests.contract.build import device, event, user

STEPS = range(6)


async def _cancel_after(work: asyncio.Task[None], turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_what_was_written_is_there_after_opening_again(
    make_store: Callable[[], Store],
) -> None:
    first, front = make_store(), device()
    await first.open()
    (written,) = await first.add_device(front, [event(device_id=front.id)])
    await first.close()
    second = make_store()
    await second.open()
    assert await second.get_device(front.id) == front
    (following,) = await second.append([event()])
    assert (following.seq, written.seq) == (2, 1)
    assert await second.list_events(EventFilter(), limit=9) == [written, following]
    await second.close()


async def test_opening_twice_keeps_it_open(store: Store) -> None:
    await store.open()
    assert await store.append([event()])


async def test_closing_is_harmless_when_never_opened_and_when_done_twice(
    make_store: Callable[[], Store],
) -> None:
    store = make_store()
    await store.close()
    await store.open()
    await asyncio.gather(store.close(), store.close())
    await store.close()


async def test_a_store_opens_again_after_it_was_closed(make_store: Callable[[], Store]) -> None:
    store = make_store()
    for seq in (1, 2):
        await store.open()
        (written,) = await store.append([event()])
        assert written.seq == seq
        await store.close()


async def test_closing_finishes_what_was_begun(make_store: Callable[[], Store]) -> None:
    store = make_store()
    await store.open()
    writes = [asyncio.ensure_future(store.append([event()])) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert [events[0].seq for events in await asyncio.gather(*writes)] == list(range(1, 21))


async def test_a_store_that_is_not_open_says_so(make_store: Callable[[], Store]) -> None:
    store = make_store()
    attempts: list[Callable[[], object]] = [
        lambda: store.append([event()]),
        lambda: store.get_user("x"),
        store.list_users,
        store.bounds,
    ]
    for _ in range(2):
        for attempt in attempts:
            with pytest.raises(Unavailable):
                await attempt()  # type: ignore[misc]
        await store.open()
        await store.close()


@pytest.mark.parametrize("turns", STEPS)
async def test_a_cancelled_open_lets_go_and_may_be_tried_again(
    make_store: Callable[[], Store], turns: int
) -> None:
    store, other = make_store(), make_store()
    opening = asyncio.ensure_future(store.open())
    await _cancel_after(opening, turns)
    assert opening.cancelled()
    await other.open()
    await other.close()
    await store.open()
    assert await store.append([event()])
    await store.close()


@pytest.mark.parametrize("turns", STEPS)
async def test_a_cancelled_close_loses_nothing_and_lets_go(
    make_store: Callable[[], Store], turns: int
) -> None:
    store, ada = make_store(), user()
    await store.open()
    adding = asyncio.ensure_future(store.add_user(ada))
    await asyncio.sleep(0)
    await _cancel_after(asyncio.ensure_future(store.close()), turns)
    await adding
    await store.close()
    other = make_store()
    await other.open()
    assert await other.get_user(ada.id) == ada
    await other.close()

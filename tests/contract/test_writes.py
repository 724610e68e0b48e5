"""What holds for every write: order, listeners, atomicity, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from doorlock.daemon.domain.events import GENESIS, Event, verify
from doorlock.daemon.ports import EventFilter, SlotBusy, Store, Taken
from doorlock.protocol import CommandStatus
from tests.contract.build import NOON_KEPT, command, device, event, later, share, user

ALL = EventFilter()


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self, store: Store) -> None:
        self.events: list[Event] = []
        store.listen(self.events.extend)

    @property
    def seqs(self) -> list[int]:
        return [one.seq for one in self.events]


async def test_a_listener_hears_of_every_kind_of_write_before_it_returns(store: Store) -> None:
    heard = Heard(store)
    ada, front, asked = user(), device(), command()
    shared = share(device_id=front.id, user_id=ada.id)
    writes = [
        lambda: store.add_user(ada, [event()]),
        lambda: store.update_user(ada.id, {"name": "x"}, [event()]),
        lambda: store.add_device(front, [event()]),
        lambda: store.update_device(front.id, {"name": "x"}, [event()]),
        lambda: store.put_share(shared, [event()]),
        lambda: store.remove_share(front.id, ada.id, [event()]),
        lambda: store.add_command(asked, [event()]),
        lambda: store.update_command(replace(asked, version=1), [event()]),
        lambda: store.remove_device(front.id, [event()]),
        lambda: store.append([event()]),
        lambda: store.prune(later(1), 3, lambda _: event()),
    ]
    for seq, write in enumerate(writes, 1):
        assert await write()  # type: ignore[no-untyped-call]
        assert heard.seqs[-1] == seq
    assert heard.seqs == list(range(1, len(writes) + 1))
    assert verify(GENESIS, heard.events) is None


async def test_listeners_hear_on_the_loop_and_each_event_once_in_order(store: Store) -> None:
    loop, first, second = asyncio.get_running_loop(), Heard(store), Heard(store)
    store.listen(lambda _: loops.append(asyncio.get_running_loop()))
    loops: list[asyncio.AbstractEventLoop] = []

    async def produce(number: int) -> Sequence[Event]:
        return [one for _ in range(8) for one in await store.append([event()] * (number % 3))]

    returned = await asyncio.gather(*(produce(number) for number in range(50)))
    assert first.seqs == second.seqs == list(range(1, len(first.seqs) + 1))
    assert len(first.events) == sum(map(len, returned)) > 300
    assert all(own == sorted(own, key=lambda one: one.seq) for own in returned)
    assert set(loops) == {loop}
    assert await store.list_events(ALL, limit=10_000) == first.events


async def test_what_a_listener_hears_is_already_there_to_read(store: Store) -> None:
    reads: list[asyncio.Task[int]] = []
    store.listen(lambda _: reads.append(asyncio.ensure_future(store.count_events(ALL))))
    await store.append([event(), event()])
    assert await asyncio.gather(*reads) == [2]


async def test_a_listener_that_raises_stops_nobody(store: Store) -> None:
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["exception"]))

    def fail(_: Sequence[Event]) -> None:
        raise RuntimeError("listener")

    store.listen(fail)
    heard = Heard(store)
    await store.append([event()])
    assert heard.seqs == [1]
    assert [str(one) for one in complaints] == ["listener"]


async def test_one_write_that_fails_harms_none_beside_it(store: Store) -> None:
    """All at once, so that a store that writes in groups has them in one group."""
    heard, ada, busy = Heard(store), user(), command(device_id="1" * 24)
    await store.add_user(ada)
    await store.add_command(busy)
    results = await asyncio.gather(
        store.append([event()]),
        store.add_user(user("grace"), [event()]),
        store.add_user(user("ADA"), [event()]),
        store.append([event(), event()]),
        store.add_command(command(device_id="1" * 24), [event()]),
        store.update_user(ada.id, {"no such field": 1}, [event()]),
        store.update_device("0" * 24, {}, [event()]),
        store.add_device(device(), [event()]),
        return_exceptions=True,
    )
    kinds = [type(result) for result in results]
    assert kinds[2] is Taken
    assert kinds[4] is SlotBusy
    assert kinds[5] is TypeError
    assert results[6] is None
    assert heard.seqs == [1, 2, 3, 4, 5]
    assert await store.list_events(ALL, limit=99) == heard.events
    assert verify(GENESIS, heard.events) is None
    assert len(await store.list_users()) == 2
    assert len(await store.list_devices()) == 1


async def test_reads_see_every_write_that_has_returned(store: Store) -> None:
    async def write_and_read(number: int) -> None:
        front, asked = device(str(number)), command(status=CommandStatus.EXECUTED)
        await store.add_device(front)
        assert await store.get_device(front.id) == front
        assert front in await store.list_devices()
        moved = await store.update_device(front.id, {"room": "hall"})
        assert await store.get_device(front.id) == moved
        await store.add_command(asked)
        assert await store.get_command(asked.id) is not None
        (written,) = await store.append([event(device_id=front.id)])
        assert (await store.bounds()).last >= written.seq
        assert await store.list_events(EventFilter(device=front.id), limit=9) == [written]
        await store.remove_device(front.id)
        assert await store.get_device(front.id) is None

    await asyncio.gather(*(write_and_read(number) for number in range(20)))


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancelled_write_is_whole_or_not_there(store: Store, turns: int) -> None:
    heard = Heard(store)
    people = [user(f"u{number}") for number in range(20)]
    writes = [
        asyncio.ensure_future(store.add_user(one, [event(user_id=one.id), event(user_id=one.id)]))
        for one in people
    ]
    for _ in range(turns):
        await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await store.append([event()])
    for one, write in zip(people, writes, strict=True):
        there = await store.get_user(one.id) is not None
        assert there or write.cancelled()
        assert await store.count_events(EventFilter(user=one.id)) == (2 if there else 0)
    assert await store.list_events(ALL, limit=99) == heard.events
    assert verify(GENESIS, heard.events) is None


async def test_a_cancelled_prune_is_whole_or_not_done(store: Store) -> None:
    await store.append([event(at=NOON_KEPT - timedelta(days=n)) for n in range(9)])
    pruning = asyncio.ensure_future(store.prune(later(1), 5, lambda _: event()))
    await asyncio.sleep(0)
    pruning.cancel()
    await asyncio.gather(pruning, return_exceptions=True)
    (following,) = await store.append([event()])
    bounds = await store.bounds()
    assert (bounds.first, following.seq) in {(1, 10), (6, 11)}
    assert verify(bounds.anchor, await store.list_events(ALL, limit=99)) is None

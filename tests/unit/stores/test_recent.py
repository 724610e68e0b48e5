"""What was read a moment ago is never older than what has been written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from doorlock.daemon.domain.events import Event
from doorlock.daemon.stores.recent import Recent
from doorlock.daemon.stores.sqlite import SqliteStore
from tests.contract.build import NOON_KEPT, device, event, user


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "doorlock.db")
    await made.open()
    yield made
    await made.close()


async def test_a_listener_already_reads_what_was_written(store: SqliteStore) -> None:
    front, ada = device(), user()
    await store.add_device(front)
    await store.add_user(ada)
    heard: list[asyncio.Task[object]] = []

    def listen(events: Sequence[Event]) -> None:
        heard.append(asyncio.ensure_future(store.get_device(front.id)))
        heard.append(asyncio.ensure_future(store.get_user(ada.id)))

    await store.get_device(front.id)
    await store.get_user(ada.id)
    store.listen(listen)
    both = (
        store.update_device(front.id, {"name": "back"}, [event()]),
        store.update_user(ada.id, {"is_active": False}, [event()]),
    )
    changed_device, changed_user = await asyncio.gather(*both)
    assert (await heard[0], await heard[-1]) == (changed_device, changed_user)


async def test_a_cancelled_write_is_read_when_it_was_done(store: SqliteStore) -> None:
    front = device()
    await store.add_device(front)
    await store.get_device(front.id)
    writing = asyncio.ensure_future(store.update_device(front.id, {"token_hash": "new"}))
    await asyncio.sleep(0)
    writing.cancel()
    await store.append([event()])  # comes after it on the one thread that writes
    read = await store.get_device(front.id)
    assert read is not None
    assert read.token_hash == "new"


async def test_what_was_removed_or_touched_is_not_remembered(store: SqliteStore) -> None:
    front, back = device("front"), device("back")
    for one in (front, back):
        await store.add_device(one)
        await store.get_device(one.id)
    await store.remove_device(front.id)
    await store.touch_devices({back.id: NOON_KEPT})
    assert await store.get_device(front.id) is None
    touched = await store.get_device(back.id)
    assert touched is not None
    assert touched.last_seen == NOON_KEPT


async def test_an_account_that_is_linked_or_disabled_counts_at_once(store: SqliteStore) -> None:
    ada = user()
    await store.add_user(ada)
    assert await store.user_by_uid(1000) is None
    await store.update_user(ada.id, {"unix_uid": 1000})
    linked = await store.user_by_uid(1000)
    assert linked is not None
    await store.update_user(ada.id, {"is_active": False})
    disabled = await store.user_by_uid(1000)
    assert disabled is not None
    assert not disabled.is_active


async def test_a_store_that_was_opened_again_remembers_nothing(tmp_path: Path) -> None:
    first, second = (SqliteStore(tmp_path / "doorlock.db") for _ in range(2))
    front = device()
    await first.open()
    await first.add_device(front)
    await first.get_device(front.id)
    await first.close()
    await second.open()
    await second.update_device(front.id, {"name": "back"})
    await second.close()
    await first.open()
    read = await first.get_device(front.id)
    await first.close()
    assert read is not None
    assert read.name == "back"


def test_the_oldest_goes_first_and_what_is_missing_is_asked_again() -> None:
    recent: Recent[int] = Recent(2)
    read: list[int] = []

    def reader(number: int) -> int:
        read.append(number)
        return number

    for number in (1, 2, 1, 3, 1):
        assert recent.get(number, lambda number=number: reader(number)) == number
    assert read == [1, 2, 3, 1]
    assert recent.get("none", lambda: None) is None
    assert recent.get("none", lambda: 7) == 7

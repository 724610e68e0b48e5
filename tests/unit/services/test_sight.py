"""Who sees a device: kept at hand, and never behind what the store has said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.services.sight import _CHANGES_NOTHING
from tests.support.house import House, house


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


async def test_what_is_kept_is_not_read_again(it: House) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    reads = counted(it, "shares_of_device")
    for _ in range(3):
        assert await it.sight.sees(ada.user, door.id)
    assert len(reads) == 1


async def test_a_change_that_comes_while_it_is_read_counts(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    door = await it.door(ada)
    await it.sharing.grant(ada, door.id, "bob", Permission.VIEW, None, None)
    read, go_on = asyncio.Event(), asyncio.Event()
    original = it.store.shares_of_device

    async def slow(device_id: str) -> Any:
        found = await original(device_id)
        read.set()
        await go_on.wait()
        return found

    it.store.shares_of_device = slow  # type: ignore[method-assign]
    asked = asyncio.ensure_future(it.sight.sees(bob.user, door.id))
    await read.wait()
    await it.sharing.revoke(ada, door.id, "bob")
    go_on.set()
    assert await asked is False
    assert await it.sight.sees(bob.user, door.id) is False


async def test_a_device_that_is_gone_is_seen_by_nobody_who_owned_it(it: House) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    assert await it.sight.sees(ada.user, door.id)
    await it.registry.remove(ada, door.id)
    assert not await it.sight.sees(ada.user, door.id)


@pytest.mark.parametrize("kind", EventType)
def test_whatever_is_about_rights_is_read_anew(kind: EventType) -> None:
    about_rights = kind.name.startswith(("SHARE_", "USER_", "DEVICE_R", "SETTINGS_"))
    assert not (about_rights and kind in _CHANGES_NOTHING)


def counted(it: House, name: str) -> list[str]:
    calls: list[str] = []
    original = getattr(it.store, name)

    async def counting(*arguments: Any) -> Any:
        calls.append(name)
        return await original(*arguments)

    setattr(it.store, name, counting)
    return calls

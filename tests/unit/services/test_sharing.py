"""Shares: who may give them, how they end, and what the log says."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from doorlock.daemon.domain.access import Level, Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller
from doorlock.errors import BadInput, DoorlockError, NotAllowed, NotFound
from tests.support.house import House

P = Permission


async def grant(
    it: House,
    caller: Caller,
    door: Device,
    user: str,
    permission: Permission = P.CONTROL,
    starts_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> None:
    await it.sharing.grant(caller, door.id, user, permission, starts_at, expires_at)


async def test_a_share_is_granted_changed_and_revoked_at_once(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await grant(it, owner, door, "GINA", P.VIEW)
    assert await it.guard.level(guest.user, door) is Level.VIEW
    await grant(it, owner, door, guest.user.id, P.CONTROL)
    assert await it.guard.level(guest.user, door) is Level.CONTROL
    await it.sharing.revoke(owner, door.id, "gina")
    assert await it.guard.level(guest.user, door) is Level.NONE
    kinds = [EventType.SHARE_GRANTED, EventType.SHARE_CHANGED, EventType.SHARE_REVOKED]
    events = await it.log(*kinds)
    assert [event.new.type for event in events] == kinds
    assert all(event.new.user_id == owner.user.id for event in events)
    assert events[0].new.payload["username"] == "gina"


@pytest.mark.parametrize("permission", [P.VIEW, P.CONTROL])
async def test_only_who_manages_a_door_shares_it(
    it: House, owner: Caller, door: Device, permission: Permission
) -> None:
    guest = await it.person("gina")
    await it.person("fred")
    await it.share(door, guest, permission)
    with pytest.raises(NotAllowed):
        await grant(it, guest, door, "fred")
    with pytest.raises(NotAllowed):
        await it.sharing.of_device(guest, door.id)
    assert len(await it.log(EventType.ACCESS_REFUSED)) == 2


async def test_an_admin_share_shares_but_is_no_owner(
    it: House, owner: Caller, door: Device
) -> None:
    manager, fred = await it.person("mia"), await it.person("fred")
    await it.share(door, manager, P.ADMIN)
    await grant(it, manager, door, "fred")
    assert await it.guard.level(fred.user, door) is Level.CONTROL
    with pytest.raises(NotAllowed):
        await it.registry.remove(manager, door.id)


async def test_nobody_lengthens_their_own_share(it: House, owner: Caller, door: Device) -> None:
    manager = await it.person("mia")
    ends = it.clock.now() + timedelta(hours=1)
    await it.share(door, manager, P.ADMIN, expires_at=ends)
    with pytest.raises(NotAllowed):
        await grant(it, manager, door, "mia", P.ADMIN)
    share = await it.store.get_share(door.id, manager.user.id)
    assert share is not None and share.expires_at == ends
    assert len(await it.log(EventType.ACCESS_REFUSED)) == 1


async def test_giving_back_ones_own_share_takes_no_permission(
    it: House, owner: Caller, door: Device
) -> None:
    guest, other = await it.person("gina"), await it.person("olaf")
    await it.share(door, guest, P.VIEW)
    await it.share(door, other, P.VIEW)
    with pytest.raises(NotAllowed):
        await it.sharing.revoke(guest, door.id, "olaf")
    await it.sharing.revoke(guest, door.id, "gina")
    assert await it.store.get_share(door.id, guest.user.id) is None
    assert await it.store.get_share(door.id, other.user.id) is not None


@pytest.mark.parametrize(("starts", "ends"), [(None, 0), (None, -1), (10, 10), (10, 5), (-10, -5)])
async def test_a_period_that_never_runs_is_refused(
    it: House, owner: Caller, door: Device, starts: int | None, ends: int
) -> None:
    await it.person("gina")
    now = it.clock.now()
    begin = None if starts is None else now + timedelta(seconds=starts)
    with pytest.raises(BadInput):
        await grant(it, owner, door, "gina", P.VIEW, begin, now + timedelta(seconds=ends))
    assert await it.log(EventType.SHARE_GRANTED) == []


async def test_what_cannot_be_shared_or_revoked(it: House, owner: Caller, door: Device) -> None:
    await it.person("gina")
    refused: list[tuple[type[DoorlockError], str]] = [(BadInput, "olga"), (NotFound, "nobody")]
    for error, user in refused:
        with pytest.raises(error):
            await grant(it, owner, door, user)
    with pytest.raises(NotFound):
        await it.sharing.revoke(owner, door.id, "gina")


async def test_who_sees_which_shares(it: House, owner: Caller, door: Device) -> None:
    guest, other = await it.person("gina"), await it.person("olaf")
    await it.share(door, guest, P.VIEW)
    await it.share(door, other, P.VIEW)
    assert {share.user_id for share in await it.sharing.all(owner)} == {
        guest.user.id,
        other.user.id,
    }
    assert [share.user_id for share in await it.sharing.all(guest)] == [guest.user.id]
    assert await it.sharing.all(await it.person("sam")) == []

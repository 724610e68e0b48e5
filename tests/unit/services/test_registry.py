"""Devices and their tokens: shown once, replaced at will, and never two that work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import AuthRefused
from doorlock.daemon.services.registry import Described, Issued, onboarding_url
from doorlock.errors import BadInput, Conflict, NotAllowed, NotFound
from doorlock.protocol import Transport
from tests.support.clock import FakeClock
from tests.support.house import WHERE, FakeBroker, House, house

REFUSED = r"^Invalid device token$"


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
async def it(tmp_path: Path, clock: FakeClock, broker: FakeBroker) -> AsyncIterator[House]:
    async with house(tmp_path, clock, broker) as running:
        yield running


async def register(it: House, owner: Caller, name: str = "new") -> Issued:
    return await it.registry.register(owner, Described(name, f"ESP-{name}"))


async def opens(it: House, device_id: str, token: str) -> bool:
    try:
        await it.ingest.authenticate(device_id, token, WHERE)
    except AuthRefused as refused:
        assert str(refused) == "Invalid device token"
        return False
    return True


async def test_a_new_device_has_a_token_that_only_its_maker_sees(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    device = await it.device(issued.device.id)
    assert device.token_hash == tokens.hashed(issued.token)
    assert device.owner_id == owner.user.id
    assert device.mqtt_provisioned and broker.known == {device.id: issued.token}
    assert await opens(it, device.id, issued.token)
    written = orjson.dumps([event.new.payload for event in await it.log()])
    assert issued.token.encode() not in written
    assert tokens.hashed(issued.token).encode() not in written


async def test_an_esp_id_is_registered_once(it: House, owner: Caller) -> None:
    await register(it, owner)
    with pytest.raises(Conflict):
        await register(it, await it.person("otto"))
    assert len(await it.log(EventType.DEVICE_REGISTERED)) == 1


async def test_a_broker_that_is_away_is_a_warning_and_made_good_at_the_first_use(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    broker.away = True
    issued = await register(it, owner)
    device_id = issued.device.id
    assert issued.warning and issued.token not in issued.warning
    assert not (await it.device(device_id)).mqtt_provisioned
    with pytest.raises(AuthRefused, match=REFUSED):
        await it.ingest.vouched(device_id, WHERE)
    broker.away = False
    assert await opens(it, device_id, issued.token)
    await it.clock.settle()
    assert broker.known == {device_id: issued.token}
    assert (await it.device(device_id)).mqtt_provisioned
    await it.ingest.vouched(device_id, WHERE)


async def test_rotating_ends_the_old_token_and_its_sessions_at_once(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    for transport in Transport:
        await it.connect(issued.device, transport)
    rotated = await it.registry.rotate(owner, issued.device.id)
    assert not it.presence.online(issued.device.id)
    assert not await opens(it, issued.device.id, issued.token)
    assert await opens(it, issued.device.id, rotated.token)
    assert broker.known == {issued.device.id: rotated.token}
    assert len(await it.log(EventType.TOKEN_ROTATED)) == 1


async def test_a_broker_that_missed_the_rotation_vouches_for_nobody(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    broker.away = True
    await it.registry.rotate(owner, issued.device.id)
    with pytest.raises(AuthRefused, match=REFUSED):
        await it.ingest.vouched(issued.device.id, WHERE)


async def test_revoking_ends_everything_until_the_next_rotation(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    await it.connect(issued.device)
    await it.registry.pair(owner, issued.device.id)
    await it.registry.revoke(owner, issued.device.id)
    device = await it.device(issued.device.id)
    assert not it.presence.online(device.id)
    assert (device.token_hash, device.pending_token_hash, broker.known) == (None, None, {})
    assert not await opens(it, device.id, issued.token)
    assert len(await it.log(EventType.TOKEN_REVOKED)) == 1
    rotated = await it.registry.rotate(owner, device.id)
    assert await opens(it, device.id, rotated.token)


async def test_a_revoked_device_is_refused_though_the_broker_is_away(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    broker.away = True
    await it.registry.revoke(owner, issued.device.id)
    assert broker.known
    with pytest.raises(AuthRefused, match=REFUSED):
        await it.ingest.vouched(issued.device.id, WHERE)


async def test_pairing_replaces_the_token_only_when_it_is_first_used(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    device_id = issued.device.id
    paired = await it.registry.pair(owner, device_id)
    assert await opens(it, device_id, issued.token)
    await it.connect(issued.device)
    assert await opens(it, device_id, paired.token)
    await it.clock.settle()
    assert not it.presence.online(device_id)
    assert not await opens(it, device_id, issued.token)
    assert await opens(it, device_id, paired.token)
    assert broker.known == {device_id: paired.token}
    (event,) = await it.log(EventType.TOKEN_ROTATED)
    assert event.new.payload == {"paired": True}


@pytest.mark.parametrize(("minutes", "works"), [(14.99, True), (15, False), (60, False)])
async def test_pairing_lasts_fifteen_minutes(
    it: House, owner: Caller, minutes: float, works: bool
) -> None:
    issued = await register(it, owner)
    paired = await it.registry.pair(owner, issued.device.id)
    await it.clock.advance(timedelta(minutes=minutes))
    assert await opens(it, issued.device.id, paired.token) is works
    assert await opens(it, issued.device.id, issued.token) is not works


async def test_a_second_pairing_replaces_the_first(it: House, owner: Caller) -> None:
    issued = await register(it, owner)
    first = await it.registry.pair(owner, issued.device.id)
    second = await it.registry.pair(owner, issued.device.id)
    assert not await opens(it, issued.device.id, first.token)
    assert await opens(it, issued.device.id, second.token)


async def test_a_pairing_token_is_no_broker_password_before_it_was_used(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    await it.registry.pair(owner, issued.device.id)
    assert broker.known == {issued.device.id: issued.token}


async def test_removing_ends_its_sessions_and_keeps_its_events(
    it: House, owner: Caller, broker: FakeBroker
) -> None:
    issued = await register(it, owner)
    guest = await it.person("gina")
    await it.share(issued.device, guest)
    await it.connect(issued.device)
    await it.registry.remove(owner, issued.device.id)
    assert await it.store.get_device(issued.device.id) is None
    assert await it.store.get_share(issued.device.id, guest.user.id) is None
    assert not it.presence.online(issued.device.id)
    assert broker.known == {}
    assert not await opens(it, issued.device.id, issued.token)
    kinds = [event.new.type for event in await it.log(device=issued.device.id)]
    assert kinds[0] is EventType.DEVICE_REGISTERED and EventType.DEVICE_REMOVED in kinds


async def test_switching_off_ends_the_sessions_and_switching_on_lets_them_back(
    it: House, owner: Caller
) -> None:
    issued = await register(it, owner)
    await it.connect(issued.device)
    await it.registry.update(owner, issued.device.id, {"is_active": False})
    assert not it.presence.online(issued.device.id)
    with pytest.raises(AuthRefused, match=r"^Device not activated$"):
        await it.ingest.authenticate(issued.device.id, issued.token, WHERE)
    await it.registry.update(owner, issued.device.id, {"is_active": True})
    assert await opens(it, issued.device.id, issued.token)


CHANGES = [({"settings": {"motionSensitivity": 1}}, Permission.CONTROL)] + [
    (change, Permission.ADMIN)
    for change in (
        {"name": "x"},
        {"room": "x"},
        {"location": "x"},
        {"is_active": False},
        {"settings": {"motionSensitivity": 1}, "name": "x"},
    )
]


@pytest.mark.parametrize(("changes", "needed"), CHANGES)
async def test_who_may_change_what(
    it: House, owner: Caller, door: Device, changes: dict[str, object], needed: Permission
) -> None:
    guest = await it.person("gina")
    order = [Permission.VIEW, Permission.CONTROL, Permission.ADMIN]
    below = order[order.index(needed) - 1]
    await it.share(door, guest, below)
    with pytest.raises(NotAllowed):
        await it.registry.update(guest, door.id, changes)
    await it.share(door, guest, needed)
    await it.registry.update(guest, door.id, changes)
    assert await it.log(EventType.SETTINGS_UPDATED)


async def test_settings_are_checked_and_add_to_what_is_set(
    it: House, owner: Caller, door: Device
) -> None:
    await it.registry.update(owner, door.id, {"settings": {"motionSensitivity": 1}})
    await it.registry.update(owner, door.id, {"settings": {"autoLockTimeout": 5000}})
    assert (await it.device(door.id)).settings == {
        "motionSensitivity": 1,
        "autoLockTimeout": 5000,
    }
    for wrong in ({}, {"motionSensitivity": 101}, {"unknown": 1}):
        with pytest.raises(BadInput):
            await it.registry.update(owner, door.id, {"settings": wrong})


@pytest.mark.parametrize("permission", [None, Permission.VIEW, Permission.CONTROL])
async def test_tokens_are_for_who_manages_the_door(
    it: House, owner: Caller, door: Device, permission: Permission | None
) -> None:
    guest = await it.person("gina")
    if permission:
        await it.share(door, guest, permission)
    before = await it.device(door.id)
    for act in (it.registry.rotate, it.registry.revoke, it.registry.pair, it.registry.remove):
        with pytest.raises(NotAllowed if permission else NotFound):
            await act(guest, door.id)
    assert await it.device(door.id) == before


async def test_only_the_owner_removes(it: House, owner: Caller, door: Device) -> None:
    manager = await it.person("mia")
    await it.share(door, manager, Permission.ADMIN)
    with pytest.raises(NotAllowed):
        await it.registry.remove(manager, door.id)
    await it.registry.remove(owner, door.id)


def test_the_pairing_url_keeps_odd_names_in_their_place() -> None:
    now = FakeClock().now()
    device = Device("d" * 24, "x", "E", "o", now, now, room="a&b=c #1/ä")
    url = onboarding_url("http://h/", device, "t")
    asked = f"deviceId={'d' * 24}&token=t&type=door-lock&room=a%26b%3Dc%20%231%2F%C3%A4"
    assert url == f"http://h/onboard?{asked}"

"""Naming a device: only what the caller sees, and never one in place of another."""

from __future__ import annotations

import pytest

from doorlock.daemon.domain.access import Level, Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller, Role
from doorlock.errors import Ambiguous, NotAllowed, NotFound
from tests.support.house import House


async def test_a_device_is_named_by_id_esp_id_or_name_whatever_the_case(
    it: House, owner: Caller, door: Device
) -> None:
    for ref in (door.id, "ESP-front", "front", "FRONT"):
        assert (await it.guard.find(owner, ref)).device.id == door.id


async def test_what_is_not_seen_is_not_found_whether_it_is_there_or_not(
    it: House, owner: Caller, door: Device
) -> None:
    stranger = await it.person("sam")
    messages = set()
    for ref in (door.id, "f" * 24, "ESP-front", "front", "back"):
        with pytest.raises(NotFound) as refused:
            await it.guard.find(stranger, ref)
        messages.add(refused.value.message.replace(ref, "…"))
    assert len(messages) == 1


async def test_two_of_one_name_are_ambiguous_and_listed(
    it: House, owner: Caller, door: Device
) -> None:
    other = await it.door(owner, "front", esp_id="ESP-2")
    with pytest.raises(Ambiguous) as refused:
        await it.guard.find(owner, "front")
    assert {match["id"] for match in refused.value.details["matches"]} == {door.id, other.id}
    assert (await it.guard.find(owner, "ESP-2")).device.id == other.id


async def test_a_foreign_device_cannot_take_the_place_of_ones_own_by_its_esp_id(
    it: House, owner: Caller, door: Device
) -> None:
    mallory = await it.person("mallory")
    trap = await it.door(mallory, "trap", esp_id=door.name)
    assert (await it.guard.find(owner, door.name)).device.id == door.id
    await it.share(trap, owner)
    with pytest.raises(Ambiguous):
        await it.guard.find(owner, door.name)


async def test_a_device_called_by_its_own_esp_id_is_one(it: House, owner: Caller) -> None:
    same = await it.door(owner, "same", esp_id="same")
    assert (await it.guard.find(owner, "same")).device.id == same.id


async def test_devices_that_are_not_seen_make_no_name_ambiguous(
    it: House, owner: Caller, door: Device
) -> None:
    other = await it.person("otto")
    await it.door(other, "front", esp_id="ESP-2")
    assert (await it.guard.find(owner, "front")).device.id == door.id


async def test_the_level_says_who_sees_what(it: House, owner: Caller, door: Device) -> None:
    operator = await it.person("root", Role.SUPER_ADMIN)
    viewer, stranger = await it.person("vera"), await it.person("sam")
    await it.share(door, viewer, Permission.VIEW)
    levels = {Level.OWNER: (owner, operator), Level.VIEW: (viewer,)}
    for level, callers in levels.items():
        for caller in callers:
            assert [seen.level for seen in await it.guard.visible(caller.user)] == [level]
    assert await it.guard.visible(stranger.user) == []


async def test_a_disabled_user_sees_nothing(it: House, owner: Caller, door: Device) -> None:
    disabled = await it.store.update_user(owner.user.id, {"is_active": False})
    assert disabled is not None
    assert await it.guard.visible(disabled) == []
    operator = await it.person("root", Role.SUPER_ADMIN, active=False)
    assert await it.guard.visible(operator.user) == []


async def test_a_refusal_is_recorded_with_the_act(it: House, owner: Caller, door: Device) -> None:
    viewer = await it.person("vera")
    await it.share(door, viewer, Permission.VIEW)
    with pytest.raises(NotAllowed) as refused:
        await it.guard.require(viewer, door.id, Level.ADMIN, "share")
    assert "share 'front'" in refused.value.message
    (event,) = await it.log(EventType.ACCESS_REFUSED)
    assert event.new.payload == {"act": "share", "permission": "view"}

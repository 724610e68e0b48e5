"""Asking for a command: who may, what is refused at once, and what one record stands for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller, Role
from doorlock.daemon.services.submit import Asked
from doorlock.errors import BadInput, Conflict, DeviceOffline, NotAllowed, NotFound
from doorlock.protocol import INTERACTIVE, CommandName, CommandStatus, Transport
from tests.support.house import House

C = CommandName
SETTINGS = {"settings": {"motionSensitivity": 10}}


@pytest.mark.parametrize("name", sorted(INTERACTIVE))
async def test_an_offline_device_is_refused_at_once_and_nothing_is_written(
    it: House, owner: Caller, door: Device, name: CommandName
) -> None:
    before = await it.store.bounds()
    with pytest.raises(DeviceOffline):
        await it.ask(owner, door, name)
    assert await it.store.bounds() == before
    assert await it.store.unfinished_commands() == []
    session = await it.connect(door)
    await it.clock.advance(60)
    assert it.websocket.handed == []
    await it.ingest.disconnected(session, "closed")


async def test_a_device_that_left_is_offline_again(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    await it.ingest.disconnected(session, "closed")
    with pytest.raises(DeviceOffline):
        await it.unlock(owner, door)


async def test_an_unlock_is_recorded_with_who_asked_and_until_when_it_holds(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    submitted = await it.unlock(owner, door)
    command = await it.command(submitted.command.id)
    assert command.issued_by == owner.user.id
    assert command.expires_at == it.clock.now() + timedelta(seconds=30)
    assert command.due_at == it.clock.now() + timedelta(seconds=35)
    assert command.payload == {"duration": 5000}
    (queued,) = await it.log(EventType.COMMAND_QUEUED)
    assert (queued.seq, queued.new.user_id) == (submitted.position, owner.user.id)
    assert queued.new.payload["payload"] == {"duration": 5000}


async def test_a_timeout_of_ones_own_shortens_and_never_lengthens(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    short = await it.unlock(owner, door, timeout=timedelta(seconds=3))
    assert short.command.expires_at == it.clock.now() + timedelta(seconds=3)
    await it.ack(session, short.command.id, "executed")
    long = await it.unlock(owner, door, timeout=timedelta(hours=3))
    assert long.command.expires_at == it.clock.now() + timedelta(seconds=30)


async def test_a_second_unlock_joins_the_one_that_runs(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    first = await it.unlock(owner, door)
    second = await it.unlock(owner, door)
    assert (first.joined, second.joined) == (False, True)
    assert second.command.id == first.command.id
    assert it.websocket.ids == [first.command.id]
    await it.ack(session, first.command.id, "executed")
    after = await it.log(after=second.position)
    assert EventType.COMMAND_EXECUTED in [event.new.type for event in after]
    third = await it.unlock(owner, door)
    assert not third.joined and third.command.id != first.command.id


async def test_two_that_ask_at_the_same_moment_get_one_command(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    asked = Asked(door.id, "unlock", {})
    found = await asyncio.gather(*(it.submit.submit(owner, asked) for _ in range(8)))
    await it.clock.settle()
    assert len({one.command.id for one in found}) == 1
    assert sum(not one.joined for one in found) == 1
    assert len(it.websocket.handed) == 1


async def test_another_who_may_joins_and_the_log_names_both(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest)
    await it.connect(door)
    first = await it.unlock(owner, door)
    second = await it.unlock(guest, door)
    assert second.joined and second.command.id == first.command.id
    assert len(it.websocket.handed) == 1
    queued = await it.log(EventType.COMMAND_QUEUED)
    assert [event.new.user_id for event in queued] == [owner.user.id, guest.user.id]
    assert queued[1].new.payload["joined"] is True


@pytest.mark.parametrize("permission", [None, Permission.VIEW])
async def test_another_who_may_not_does_not_join(
    it: House, owner: Caller, door: Device, permission: Permission | None
) -> None:
    guest = await it.person("gina")
    if permission:
        await it.share(door, guest, permission)
    await it.connect(door)
    await it.unlock(owner, door)
    with pytest.raises(NotAllowed):
        await it.unlock(guest, door)
    assert len(await it.log(EventType.COMMAND_QUEUED)) == 1


@pytest.mark.parametrize("name", sorted(INTERACTIVE - {C.UNLOCK_DOOR}))
async def test_a_different_command_is_a_conflict(
    it: House, owner: Caller, door: Device, name: CommandName
) -> None:
    await it.connect(door)
    first = await it.unlock(owner, door)
    with pytest.raises(Conflict) as refused:
        await it.ask(owner, door, name)
    assert refused.value.details["commandId"] == first.command.id
    assert it.websocket.ids == [first.command.id]


async def test_settings_do_not_wait_for_a_running_unlock(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    await it.unlock(owner, door)
    await it.ask(owner, door, C.UPDATE_SETTINGS, SETTINGS)
    sent = [one.command.name for one in it.websocket.handed]
    assert sent == [C.UNLOCK_DOOR, C.UPDATE_SETTINGS]


async def test_the_same_key_again_is_the_same_command(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    first = await it.unlock(owner, door, idempotency_key="k")
    await it.ack(session, first.command.id, "executed")
    again = await it.unlock(owner, door, idempotency_key="k")
    assert (again.command.id, again.command.status) == (first.command.id, CommandStatus.EXECUTED)
    assert again.joined
    assert len(it.websocket.handed) == 1


async def test_the_same_key_again_is_answered_when_the_device_has_gone_offline(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    first = await it.unlock(owner, door, idempotency_key="k")
    await it.ack(session, first.command.id, "executed")
    await it.ingest.disconnected(session, "closed")
    again = await it.unlock(owner, door, idempotency_key="k")
    assert (again.command.id, again.command.status) == (first.command.id, CommandStatus.EXECUTED)


async def test_a_key_that_joined_is_spent_too(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    first = await it.unlock(owner, door, idempotency_key="first")
    joined = await it.unlock(owner, door, idempotency_key="second")
    await it.ack(session, first.command.id, "executed")
    again = await it.unlock(owner, door, idempotency_key="second")
    assert again.command.id == joined.command.id
    assert len(it.websocket.handed) == 1


@pytest.mark.parametrize(
    ("name", "payload"), [(C.UNLOCK_DOOR, {"duration": 9000}), (C.LOCK_DOOR, {})]
)
async def test_a_key_for_something_else_is_refused(
    it: House, owner: Caller, door: Device, name: CommandName, payload: dict[str, int]
) -> None:
    session = await it.connect(door)
    first = await it.unlock(owner, door, idempotency_key="k")
    await it.ack(session, first.command.id, "executed")
    with pytest.raises(Conflict) as refused:
        await it.ask(owner, door, name, payload, idempotency_key="k")
    assert refused.value.details["commandId"] == first.command.id
    assert len(it.websocket.handed) == 1


async def test_a_key_for_another_door_is_refused(it: House, owner: Caller, door: Device) -> None:
    back = await it.door(owner, "back")
    await it.connect(door)
    await it.connect(back)
    await it.unlock(owner, door, idempotency_key="k")
    with pytest.raises(Conflict):
        await it.unlock(owner, back, idempotency_key="k")


async def test_keys_of_two_people_do_not_meet(it: House, owner: Caller, door: Device) -> None:
    guest = await it.person("gina")
    await it.share(door, guest)
    session = await it.connect(door)
    first = await it.unlock(owner, door, idempotency_key="k")
    await it.ack(session, first.command.id, "executed")
    second = await it.unlock(guest, door, idempotency_key="k")
    assert second.command.id != first.command.id


async def test_a_dry_run_does_nothing(it: House, owner: Caller, door: Device) -> None:
    await it.connect(door, Transport.MQTT)
    before = await it.store.bounds()
    allowed = await it.submit.check(owner, Asked(door.id, "unlock", {}))
    await it.clock.advance(60)
    assert (allowed.device.id, allowed.command, allowed.via) == (
        door.id,
        C.UNLOCK_DOOR,
        Transport.MQTT,
    )
    assert await it.store.bounds() == before
    assert it.mqtt.handed == []


async def test_a_dry_run_says_what_the_real_one_would(
    it: House, owner: Caller, door: Device
) -> None:
    with pytest.raises(DeviceOffline):
        await it.submit.check(owner, Asked(door.id, "unlock", {}))
    queued = await it.submit.check(owner, Asked(door.id, C.UPDATE_SETTINGS, SETTINGS))
    assert queued.via is None
    await it.connect(door)
    await it.unlock(owner, door)
    with pytest.raises(Conflict):
        await it.submit.check(owner, Asked(door.id, "lock", {}))
    with pytest.raises(BadInput):
        await it.submit.check(owner, Asked(door.id, "unlock", {"duration": 1}))


async def test_a_view_share_is_refused_and_that_is_recorded(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest, Permission.VIEW)
    await it.connect(door)
    with pytest.raises(NotAllowed):
        await it.unlock(guest, door)
    (event,) = await it.log(EventType.ACCESS_REFUSED)
    assert (event.new.device_id, event.new.user_id) == (door.id, guest.user.id)
    assert event.new.payload == {"act": "unlock", "permission": "view"}
    assert it.websocket.handed == []


async def test_a_control_share_works_until_just_before_its_end(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest, expires_at=it.clock.now() + timedelta(seconds=60))
    session = await it.connect(door)
    await it.clock.advance(59.999)
    submitted = await it.unlock(guest, door)
    assert it.websocket.ids == [submitted.command.id]
    await it.ack(session, submitted.command.id, "executed")
    await it.clock.advance(0.001)
    with pytest.raises(NotAllowed):
        await it.unlock(guest, door)
    (refused,) = await it.log(EventType.ACCESS_REFUSED)
    assert (refused.new.device_id, refused.new.user_id) == (door.id, guest.user.id)


async def test_a_stranger_is_told_nothing(it: House, owner: Caller, door: Device) -> None:
    stranger = await it.person("sam")
    await it.connect(door)
    said = set()
    for ref in (door.id, door.name, door.esp_id, "nothing", "f" * 24):
        with pytest.raises(NotAllowed) as refused:
            await it.submit.submit(stranger, Asked(ref, "unlock", {}))
        said.add(refused.value.message.replace(repr(ref), "it"))
    assert len(said) == 1, "in the same words, whether it is there or not"
    assert it.websocket.handed == []


async def test_a_disabled_owner_may_not(it: House, owner: Caller, door: Device) -> None:
    await it.connect(door)
    disabled = await it.store.update_user(owner.user.id, {"is_active": False})
    assert disabled is not None
    with pytest.raises(NotAllowed):
        await it.unlock(Caller(disabled), door)


async def test_permission_is_judged_before_the_payload(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest, Permission.VIEW)
    with pytest.raises(NotAllowed):
        await it.submit.submit(guest, Asked(door.id, "unlock", {"duration": 1}))


async def test_settings_wait_for_their_device(it: House, owner: Caller, door: Device) -> None:
    submitted = await it.ask(owner, door, C.UPDATE_SETTINGS, SETTINGS)
    assert submitted.command.status is CommandStatus.QUEUED
    await it.clock.advance(timedelta(hours=23))
    session = await it.connect(door)
    assert it.websocket.ids == [submitted.command.id]
    await it.ack(session, submitted.command.id, "executed")
    assert await it.story(submitted.command.id) == ["queued", "sent", "executed"]


async def test_what_waited_goes_out_in_the_order_it_was_asked_for(
    it: House, owner: Caller, door: Device
) -> None:
    asked = []
    for level in (1, 2, 3):
        payload = {"settings": {"motionSensitivity": level}}
        asked.append((await it.ask(owner, door, C.UPDATE_SETTINGS, payload)).command.id)
        await it.clock.advance(1)
    await it.connect(door)
    assert it.websocket.ids == asked


async def test_settings_that_waited_too_long_expire(it: House, owner: Caller, door: Device) -> None:
    submitted = await it.ask(owner, door, C.UPDATE_SETTINGS, SETTINGS)
    await it.clock.advance(timedelta(days=1))
    await it.connect(door)
    assert it.websocket.handed == []
    assert await it.story(submitted.command.id) == ["queued", "expired"]


async def test_settings_of_nothing_are_refused(it: House, owner: Caller, door: Device) -> None:
    with pytest.raises(BadInput):
        await it.ask(owner, door, C.UPDATE_SETTINGS, {"settings": {}})


async def test_what_was_not_sent_can_be_cancelled(it: House, owner: Caller, door: Device) -> None:
    submitted = await it.ask(owner, door, C.UPDATE_SETTINGS, SETTINGS)
    cancelled = await it.submit.cancel(owner, submitted.command.id)
    assert cancelled.status is CommandStatus.CANCELLED
    await it.connect(door)
    assert it.websocket.handed == []
    with pytest.raises(Conflict):
        await it.submit.cancel(owner, submitted.command.id)


async def test_what_was_sent_cannot_be_cancelled(it: House, owner: Caller, door: Device) -> None:
    await it.connect(door)
    submitted = await it.unlock(owner, door)
    with pytest.raises(Conflict):
        await it.submit.cancel(owner, submitted.command.id)
    assert (await it.command(submitted.command.id)).status is CommandStatus.SENT


async def test_only_who_may_operate_cancels(it: House, owner: Caller, door: Device) -> None:
    viewer = await it.person("vera")
    await it.share(door, viewer, Permission.VIEW)
    submitted = await it.ask(owner, door, C.UPDATE_SETTINGS, SETTINGS)
    with pytest.raises(NotAllowed):
        await it.submit.cancel(viewer, submitted.command.id)
    with pytest.raises(NotFound):
        await it.submit.cancel(await it.person("sam"), submitted.command.id)
    with pytest.raises(NotFound):
        await it.submit.cancel(owner, "no-such-command")


async def test_an_operator_who_acts_for_another_is_named_in_every_entry(
    it: House, owner: Caller, door: Device
) -> None:
    operator = await it.person("root", Role.SUPER_ADMIN)
    session = await it.connect(door)
    acting = await it.accounts.acting_as(operator, owner.user.username)
    submitted = await it.unlock(acting, door)
    await it.ack(session, submitted.command.id, "executed")
    events = await it.log(command=submitted.command.id)
    entries = [event.new for event in events if event.new.type.startswith("command_")]
    assert [entry.user_id for entry in entries] == [owner.user.id] * 3
    assert [entry.metadata["operatorId"] for entry in entries] == [operator.user.id] * 3

"""Handing over: recorded first, once over each transport, never late, never for who may not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.services.submit import Asked
from doorlock.protocol import CommandName, CommandStatus, Transport
from tests.support.house import House, house

S = CommandStatus
WS, MQTT = Transport.WEBSOCKET, Transport.MQTT
SETTINGS = {"settings": {"motionSensitivity": 10}}


async def test_it_is_recorded_as_sent_before_it_is_handed_over(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    submitted = await it.unlock(owner, door)
    (handed,) = it.websocket.handed
    assert handed.stored is not None
    assert (handed.stored.status, handed.stored.via) == (S.SENT, WS)
    assert handed.events == [EventType.COMMAND_QUEUED, EventType.COMMAND_SENT]
    assert handed.command.expires_at == submitted.command.expires_at


async def test_nothing_is_handed_over_that_could_not_be_recorded(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)

    async def breaks(command: Command) -> None:
        it.store.broken = command.status is S.SENT

    it.store.before_update = breaks
    submitted = await it.unlock(owner, door)
    assert it.websocket.handed == []
    it.store.broken, it.store.before_update = False, None
    await it.clock.advance(30)
    assert await it.story(submitted.command.id) == ["queued", "expired"]


async def test_websocket_comes_first_and_once_is_enough(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    await it.connect(door, MQTT)
    submitted = await it.unlock(owner, door)
    await it.ack(session, submitted.command.id, "received")
    await it.clock.advance(29)
    assert it.websocket.ids == [submitted.command.id]
    assert it.mqtt.handed == []


async def test_silence_for_two_seconds_fails_over_with_the_same_id(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    await it.connect(door, MQTT)
    submitted = await it.unlock(owner, door)
    await it.clock.advance(1.999)
    assert it.mqtt.handed == []
    await it.clock.advance(0.001)
    assert it.mqtt.ids == it.websocket.ids == [submitted.command.id]
    (handed,) = it.mqtt.handed
    assert handed.stored is not None and handed.stored.tried == (WS, MQTT)
    await it.clock.advance(60)
    assert len(it.mqtt.handed) == len(it.websocket.handed) == 1
    assert await it.story(submitted.command.id) == ["queued", "sent", "sent", "timed_out"]


async def test_what_is_just_being_handed_over_does_not_fail_over_at_once(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    await it.connect(door, MQTT)
    submitted = await it.submit.submit(owner, _unlock(door))
    it.websocket.meanwhile = lambda: it.dispatch.start(submitted.command.id)
    await it.clock.settle()
    assert it.websocket.ids == [submitted.command.id] and it.mqtt.handed == []
    await it.clock.advance(2)
    assert it.mqtt.ids == [submitted.command.id]


async def test_there_is_no_failover_once_it_has_expired(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    await it.connect(door, MQTT)
    submitted = await it.unlock(owner, door, timeout=timedelta(seconds=2))
    await it.clock.advance(2)
    assert it.mqtt.handed == []
    assert it.websocket.ids == [submitted.command.id]


async def test_a_transport_that_closes_is_not_waited_for(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    await it.connect(door, MQTT)
    submitted = await it.unlock(owner, door)
    await it.ingest.disconnected(session, "cut")
    await it.clock.settle()
    assert it.mqtt.ids == [submitted.command.id]


async def test_a_gateway_that_finds_nobody_is_passed_over_at_once(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door, MQTT)
    await it.connect(door)
    it.websocket.reachable = False
    submitted = await it.unlock(owner, door)
    assert it.mqtt.ids == [submitted.command.id]
    await it.ack(session, submitted.command.id, "executed")
    assert (await it.command(submitted.command.id)).status is S.EXECUTED


async def test_a_gateway_that_breaks_does_not_stop_the_failover(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    await it.connect(door, MQTT)
    it.websocket.failing = RuntimeError("broken pipe")
    submitted = await it.unlock(owner, door)
    await it.clock.advance(2)
    assert it.mqtt.ids == [submitted.command.id]


async def test_nobody_on_any_transport_is_an_honest_failure(
    it: House, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    await it.connect(door, MQTT)
    it.websocket.reachable = it.mqtt.reachable = False
    submitted = await it.unlock(owner, door)
    command = await it.command(submitted.command.id)
    assert command.status is S.CANCELLED
    assert "before it could be sent" in (command.error_message or "")
    it.websocket.reachable = it.mqtt.reachable = True
    await it.clock.advance(60)
    assert it.websocket.handed == it.mqtt.handed == []
    assert not (await it.unlock(owner, door)).joined


async def test_a_device_that_left_before_the_send_leaves_the_command_cancelled(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    submitted = await it.submit.submit(owner, _unlock(door))
    await it.ingest.disconnected(session, "cut")
    await it.clock.settle()
    command = await it.command(submitted.command.id)
    assert (command.status, it.websocket.handed) == (S.CANCELLED, [])
    assert "before it could be sent" in (command.error_message or "")


def _unlock(door: Device) -> Asked:
    return Asked(door.id, "unlock", {})


async def test_a_share_revoked_between_asking_and_sending_stops_it(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest)
    submitted = await it.ask(guest, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.sharing.revoke(owner, door.id, "gina")
    await it.connect(door)
    command = await it.command(submitted.command.id)
    assert (command.status, it.websocket.handed) == (S.CANCELLED, [])
    (refused,) = await it.log(EventType.ACCESS_REFUSED)
    assert (refused.new.device_id, refused.new.user_id) == (door.id, guest.user.id)
    assert refused.new.command_id == command.id


async def test_a_share_revoked_while_the_sending_is_recorded_stops_it(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest)
    await it.connect(door)

    async def revokes(command: Command) -> None:
        if command.status is S.SENT:
            await it.store.remove_share(door.id, guest.user.id)

    it.store.before_update = revokes
    submitted = await it.unlock(guest, door)
    assert it.websocket.handed == []
    command = await it.command(submitted.command.id)
    assert command.is_finished
    assert "permission" in (command.error_message or "")
    assert len(await it.log(EventType.ACCESS_REFUSED)) == 1


async def test_a_share_that_ends_while_it_waits_stops_it(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest, expires_at=it.clock.now() + timedelta(hours=1))
    submitted = await it.ask(guest, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.clock.advance(timedelta(hours=1))
    await it.connect(door)
    assert it.websocket.handed == []
    assert (await it.command(submitted.command.id)).status is S.CANCELLED


async def test_a_share_lowered_to_view_stops_it(it: House, owner: Caller, door: Device) -> None:
    guest = await it.person("gina")
    await it.share(door, guest)
    await it.ask(guest, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.share(door, guest, Permission.VIEW)
    await it.connect(door)
    assert it.websocket.handed == []


async def test_a_user_disabled_in_between_stops_it(it: House, owner: Caller, door: Device) -> None:
    submitted = await it.ask(owner, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.store.update_user(owner.user.id, {"is_active": False})
    await it.connect(door)
    assert it.websocket.handed == []
    assert (await it.command(submitted.command.id)).status is S.CANCELLED


async def test_permission_is_asked_again_before_the_failover(
    it: House, owner: Caller, door: Device
) -> None:
    guest = await it.person("gina")
    await it.share(door, guest)
    await it.connect(door)
    await it.connect(door, MQTT)
    submitted = await it.unlock(guest, door)
    await it.sharing.revoke(owner, door.id, "gina")
    await it.clock.advance(2)
    assert it.mqtt.handed == []
    await it.clock.advance(40)
    assert (await it.command(submitted.command.id)).status is S.TIMED_OUT


async def test_a_slow_disk_does_not_make_it_late(it: House, owner: Caller, door: Device) -> None:
    await it.connect(door)

    async def stalls(command: Command) -> None:
        if command.status is S.SENT:
            it.clock.jump(30)

    it.store.after_update = stalls
    submitted = await it.unlock(owner, door)
    assert it.websocket.handed == []
    await it.clock.advance(60)
    assert (await it.command(submitted.command.id)).is_finished


async def test_what_waited_is_sent_once_however_often_the_device_comes_back(
    it: House, owner: Caller, door: Device
) -> None:
    await it.ask(owner, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    for name in ("one", "two", "three"):
        session = await it.connect(door, WS, name)
        await it.ingest.disconnected(session, "closed")
    await it.connect(door, WS, "four")
    assert len(it.websocket.handed) == 1


async def test_a_switched_off_device_is_sent_nothing(
    it: House, owner: Caller, door: Device
) -> None:
    await it.ask(owner, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.store.update_device(door.id, {"is_active": False})
    await it.connect(door)
    assert it.websocket.handed == []


async def test_stopping_ends_what_is_on_its_way(it: House, owner: Caller, door: Device) -> None:
    await it.connect(door)
    await it.submit.submit(owner, _unlock(door))
    await it.dispatch.stop()
    await it.clock.advance(5)
    assert it.websocket.handed == []


async def test_what_an_earlier_run_sent_is_not_failed_over_by_this_one(
    it: House, owner: Caller, door: Device, tmp_path: Path
) -> None:
    await it.connect(door)
    submitted = await it.unlock(owner, door)
    await it.store.close()
    async with house(tmp_path, it.clock) as again:
        session = await again.connect(door)
        await again.connect(door, MQTT)
        await again.ingest.disconnected(session, "cut")
        await again.clock.advance(10)
        assert again.mqtt.handed == again.websocket.handed == []
        assert (await again.command(submitted.command.id)).status is S.SENT

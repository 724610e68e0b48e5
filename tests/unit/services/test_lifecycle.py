"""The durable life of a command when several things happen to it at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from doorlock.daemon.domain.commands import (
    Ack,
    AckStatus,
    Changed,
    Command,
    Ignored,
    Tick,
    decide,
)
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.reports import CommandAck, DoorStatus
from doorlock.daemon.domain.users import Caller
from doorlock.errors import Unavailable
from doorlock.protocol import CommandStatus, LockOrigin, LockValue, Transport
from tests.support.house import House

S = CommandStatus
WS, MQTT = Transport.WEBSOCKET, Transport.MQTT


def ack(door: Device, status: AckStatus, via: Transport = WS) -> Ack:
    return Ack(door.id, status, via)


async def sent(it: House, owner: Caller, door: Device) -> str:
    await it.connect(door)
    return (await it.unlock(owner, door)).command.id


@pytest.mark.parametrize("status", list(AckStatus))
async def test_two_acks_at_once_are_one_change(
    it: House, owner: Caller, door: Device, status: AckStatus
) -> None:
    command_id = await sent(it, owner, door)
    found = await asyncio.gather(
        *(it.lifecycle.apply(command_id, ack(door, status, via)) for via in (WS, MQTT, WS))
    )
    assert Counter(type(decision) for _, decision in found) == {Changed: 1, Ignored: 2}
    assert await it.story(command_id) == ["queued", "sent", status.value]
    assert (await it.command(command_id)).version == 2


async def test_an_ack_and_the_deadline_at_once_leave_one_outcome(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    it.clock.jump(35)
    done = ack(door, AckStatus.EXECUTED)
    await asyncio.gather(
        it.lifecycle.apply(command_id, Tick()), it.lifecycle.apply(command_id, done)
    )
    assert await it.story(command_id) == ["queued", "sent", "timed_out", "executed_late"]
    assert (await it.device(door.id)).lock_state.value is LockValue.UNLOCKED


async def test_a_contradiction_at_once_moves_no_door(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    await asyncio.gather(
        it.lifecycle.apply(command_id, ack(door, AckStatus.FAILED)),
        it.lifecycle.apply(command_id, ack(door, AckStatus.EXECUTED)),
    )
    assert (await it.command(command_id)).status is S.FAILED
    assert (await it.device(door.id)).lock_state.value is LockValue.UNKNOWN
    assert await it.log(EventType.STATUS_CHANGED) == []


async def test_a_command_that_was_changed_in_the_store_is_looked_at_again(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    stored = await it.command(command_id)
    elsewhere = decide(stored, ack(door, AckStatus.RECEIVED), it.clock.now())
    assert isinstance(elsewhere, Changed)
    await it.store.update_command(elsewhere.command)
    found, decision = await it.lifecycle.apply(command_id, ack(door, AckStatus.EXECUTED))
    assert isinstance(decision, Changed) and found is not None
    assert (found.status, found.version) == (S.EXECUTED, 3)


async def test_two_words_at_once_leave_the_command_at_hand(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    received = ack(door, AckStatus.RECEIVED)
    await asyncio.gather(
        it.lifecycle.apply(command_id, received), it.lifecycle.apply(command_id, received)
    )
    assert [command.status for command in it.lifecycle.unfinished()] == [S.RECEIVED]


async def test_a_deadline_that_cannot_be_recorded_is_tried_again(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    it.store.broken = True
    await it.clock.advance(60)
    it.store.broken = False
    assert (await it.command(command_id)).status is S.SENT
    await it.clock.advance(1)
    assert (await it.command(command_id)).status is S.TIMED_OUT


async def test_an_ack_that_cannot_be_recorded_changes_nothing_and_may_come_again(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    it.store.broken = True
    with pytest.raises(Unavailable):
        await it.lifecycle.apply(command_id, ack(door, AckStatus.EXECUTED))
    it.store.broken = False
    await it.lifecycle.apply(command_id, ack(door, AckStatus.EXECUTED))
    assert (await it.command(command_id)).status is S.EXECUTED


async def test_who_waits_is_told_of_the_outcome(it: House, owner: Caller, door: Device) -> None:
    command_id = await sent(it, owner, door)
    waiting = asyncio.ensure_future(it.lifecycle.finished(command_id, timedelta(minutes=1)))
    await it.clock.settle()
    assert not waiting.done()
    await it.lifecycle.apply(command_id, ack(door, AckStatus.EXECUTED))
    found = await waiting
    assert found is not None and found.status is S.EXECUTED
    again = await it.lifecycle.finished(command_id, timedelta(0))
    assert again is not None and again.status is S.EXECUTED


async def test_who_waits_too_long_is_told_how_it_stands(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    found = await it.lifecycle.finished(command_id, timedelta(0))
    assert found is not None and found.status is S.SENT
    assert await it.lifecycle.finished("nobody", timedelta(0)) is None


async def test_a_listener_hears_of_each_change_after_it_was_recorded(
    it: House, owner: Caller, door: Device
) -> None:
    heard: list[Command] = []
    it.lifecycle.on_change(heard.append)
    command_id = await sent(it, owner, door)
    await it.lifecycle.apply(command_id, ack(door, AckStatus.EXECUTED))
    assert [command.status for command in heard] == [S.SENT, S.EXECUTED]
    assert heard[-1].version == (await it.command(command_id)).version


async def test_finished_commands_are_not_kept_at_hand(
    it: House, owner: Caller, door: Device
) -> None:
    command_id = await sent(it, owner, door)
    assert [command.id for command in it.lifecycle.unfinished()] == [command_id]
    await it.lifecycle.apply(command_id, ack(door, AckStatus.EXECUTED))
    assert it.lifecycle.unfinished() == []


async def test_a_sensor_that_speaks_meanwhile_wins_over_the_ack(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    command_id = (await it.unlock(owner, door)).command.id
    await asyncio.gather(
        it.ingest.report(session, DoorStatus(status=LockValue.JAMMED)),
        it.ingest.report(session, CommandAck(command_id=command_id, status=AckStatus.EXECUTED)),
    )
    state = (await it.device(door.id)).lock_state
    assert (state.value, state.origin) == (LockValue.JAMMED, LockOrigin.SENSOR)
    assert (await it.command(command_id)).status is S.EXECUTED


async def test_the_slot_is_free_once_the_command_has_timed_out(
    it: House, owner: Caller, door: Device
) -> None:
    first = await sent(it, owner, door)
    await it.clock.advance(35)
    second = await it.unlock(owner, door)
    assert not second.joined and second.command.id != first

"""After a restart: nothing is sent again, nothing is late, and the outcome is honest."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from doorlock.daemon.domain.commands import Send
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.services.submit import Asked
from doorlock.protocol import CommandName, CommandStatus, LockValue, Transport
from tests.support.house import House, house

S = CommandStatus
SETTINGS = {"settings": {"motionSensitivity": 10}}


async def brought_to(it: House, owner: Caller, door: Device, status: CommandStatus) -> str:
    """The id of an unlock that stands at `status` when the daemon is killed."""
    session = await it.connect(door)
    if status is S.QUEUED:
        it.dispatch.start = lambda command_id: None  # type: ignore[method-assign]
    asked = Asked(door.id, "unlock", {})
    command_id = (await it.submit.submit(owner, asked)).command.id
    await it.clock.settle()
    steps = [S.RECEIVED, S.EXECUTING]
    for step in steps[: steps.index(status) + 1] if status in steps else []:
        await it.ack(session, command_id, step.value)
    assert (await it.command(command_id)).status is status
    await it.store.close()
    return command_id


RUNNING = [S.QUEUED, S.SENT, S.RECEIVED, S.EXECUTING]


@pytest.mark.parametrize("status", RUNNING)
@pytest.mark.parametrize("away", [1, 3600])
async def test_nothing_is_sent_again(
    it: House, owner: Caller, door: Device, tmp_path: Path, status: CommandStatus, away: int
) -> None:
    command_id = await brought_to(it, owner, door, status)
    it.clock.jump(away)
    async with house(tmp_path, it.clock) as again:
        for transport in Transport:
            await again.connect(door, transport)
        await again.clock.advance(120)
        assert again.websocket.handed == again.mqtt.handed == []
        assert (await again.command(command_id)).is_finished


async def test_what_was_never_sent_is_cancelled_and_the_door_is_free(
    it: House, owner: Caller, door: Device, tmp_path: Path
) -> None:
    command_id = await brought_to(it, owner, door, S.QUEUED)
    async with house(tmp_path, it.clock) as again:
        command = await again.command(command_id)
        assert command.status is S.CANCELLED
        assert "nothing happened" in (command.error_message or "")
        await again.connect(door)
        assert not (await again.unlock(owner, door)).joined


@pytest.mark.parametrize("status", RUNNING[1:])
async def test_what_was_sent_waits_on_until_its_deadline(
    it: House, owner: Caller, door: Device, tmp_path: Path, status: CommandStatus
) -> None:
    command_id = await brought_to(it, owner, door, status)
    it.clock.jump(10)
    async with house(tmp_path, it.clock) as again:
        assert (await again.command(command_id)).status is status
        await again.clock.advance(24.999)
        assert (await again.command(command_id)).status is status
        await again.clock.advance(0.001)
        assert (await again.command(command_id)).status is S.TIMED_OUT
        assert (await again.device(door.id)).lock_state.value is LockValue.UNKNOWN


@pytest.mark.parametrize("status", RUNNING[1:])
async def test_its_ack_counts_after_the_restart(
    it: House, owner: Caller, door: Device, tmp_path: Path, status: CommandStatus
) -> None:
    command_id = await brought_to(it, owner, door, status)
    it.clock.jump(10)
    async with house(tmp_path, it.clock) as again:
        session = await again.connect(door)
        await again.ack(session, command_id, "executed")
        assert (await again.command(command_id)).status is S.EXECUTED


@pytest.mark.parametrize("status", RUNNING[1:])
async def test_what_ran_out_while_the_daemon_was_away_has_timed_out_before_a_device_speaks(
    it: House, owner: Caller, door: Device, tmp_path: Path, status: CommandStatus
) -> None:
    command_id = await brought_to(it, owner, door, status)
    it.clock.jump(35)
    async with house(tmp_path, it.clock) as again:
        assert (await again.command(command_id)).status is S.TIMED_OUT
        session = await again.connect(door)
        await again.ack(session, command_id, "executed")
        assert (await again.command(command_id)).status is S.EXECUTED_LATE


@pytest.mark.parametrize(("away", "sent"), [(timedelta(hours=23), 1), (timedelta(hours=24), 0)])
async def test_settings_wait_on_until_they_expire(
    it: House, owner: Caller, door: Device, tmp_path: Path, away: timedelta, sent: int
) -> None:
    submitted = await it.ask(owner, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.store.close()
    it.clock.jump(away)
    async with house(tmp_path, it.clock) as again:
        await again.connect(door)
        assert len(again.websocket.handed) == sent
        status = (await again.command(submitted.command.id)).status
        assert status is (S.SENT if sent else S.EXPIRED)


async def test_settings_that_were_sent_are_not_sent_again(
    it: House, owner: Caller, door: Device, tmp_path: Path
) -> None:
    submitted = await it.ask(owner, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.lifecycle.apply(submitted.command.id, Send(Transport.WEBSOCKET))
    await it.store.close()
    async with house(tmp_path, it.clock) as again:
        await again.connect(door)
        assert again.websocket.handed == []
        await again.clock.advance(30)
        assert (await again.command(submitted.command.id)).status is S.TIMED_OUT


async def test_a_second_recovery_changes_nothing_more(
    it: House, owner: Caller, door: Device, tmp_path: Path
) -> None:
    await brought_to(it, owner, door, S.SENT)
    it.clock.jump(60)
    async with house(tmp_path, it.clock) as again:
        told = await again.store.bounds()
        await again.store.close()
    async with house(tmp_path, it.clock) as third:
        assert await third.store.bounds() == told

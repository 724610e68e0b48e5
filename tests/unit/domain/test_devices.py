"""What is known of a door: where it comes from, and when it stops being believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import LockState, lock_after
from doorlock.protocol import CommandName, CommandStatus, LockOrigin, LockValue

T0 = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOW = T0 + timedelta(seconds=6)
UNSEEN = LockState()


def command(status: CommandStatus, name: CommandName = CommandName.UNLOCK_DOOR) -> Command:
    return Command(
        id="c",
        device_id="d" * 24,
        name=name,
        issued_by="u" * 24,
        issued_at=T0,
        expires_at=T0 + timedelta(seconds=30),
        payload={"duration": 5000} if name is CommandName.UNLOCK_DOOR else {},
        status=status,
        sent_at=T0,
        acknowledged_at=T0 + timedelta(seconds=1),
    )


@pytest.mark.parametrize("status", [CommandStatus.EXECUTED, CommandStatus.EXECUTED_LATE])
def test_an_acknowledged_unlock_opens_the_door_until_it_presumably_locks_itself(
    status: CommandStatus,
) -> None:
    state = lock_after(command(status), UNSEEN, NOW)
    assert state is not None
    assert (state.value, state.origin, state.at) == (LockValue.UNLOCKED, LockOrigin.ACK, NOW)
    assert state.relocks_at == T0 + timedelta(seconds=6)


def test_without_a_word_on_the_way_the_duration_counts_from_the_sending() -> None:
    silent = replace(command(CommandStatus.EXECUTED), acknowledged_at=None)
    state = lock_after(silent, UNSEEN, NOW)
    assert state is not None and state.relocks_at == T0 + timedelta(seconds=5)


def test_an_acknowledged_lock_is_locked_by_ack_and_stays_so() -> None:
    state = lock_after(command(CommandStatus.EXECUTED, CommandName.LOCK_DOOR), UNSEEN, NOW)
    assert state == LockState(LockValue.LOCKED, LockOrigin.ACK, NOW)
    assert state.seen_at(NOW + timedelta(days=9)) == state


def test_a_timeout_leaves_the_door_unknown() -> None:
    state = lock_after(command(CommandStatus.TIMED_OUT), UNSEEN, NOW)
    assert state == LockState(LockValue.UNKNOWN, LockOrigin.NONE, NOW)


@pytest.mark.parametrize(
    "status", [CommandStatus.EXECUTED, CommandStatus.EXECUTED_LATE, CommandStatus.TIMED_OUT]
)
def test_a_sensor_that_has_spoken_since_knows_better(status: CommandStatus) -> None:
    jammed = LockState(LockValue.JAMMED, LockOrigin.SENSOR, T0)
    assert lock_after(command(status), jammed, NOW) is None


def test_what_a_sensor_said_before_the_command_is_overtaken() -> None:
    before = LockState(LockValue.LOCKED, LockOrigin.SENSOR, T0 - timedelta(microseconds=1))
    assert lock_after(command(CommandStatus.EXECUTED), before, NOW) is not None


@pytest.mark.parametrize(
    "status",
    [CommandStatus.FAILED, CommandStatus.CANCELLED, CommandStatus.EXPIRED, CommandStatus.SENT],
)
def test_what_did_not_happen_says_nothing_of_the_door(status: CommandStatus) -> None:
    assert lock_after(command(status), UNSEEN, NOW) is None


@pytest.mark.parametrize(
    "name", sorted(set(CommandName) - {CommandName.LOCK_DOOR, CommandName.UNLOCK_DOOR})
)
def test_commands_that_move_no_bolt_say_nothing_of_the_door(name: CommandName) -> None:
    assert lock_after(command(CommandStatus.EXECUTED, name), UNSEEN, NOW) is None


def test_what_was_never_sent_says_nothing_of_the_door() -> None:
    unsent = replace(command(CommandStatus.TIMED_OUT), sent_at=None)
    assert lock_after(unsent, UNSEEN, NOW) is None


def test_an_opened_door_is_assumed_to_be_locked_from_when_it_locks_itself() -> None:
    relocks = NOW + timedelta(seconds=5)
    opened = LockState(LockValue.UNLOCKED, LockOrigin.ACK, NOW, relocks)
    assert opened.seen_at(relocks - timedelta(microseconds=1)) == opened
    assumed = LockState(LockValue.LOCKED, LockOrigin.ASSUMED, relocks)
    assert opened.seen_at(relocks) == assumed
    assert opened.seen_at(relocks + timedelta(days=1)) == assumed


def test_nothing_is_assumed_of_what_a_sensor_says() -> None:
    open_door = LockState(LockValue.UNLOCKED, LockOrigin.SENSOR, NOW)
    assert open_door.seen_at(NOW + timedelta(days=1)) == open_door

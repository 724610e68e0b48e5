"""The life of a command: one pure transition function, whatever the transport or the store.

    queued -> sent -> received -> executing -> executed | failed
       |        \\________\\___________\\______-> timed_out -> executed_late | failed
       \\-> expired | cancelled       (sent, but to nobody: cancelled, or queued again)

`decide` is the only place that changes a command. It never raises: what does not fit the state is
answered by `Ignored`, with the reason and whether it deserves an entry in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from doorlock.daemon.domain.events import EventType
from doorlock.protocol import FINISHED, INTERACTIVE, CommandName, CommandStatus, Transport

FIRMWARE_WAIT = timedelta(minutes=10)

_S = CommandStatus


@dataclass(frozen=True, slots=True)
class Command:
    """A command as the store keeps it.

    `expires_at` is until when the device may act; `wait` is how long after that, or for what can
    queue after it was sent, its outcome is still awaited. `version` counts its changes: a store
    writes a change only over the version that it was decided on.
    """

    id: str
    device_id: str
    name: CommandName
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    wait: timedelta = timedelta(0)
    payload: Mapping[str, Any] = field(default_factory=dict)
    status: CommandStatus = _S.QUEUED
    via: Transport | None = None
    tried: tuple[Transport, ...] = ()
    sent_at: datetime | None = None
    acknowledged_at: datetime | None = None
    finished_at: datetime | None = None
    error_message: str | None = None
    operator_id: str | None = None
    correlation_id: str | None = None
    idempotency_key: str | None = None
    version: int = 0

    @property
    def is_interactive(self) -> bool:
        return self.name in INTERACTIVE

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def slot(self) -> str | None:
        """The device that this command keeps busy: no two running commands may name the same."""
        return self.device_id if self.is_interactive and not self.is_finished else None

    @property
    def due_at(self) -> datetime:
        """When the next tick decides: expiry while queued, the end of the waiting once sent."""
        if self.status is _S.QUEUED:
            return self.expires_at
        if self.is_interactive or self.sent_at is None:
            return self.expires_at + self.wait
        return self.sent_at + self.wait


@dataclass(frozen=True, slots=True)
class Send:
    """It is about to be handed to `via`; a second one is the failover."""

    via: Transport


class AckStatus(StrEnum):
    """What a device says of a command; WIRE section 2."""

    RECEIVED = "received"
    EXECUTING = "executing"
    EXECUTED = "executed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ack:
    """The device `device_id` spoke of the command, over `via`."""

    device_id: str
    status: AckStatus
    via: Transport
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Undelivered:
    """No transport had a connection to hand it to: the device cannot have heard of it. What may
    not wait is cancelled; settings and firmware wait again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody or something stops it before it was sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The clock: what is due by now has run out."""


Input = Send | Ack | Undelivered | Cancel | Tick


@dataclass(frozen=True, slots=True)
class Changed:
    """The command as it is from now on, and the event that says so."""

    command: Command
    event: EventType
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing changes. `suspicious` asks for a `message_rejected` in the log."""

    reason: str
    suspicious: bool = False


Decision = Changed | Ignored

_EVENT_OF = {
    _S.SENT: EventType.COMMAND_SENT,
    _S.RECEIVED: EventType.COMMAND_RECEIVED,
    _S.EXECUTING: EventType.COMMAND_EXECUTING,
    _S.EXECUTED: EventType.COMMAND_EXECUTED,
    _S.FAILED: EventType.COMMAND_FAILED,
    _S.TIMED_OUT: EventType.COMMAND_TIMED_OUT,
    _S.EXPIRED: EventType.COMMAND_EXPIRED,
    _S.CANCELLED: EventType.COMMAND_CANCELLED,
    _S.EXECUTED_LATE: EventType.COMMAND_EXECUTED_LATE,
}

_PROGRESS = {_S.SENT: 0, _S.RECEIVED: 1, _S.EXECUTING: 2}


def decide(command: Command, given: Input, now: datetime) -> Decision:
    """What `given` at `now` makes of `command`."""
    match given:
        case Send():
            return _send(command, given, now)
        case Ack():
            return _ack(command, given, now)
        case Undelivered(reason):
            return _undelivered(command, reason, now)
        case Cancel(reason):
            if command.status is not _S.QUEUED:
                return Ignored("only a command that was not sent yet can be cancelled")
            return _finish(command, _S.CANCELLED, now, reason)
        case Tick():
            return _tick(command, now)


def _send(command: Command, given: Send, now: datetime) -> Decision:
    if now >= command.expires_at:
        return Ignored("it has expired")
    if command.status is _S.QUEUED:
        sent = replace(command, status=_S.SENT, via=given.via, tried=(given.via,), sent_at=now)
        return _changed(sent)
    if command.status is _S.SENT and given.via not in command.tried:
        again = replace(command, via=given.via, tried=(*command.tried, given.via))
        return _changed(again, {"failover": True})
    return Ignored("it was sent already")


def _ack(command: Command, given: Ack, now: datetime) -> Decision:
    if given.device_id != command.device_id:
        return Ignored("it was sent to another device", suspicious=True)
    if command.sent_at is None:
        return Ignored("it was never sent", suspicious=True)
    if command.status in _PROGRESS and now < command.due_at:
        return _ack_in_time(command, given, now)
    if command.status in _PROGRESS or command.status is _S.TIMED_OUT:
        return _ack_late(command, given, now)
    did, did_not = {_S.EXECUTED, _S.EXECUTED_LATE}, {_S.FAILED, _S.CANCELLED}
    contradicts = (given.status is AckStatus.EXECUTED and command.status in did_not) or (
        given.status is AckStatus.FAILED and command.status in did
    )
    return Ignored(f"it is {command.status} already", suspicious=contradicts)


def _ack_in_time(command: Command, given: Ack, now: datetime) -> Decision:
    heard = replace(command, via=given.via, acknowledged_at=command.acknowledged_at or now)
    if given.status is AckStatus.EXECUTED:
        return _finish(heard, _S.EXECUTED, now)
    if given.status is AckStatus.FAILED:
        return _finish(heard, _S.FAILED, now, given.error_message or "the device gave no reason")
    reached = _S(given.status.value)
    if _PROGRESS[reached] <= _PROGRESS[command.status]:
        return Ignored(f"it is {command.status} already")
    return _changed(replace(heard, status=reached))


def _ack_late(command: Command, given: Ack, now: datetime) -> Decision:
    heard = replace(command, via=given.via, acknowledged_at=command.acknowledged_at or now)
    if given.status is AckStatus.EXECUTED:
        return _finish(heard, _S.EXECUTED_LATE, now, detail={"late": True})
    if given.status is AckStatus.FAILED:
        reason = given.error_message or "the device gave no reason"
        return _finish(heard, _S.FAILED, now, reason, {"late": True})
    return Ignored("it timed out, and this says nothing of its outcome")


def _undelivered(command: Command, reason: str, now: datetime) -> Decision:
    if command.status is not _S.SENT:
        return Ignored(f"it is {command.status}")
    if command.is_interactive or now >= command.expires_at:
        return _finish(command, _S.CANCELLED, now, reason)
    waiting = replace(command, status=_S.QUEUED, via=None, tried=(), sent_at=None)
    return Changed(
        replace(waiting, version=command.version + 1),
        EventType.COMMAND_QUEUED,
        {"again": True, "reason": reason},
    )


def _tick(command: Command, now: datetime) -> Decision:
    if command.is_finished or now < command.due_at:
        return Ignored("nothing is due")
    if command.status is _S.QUEUED:
        return _finish(command, _S.EXPIRED, now, "it was not sent in time, so nothing happened")
    return _finish(
        command, _S.TIMED_OUT, now, "no outcome was heard in time: it may have happened or not"
    )


def _changed(command: Command, detail: Mapping[str, Any] | None = None) -> Changed:
    counted = replace(command, version=command.version + 1)
    return Changed(counted, _EVENT_OF[command.status], detail or {})


def _finish(
    command: Command,
    status: CommandStatus,
    now: datetime,
    error_message: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Changed:
    ended = replace(command, status=status, finished_at=now, error_message=error_message)
    return _changed(ended, detail)

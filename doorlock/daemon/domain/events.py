"""The event log's rows, and the hash chain that shows when one was changed or taken out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from doorlock.daemon.domain.ids import new_id
from doorlock.times import iso

GENESIS = "0" * 64
"""What stands for the hash before the first event."""


class EventType(StrEnum):
    """WIRE section 5."""

    DEVICE_REGISTERED = "device_registered"
    DEVICE_ACTIVATED = "device_activated"
    DEVICE_CONNECTED = "device_connected"
    DEVICE_DISCONNECTED = "device_disconnected"
    DEVICE_REMOVED = "device_removed"
    COMMAND_QUEUED = "command_queued"
    COMMAND_SENT = "command_sent"
    COMMAND_RECEIVED = "command_received"
    COMMAND_EXECUTING = "command_executing"
    COMMAND_EXECUTED = "command_executed"
    COMMAND_FAILED = "command_failed"
    COMMAND_TIMED_OUT = "command_timed_out"
    COMMAND_EXPIRED = "command_expired"
    COMMAND_CANCELLED = "command_cancelled"
    COMMAND_EXECUTED_LATE = "command_executed_late"
    STATUS_CHANGED = "status_changed"
    SNAPSHOT_CAPTURED = "snapshot_captured"
    MOTION_DETECTED = "motion_detected"
    LOW_BATTERY = "low_battery"
    ERROR_OCCURRED = "error_occurred"
    SETTINGS_UPDATED = "settings_updated"
    FIRMWARE_UPDATED = "firmware_updated"
    VISITOR_ARRIVED = "visitor_arrived"
    VISITOR_GRANTED = "visitor_granted"
    VISITOR_DENIED = "visitor_denied"
    VISITOR_EXPIRED = "visitor_expired"
    SHARE_GRANTED = "share_granted"
    SHARE_CHANGED = "share_changed"
    SHARE_REVOKED = "share_revoked"
    TOKEN_ROTATED = "token_rotated"
    TOKEN_REVOKED = "token_revoked"
    USER_CREATED = "user_created"
    USER_DISABLED = "user_disabled"
    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    ACCESS_REFUSED = "access_refused"
    MESSAGE_REJECTED = "message_rejected"
    RATE_LIMITED = "rate_limited"
    LOG_PRUNED = "log_pruned"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event before the store has given it its place. `at` is the daemon's receipt time."""

    type: EventType
    at: datetime
    device_id: str | None = None
    user_id: str | None = None
    command_id: str | None = None
    correlation_id: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Event:
    """An event in its place: `seq` rises by one an event and is never used twice."""

    seq: int
    hash: str
    new: NewEvent


def chain(previous_hash: str, seq: int, new: NewEvent) -> Event:
    """`new` at `seq`, its hash covering all of it and the hash of the event before."""
    body = orjson.dumps(
        [
            previous_hash,
            seq,
            new.id,
            new.type,
            iso(new.at),
            new.device_id,
            new.user_id,
            new.command_id,
            new.correlation_id,
            new.payload,
            new.metadata,
        ],
        option=orjson.OPT_SORT_KEYS,
    )
    return Event(seq, hashlib.sha256(body).hexdigest(), new)


def verify(anchor: str, events: Iterable[Event]) -> int | None:
    """The first position that does not follow from what is before it, or None when all do.

    `events` are in order and without a gap; `anchor` is the hash of the event before the first.
    An event that was changed, taken out, put in or moved shows, save at the very end of the log.
    """
    previous = anchor
    for event in events:
        if chain(previous, event.seq, event.new).hash != event.hash:
            return event.seq
        previous = event.hash
    return None

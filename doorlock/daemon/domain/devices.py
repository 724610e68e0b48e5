"""Devices: what is kept of a lock or a camera, and what its reports mean for its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from doorlock.daemon.domain.commands import Command
from doorlock.protocol import CommandName, CommandStatus, DeviceType, LockOrigin, LockValue

MOVES_BOLT = frozenset({CommandName.LOCK_DOOR, CommandName.UNLOCK_DOOR})


@dataclass(frozen=True, slots=True)
class LockState:
    """What the door is, how that is known, and since when (the daemon's clock).

    `relocks_at`: when an unlocked door that says nothing more has presumably locked itself again.
    """

    value: LockValue = LockValue.UNKNOWN
    origin: LockOrigin = LockOrigin.NONE
    at: datetime | None = None
    relocks_at: datetime | None = None

    def seen_at(self, now: datetime) -> LockState:
        """The state to show at `now`: after `relocks_at` the door is assumed to be locked."""
        if self.relocks_at is None or now < self.relocks_at:
            return self
        return LockState(LockValue.LOCKED, LockOrigin.ASSUMED, self.relocks_at)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the store keeps it. Whether it is online is not kept: see `services.presence`.

    `token_hash` is the SHA-256 of the device token in hex, or None when it was revoked.
    `maintenance` is what the device itself last said. `mqtt_provisioned` says that the broker
    knows the current token, where the daemon manages the broker's users. A pending token comes
    with a pairing QR, and replaces the token when the device first uses it in time. `timezone` is
    that of the door's own clock. `transfer_to` has been offered the device by its owner, and may
    accept it until `transfer_expires_at`.
    """

    id: str
    name: str
    esp_id: str
    owner_id: str
    created_at: datetime
    updated_at: datetime
    device_type: DeviceType = DeviceType.DOOR_LOCK
    room: str = ""
    location: str = ""
    firmware_version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    token_hash: str | None = None
    is_active: bool = True
    activated_at: datetime | None = None
    maintenance: bool = False
    lock_state: LockState = field(default_factory=LockState)
    battery_level: int | None = None
    last_seen: datetime | None = None
    mqtt_provisioned: bool = False
    pending_token_hash: str | None = None
    pending_expires_at: datetime | None = None
    timezone: str = "UTC"
    transfer_to: str | None = None
    transfer_expires_at: datetime | None = None

    def is_offered_to(self, user_id: str, now: datetime) -> bool:
        """Whether `user_id` may make the device theirs by accepting it."""
        in_time = self.transfer_expires_at is not None and now < self.transfer_expires_at
        return self.transfer_to == user_id and in_time


def lock_after(command: Command, state: LockState, now: datetime) -> LockState | None:
    """What the outcome of `command` says of the door, or None where it says nothing.

    A sensor that has spoken since the command was sent knows better than any acknowledgement.
    """
    if command.name not in MOVES_BOLT:
        return None
    if command.sent_at is None or _sensed_since(state, command.sent_at):
        return None
    match command.status:
        case CommandStatus.TIMED_OUT:
            return LockState(LockValue.UNKNOWN, LockOrigin.NONE, now)
        case CommandStatus.EXECUTED | CommandStatus.EXECUTED_LATE:
            if command.name is CommandName.LOCK_DOOR:
                return LockState(LockValue.LOCKED, LockOrigin.ACK, now)
            begun = command.acknowledged_at or command.sent_at
            relocks_at = begun + timedelta(milliseconds=command.payload["duration"])
            return LockState(LockValue.UNLOCKED, LockOrigin.ACK, now, relocks_at)
        case _:
            return None


def _sensed_since(state: LockState, moment: datetime) -> bool:
    return state.origin is LockOrigin.SENSOR and state.at is not None and state.at >= moment

"""Names that cross the socket and the network, shared by daemon, clients and the reference device.

Standard library only: the command line imports this on its quick path.
"""

from __future__ import annotations

from enum import StrEnum

API_VERSION = 1
"""Raised when the local API changes in a way that an older client cannot follow."""

AS_USER_HEADER = "X-Doorlock-As"
IDEMPOTENCY_HEADER = "Idempotency-Key"
DEVICE_ID_HEADER = "X-Device-Id"
DEVICE_TOKEN_HEADER = "X-Device-Token"


class Transport(StrEnum):
    """How a device is connected; the wire's `connectionType` and `via`."""

    WEBSOCKET = "websocket"
    MQTT = "mqtt"


class CommandName(StrEnum):
    """What a device can be told; WIRE section 2."""

    LOCK_DOOR = "lock_door"
    UNLOCK_DOOR = "unlock_door"
    REQUEST_SNAPSHOT = "request_snapshot"
    UPDATE_SETTINGS = "update_settings"
    RESTART_DEVICE = "restart_device"
    FIRMWARE_UPDATE = "firmware_update"


INTERACTIVE = frozenset(
    {
        CommandName.LOCK_DOOR,
        CommandName.UNLOCK_DOOR,
        CommandName.RESTART_DEVICE,
        CommandName.REQUEST_SNAPSHOT,
    }
)
"""Commands that are refused while their device is offline, and never wait for it."""

SHORT_NAMES = {"lock": CommandName.LOCK_DOOR, "unlock": CommandName.UNLOCK_DOOR}


class CommandStatus(StrEnum):
    """Where a command stands. `timed_out` means unknown, not failed."""

    QUEUED = "queued"
    SENT = "sent"
    RECEIVED = "received"
    EXECUTING = "executing"
    EXECUTED = "executed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    EXECUTED_LATE = "executed_late"


FINISHED = frozenset(
    {
        CommandStatus.EXECUTED,
        CommandStatus.FAILED,
        CommandStatus.TIMED_OUT,
        CommandStatus.EXPIRED,
        CommandStatus.CANCELLED,
        CommandStatus.EXECUTED_LATE,
    }
)
"""States that nobody needs to wait in any longer (a late ack may still turn `timed_out`)."""


class DeviceType(StrEnum):
    """Kinds of device, as the field's firmware names them."""

    CAMERA = "esp32-cam"
    DOOR_LOCK = "door-lock"
    MOTION_SENSOR = "motion-sensor"
    OTHER = "other"


class LockValue(StrEnum):
    """What a door is, as far as anybody knows."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"
    LOCKING = "locking"
    UNLOCKING = "unlocking"
    JAMMED = "jammed"
    ERROR = "error"
    UNKNOWN = "unknown"


class LockOrigin(StrEnum):
    """Where a lock state comes from; an ack is not a moved bolt."""

    SENSOR = "sensor"
    ACK = "ack"
    ASSUMED = "assumed"
    NONE = "none"


def command_topic(device_id: str) -> str:
    return f"iot/commands/{device_id}"


def response_topic(device_id: str) -> str:
    return f"iot/responses/{device_id}"


def status_topic(device_id: str) -> str:
    return f"iot/status/{device_id}"


def event_topic(device_id: str) -> str:
    return f"iot/events/{device_id}"

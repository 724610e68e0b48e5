"""Things to keep, each with what a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from doorlock.daemon.domain.access import Invitation, Permission, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_command_id, new_id
from doorlock.daemon.domain.users import User
from doorlock.protocol import CommandName

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
NOON_KEPT = NOON.replace(microsecond=123000)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def user(username: str = "ada", **fields: Any) -> User:
    return User(**{"id": new_id(), "username": username, "created_at": NOON_KEPT, **fields})


def device(name: str = "front", **fields: Any) -> Device:
    given: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "esp_id": f"ESP-{new_id()}",
        "owner_id": new_id(),
        "created_at": NOON_KEPT,
        "updated_at": NOON_KEPT,
    }
    return Device(**{**given, **fields})


def share(**fields: Any) -> Share:
    given: dict[str, Any] = {
        "device_id": new_id(),
        "user_id": new_id(),
        "permission": Permission.CONTROL,
        "granted_by": new_id(),
        "created_at": NOON_KEPT,
    }
    return Share(**{**given, **fields})


def invitation(**fields: Any) -> Invitation:
    given: dict[str, Any] = {
        "id": new_id(),
        "device_id": new_id(),
        "email": "new@example.org",
        "permission": Permission.CONTROL,
        "granted_by": new_id(),
        "created_at": NOON_KEPT,
        "code_hash": new_id(),
        "code_expires_at": NOON_KEPT + timedelta(days=7),
    }
    return Invitation(**{**given, **fields})


def command(**fields: Any) -> Command:
    given: dict[str, Any] = {
        "id": new_command_id(),
        "device_id": new_id(),
        "name": CommandName.UNLOCK_DOOR,
        "issued_by": new_id(),
        "issued_at": NOON_KEPT,
        "expires_at": NOON_KEPT + timedelta(seconds=30),
    }
    return Command(**{**given, **fields})


def event(kind: EventType = EventType.STATUS_CHANGED, **fields: Any) -> NewEvent:
    return NewEvent(**{"type": kind, "at": NOON_KEPT, **fields})

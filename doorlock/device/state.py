"""What a device remembers: the commands it has done, its settings, its firmware."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from doorlock.protocol import CommandStatus, Transport
from doorlock.times import iso_or_none, parse_time


class Stage(StrEnum):
    """How far a command got, as the journal knows it."""

    STARTED = "started"
    EXECUTED = "executed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Record:
    """One command that this device took, and what became of it."""

    command_id: str
    command: str
    stage: Stage
    via: Transport
    expires_at: datetime | None = None
    error: str | None = None
    delivered: bool = False

    @property
    def status(self) -> CommandStatus:
        """What to acknowledge when the command comes a second time."""
        if self.stage is Stage.STARTED:
            return CommandStatus.EXECUTING
        return CommandStatus(self.stage.value)

    def finished(self, error: str | None) -> Record:
        stage = Stage.EXECUTED if error is None else Stage.FAILED
        return replace(self, stage=stage, error=error)

    def may_be_forgotten(self, now: datetime) -> bool:
        """Whether its redelivery would be refused anyway, because it is too late."""
        over = self.expires_at is None or self.expires_at <= now
        return over and self.stage is not Stage.STARTED

    def as_json(self) -> dict[str, Any]:
        return {
            "commandId": self.command_id,
            "command": self.command,
            "stage": self.stage.value,
            "via": self.via.value,
            "expiresAt": iso_or_none(self.expires_at),
            "error": self.error,
            "delivered": self.delivered,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Raises KeyError, TypeError or ValueError on anything that `as_json` did not write."""
        expires = data["expiresAt"]
        return cls(
            str(data["commandId"]),
            str(data["command"]),
            Stage(data["stage"]),
            Transport(data["via"]),
            None if expires is None else parse_time(expires),
            data["error"],
            bool(data["delivered"]),
        )


class Memory:
    """The last `capacity` commands by id. Forgets only what could not act again."""

    def __init__(self, records: Iterable[Record] = (), *, capacity: int = 1000) -> None:
        self._records = {record.command_id: record for record in records}
        self._capacity = capacity

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def get(self, command_id: str) -> Record | None:
        return self._records.get(command_id)

    def put(self, record: Record) -> Record:
        self._records[record.command_id] = record
        return record

    def make_room(self, now: datetime) -> bool:
        """Forget the oldest that may be; False when every one of them still counts."""
        while len(self._records) >= self._capacity:
            old = next((r for r in self._records.values() if r.may_be_forgotten(now)), None)
            if old is None:
                return False
            del self._records[old.command_id]
        return True


@dataclass(frozen=True, slots=True)
class Settings:
    """What `update_settings` can change; None leaves the device's own way."""

    auto_lock_timeout: int | None = None
    motion_sensitivity: int = 50
    capture_mode: str = "on_motion"
    enable_notifications: bool = True


SETTING_NAMES: Mapping[str, str] = {
    "autoLockTimeout": "auto_lock_timeout",
    "motionSensitivity": "motion_sensitivity",
    "captureMode": "capture_mode",
    "enableNotifications": "enable_notifications",
}


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What the state file holds."""

    settings: Settings = field(default_factory=Settings)
    firmware_version: str = "1.0.0"

    def as_json(self) -> dict[str, Any]:
        settings = {wire: getattr(self.settings, name) for wire, name in SETTING_NAMES.items()}
        return {"settings": settings, "firmwareVersion": self.firmware_version}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DeviceState:
        """Raises KeyError or TypeError on anything that `as_json` did not write."""
        settings = {name: data["settings"][wire] for wire, name in SETTING_NAMES.items()}
        return cls(Settings(**settings), str(data["firmwareVersion"]))

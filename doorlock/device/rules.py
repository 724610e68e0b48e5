"""Which commands a device takes: pure checks on what came over the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from doorlock.device.state import SETTING_NAMES
from doorlock.protocol import CommandName
from doorlock.times import parse_time

MIN_DURATION, MAX_DURATION, DEFAULT_DURATION = 1000, 30_000, 5000
BOLT_COMMANDS = frozenset({CommandName.UNLOCK_DOOR, CommandName.LOCK_DOOR})
EXPIRED = "expired before it could be carried out"
CLOCK_TOLERANCE = timedelta(seconds=60)
MAX_ID_LENGTH = 64


class Refused(Exception):
    """The command is not carried out; the text goes to the daemon as `errorMessage`."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that passed every check. `arguments` holds checked values alone."""

    command_id: str
    name: CommandName
    expires_at: datetime | None
    arguments: Mapping[str, Any]

    def is_late(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at


def command_id_of(data: Mapping[str, Any]) -> str | None:
    """The id to answer under, or None when there is none that could be answered."""
    value = data.get("commandId")
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH else None


def read_command(data: Mapping[str, Any], now: datetime) -> Command:
    """The command in `data`. Raises Refused when it must not be carried out at `now`."""
    name = _name(data.get("command"))
    expires_at = _expiry(data, name)
    _check_clock(data, name, now)
    arguments = _READERS.get(name, _no_arguments)(_fields(data))
    command = Command(str(data["commandId"]), name, expires_at, arguments)
    if command.is_late(now):
        raise Refused(EXPIRED)
    return command


def _name(value: object) -> CommandName:
    try:
        return CommandName(str(value))
    except ValueError:
        raise Refused("this device does not know that command") from None


def _expiry(data: Mapping[str, Any], name: CommandName) -> datetime | None:
    try:
        return parse_time(data.get("expiresAt"))
    except ValueError:
        if name in BOLT_COMMANDS or data.get("expiresAt") is not None:
            raise Refused("it carries no valid expiresAt") from None
        return None


def _check_clock(data: Mapping[str, Any], name: CommandName, now: datetime) -> None:
    """A clock that is far behind cannot tell a late command from a fresh one."""
    try:
        behind = parse_time(data.get("timestamp")) - now
    except ValueError:
        return
    if name in BOLT_COMMANDS and behind > CLOCK_TOLERANCE:
        seconds = round(behind.total_seconds())
        raise Refused(f"the device's clock is {seconds} s behind, so it cannot judge expiresAt")


def _fields(data: Mapping[str, Any]) -> Mapping[str, Any]:
    payload = data.get("payload")
    return {**data, **payload} if isinstance(payload, Mapping) else data


def _no_arguments(_fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


def is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _unlock_arguments(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    duration = fields.get("duration", DEFAULT_DURATION)
    if not is_whole(duration, MIN_DURATION, MAX_DURATION):
        raise Refused(f"duration must be {MIN_DURATION} to {MAX_DURATION} ms")
    return {"seconds": duration / 1000}


def _snapshot_arguments(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    quality = fields.get("quality", "high")
    if quality not in ("low", "medium", "high"):
        raise Refused("quality must be low, medium or high")
    return {"quality": quality}


_SETTING_CHECKS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "autoLockTimeout": (lambda v: is_whole(v, 1000, 60_000), "1000 to 60000 ms"),
    "motionSensitivity": (lambda v: is_whole(v, 0, 100), "0 to 100"),
    "captureMode": (
        lambda v: v in ("on_motion", "continuous", "manual"),
        "on_motion, continuous or manual",
    ),
    "enableNotifications": (lambda v: isinstance(v, bool), "true or false"),
}


def _settings_arguments(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The known settings among those sent; the others are left alone, as the wire asks."""
    sent = fields.get("settings")
    if not isinstance(sent, Mapping):
        raise Refused("settings must be an object")
    changes = {}
    for name, (is_good, allowed) in _SETTING_CHECKS.items():
        if name not in sent:
            continue
        if not is_good(sent[name]):
            raise Refused(f"{name} must be {allowed}")
        changes[SETTING_NAMES[name]] = sent[name]
    return changes


def _firmware_arguments(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    version, url, checksum = (fields.get(name) for name in ("version", "url", "checksum"))
    if not isinstance(version, str) or not 0 < len(version) <= 64:
        raise Refused("version is missing")
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "file://")):
        raise Refused("url must be http, https or file")
    if not _is_sha256(checksum):
        raise Refused("checksum must be a SHA-256 in 64 hex digits")
    return {"version": version, "url": url, "checksum": str(checksum).lower()}


def _is_sha256(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) == 64
        and all(digit in "0123456789abcdefABCDEF" for digit in value)
    )


_READERS: Mapping[CommandName, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    CommandName.UNLOCK_DOOR: _unlock_arguments,
    CommandName.REQUEST_SNAPSHOT: _snapshot_arguments,
    CommandName.UPDATE_SETTINGS: _settings_arguments,
    CommandName.FIRMWARE_UPDATE: _firmware_arguments,
}

"""How things look to a person: pure functions from what the daemon says to words and cells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from doorlock.cli.output import Cell
from doorlock.times import parse_time, show_span, utc_now

Thing = Mapping[str, Any]
NOTHING = "-"
LOCK_STYLES = {"locked": "green", "unlocked": "yellow", "jammed": "red", "error": "red"}
STATUS_STYLES = {"online": "green", "offline": "red", "maintenance": "yellow"}
EVENT_STYLES = {
    "command_executed": "green",
    "command_failed": "red",
    "command_timed_out": "yellow",
    "command_executed_late": "yellow",
    "access_refused": "red",
    "message_rejected": "red",
    "login_failed": "red",
    "error_occurred": "red",
    "low_battery": "yellow",
}


def text(value: object) -> str:
    """A value as a word; `-` for none."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def moment(value: object) -> str:
    """A time of the wire in the reader's own zone; as it stands where it cannot be read."""
    parsed = _parse(value)
    return parsed.astimezone().strftime("%Y-%m-%d %H:%M:%S") if parsed else text(value)


def age(value: object, now: datetime | None = None) -> str:
    """How long ago, in one unit: `3m ago`."""
    parsed = _parse(value)
    if parsed is None:
        return NOTHING
    seconds = max(0.0, ((now or utc_now()) - parsed).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return f"{int(seconds)}s ago"


def _parse(value: object) -> datetime | None:
    try:
        return parse_time(value)
    except ValueError:
        return None


def span(seconds: float) -> str:
    """A duration to read: whole seconds, or less where there are few."""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 1 else f"{seconds:.1f}s"
    return show_span(timedelta(seconds=round(seconds)))


def door(device: Thing) -> str:
    """The state of the bolt and where that is known from: `locked (sensor)`."""
    state = device.get("lockState") or "unknown"
    source = device.get("lockStateSource")
    return f"{state} ({source})" if source not in (None, "none") else str(state)


def door_cell(device: Thing) -> Cell:
    """As `door`, with its age: what was true an hour ago may not be so now."""
    words = door(device)
    if words.endswith(")"):
        words = f"{words[:-1]}, {age(device.get('lockStateAt'))})"
    return Cell(words, LOCK_STYLES.get(str(device.get("lockState")), "dim"))


def status_cell(device: Thing) -> Cell:
    status = text(device.get("status"))
    return Cell(status, STATUS_STYLES.get(status, ""))


def battery(device: Thing) -> Cell:
    level = device.get("batteryLevel")
    if not isinstance(level, int | float):
        return Cell(NOTHING)
    return Cell(f"{level:g}%", "red" if level <= 20 else "")


def connections(device: Thing) -> str:
    return ", ".join(map(str, device.get("connections") or [])) or NOTHING


def command_row(command: Thing) -> list[str | Cell]:
    style = EVENT_STYLES.get(f"command_{command.get('status')}", "")
    return [
        moment(command.get("issuedAt")),
        text(command.get("deviceName") or command.get("deviceId")),
        text(command.get("command")),
        Cell(text(command.get("status")), style),
        text(command.get("via")),
        text(command.get("issuedByName") or command.get("issuedBy")),
        text(command.get("errorMessage")),
        text(command.get("commandId")),
    ]


COMMAND_HEADERS = ("ISSUED", "DEVICE", "COMMAND", "STATUS", "VIA", "BY", "ERROR", "ID")


def event_row(event: Thing) -> list[str | Cell]:
    kind = text(event.get("eventType"))
    return [
        moment(event.get("timestamp")),
        Cell(kind, EVENT_STYLES.get(kind, "")),
        text(event.get("deviceName") or event.get("deviceId")),
        text(event.get("username") or event.get("userId")),
        detail(event),
    ]


EVENT_HEADERS = ("TIME", "EVENT", "DEVICE", "USER", "DETAIL")


_NOISE = frozenset({"claimedAt", "batteryLevel", "expiresAt", "wasOnline"})


def detail(event: Thing) -> str:
    """What the payload says, in a line; `-o json` has all of it."""
    payload = event.get("payload") or {}
    kind = str(event.get("eventType"))
    if kind.startswith("command_"):
        return _command_detail(payload)
    if kind == "status_changed" and payload.get("source"):
        how = ", ".join(str(payload[key]) for key in ("source", "triggeredBy") if payload.get(key))
        return f"{payload.get('status')} ({how})"
    told = [
        f"{name}={value}"
        for name, value in payload.items()
        if name not in _NOISE and _is_short(value)
    ]
    return " ".join(told) or NOTHING


def _command_detail(payload: Thing) -> str:
    parts = [str(payload.get("command"))]
    if payload.get("via"):
        parts.append(f"via {payload['via']}")
    parts += [name for name in ("failover", "joined", "late") if payload.get(name)]
    line = " ".join(parts)
    return f"{line}: {payload['errorMessage']}" if payload.get("errorMessage") else line


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 80

"""What `doorlock set` takes: KEY=VALUE made into the body of the change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from doorlock.errors import BadInput
from doorlock.times import parse_span

TRUTHS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """The changes as the daemon takes them. Raises BadInput naming the key that is wrong."""
    body: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise BadInput(f"{change!r} is not KEY=VALUE", hint="for example: room=hall")
        _take(body, key, value)
    return body


def _take(body: dict[str, Any], key: str, value: str) -> None:
    for fields, into in ((_FIELDS, body), (_SETTINGS, body.get("settings", {}))):
        if key in fields:
            name, parse = fields[key]
            into[name] = _parse(key, value, parse)
            if fields is _SETTINGS:
                body["settings"] = into
            return
    known = [*_FIELDS, *_SETTINGS]
    close = get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"it can set {', '.join(known)}"
    raise BadInput(f"{key!r} cannot be set", hint=hint)


def _parse(key: str, value: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(value)
    except (ValueError, KeyError):
        raise BadInput(
            f"{value!r} is no value for {key}", hint="see: doorlock set --help"
        ) from None


def _truth(text: str) -> bool:
    return TRUTHS[text.strip().lower()]


def _milliseconds(text: str) -> int:
    return int(text) if text.isdigit() else round(parse_span(text).total_seconds() * 1000)


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "room": ("room", str),
    "location": ("location", str),
    "active": ("isActive", _truth),
    "timezone": ("timezone", str),
}
_SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "auto-lock-timeout": ("autoLockTimeout", _milliseconds),
    "motion-sensitivity": ("motionSensitivity", int),
    "capture-mode": ("captureMode", str),
    "notifications": ("enableNotifications", _truth),
}

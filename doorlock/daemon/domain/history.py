"""What the event log says of who might use a door at an earlier time.

Each fact is bracketed: the last event until then says what it was set to, or the first one after
it what it was before, or nothing ever changed and it is as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from doorlock.daemon.domain.access import Permission, Share
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.times import parse_time

SHARES = frozenset({EventType.SHARE_GRANTED, EventType.SHARE_CHANGED, EventType.SHARE_REVOKED})
DOOR = SHARES | {EventType.SETTINGS_UPDATED}
"""What `share_at`, `people_in` and `device_at` read."""


def share_at(
    events: Iterable[NewEvent], device_id: str, user_id: str, current: Share | None, at: datetime
) -> Share | None:
    """The share of `user_id` at `at`, running or not. `events` are those of the device, in
    order, and `current` the share of today."""
    theirs = [one for one in events if _is_about(one, device_id, user_id)]
    until, after = _split(theirs, at)
    if until is not None:
        revoked = until.type is EventType.SHARE_REVOKED
        return None if revoked else _share(until, until.payload)
    if after is None:
        return current if current is not None and current.created_at <= at else None
    match after.type:
        case EventType.SHARE_REVOKED:
            return _share(after, after.payload)
        case EventType.SHARE_CHANGED if isinstance(after.payload.get("before"), Mapping):
            return _share(after, after.payload["before"])
        case _:
            return None


def people_in(events: Iterable[NewEvent]) -> set[str]:
    """Everybody whom a share or the ownership of the device was ever given to or taken from."""
    names = ("sharedWith", "fromUser", "toUser")
    found = (event.payload.get(name) for event in events for name in names)
    return {user_id for user_id in found if isinstance(user_id, str)}


def device_at(events: Iterable[NewEvent], device: Device, at: datetime) -> Device:
    """`device` with the owner and the time zone that it had at `at`."""
    events = list(events)
    owner = _bracketed(events, at, _transferred, "toUser", "fromUser")
    zone = _bracketed(events, at, _rezoned, "timezone", "before")
    return replace(device, owner_id=owner or device.owner_id, timezone=zone or device.timezone)


def was_active(disabled: Sequence[NewEvent], at: datetime, is_active: bool) -> tuple[bool, bool]:
    """Whether a user was active, and whether that is certain: `disabled` are the events that say
    when they no longer were. When they were enabled again is not recorded."""
    until, after = _split(disabled, at)
    if until is None:
        return is_active or after is not None, is_active or after is not None
    return False, after is None and not is_active


def _is_about(event: NewEvent, device_id: str, user_id: str) -> bool:
    about = event.device_id == device_id and event.payload.get("sharedWith") == user_id
    return about and event.type in SHARES


def _split(events: Sequence[NewEvent], at: datetime) -> tuple[NewEvent | None, NewEvent | None]:
    until = [event for event in events if event.at <= at]
    after = [event for event in events if event.at > at]
    return (until[-1] if until else None), (after[0] if after else None)


def _bracketed(
    events: Sequence[NewEvent],
    at: datetime,
    read: Callable[[NewEvent], Mapping[str, Any] | None],
    new: str,
    old: str,
) -> str | None:
    until, after = _split([event for event in events if read(event) is not None], at)
    event, name = (until, new) if until is not None else (after, old)
    value = (read(event) or {}).get(name) if event is not None else None
    return value if isinstance(value, str) else None


def _transferred(event: NewEvent) -> Mapping[str, Any] | None:
    return event.payload if event.payload.get("what") == "transferred" else None


def _rezoned(event: NewEvent) -> Mapping[str, Any] | None:
    changes, before = event.payload.get("changes"), event.payload.get("before")
    if not isinstance(changes, Mapping) or "timezone" not in changes:
        return None
    old = before.get("timezone") if isinstance(before, Mapping) else None
    return {"timezone": changes["timezone"], "before": old}


def _share(event: NewEvent, terms: Mapping[str, Any]) -> Share | None:
    try:
        return Share(
            event.device_id or "",
            event.payload["sharedWith"],
            Permission(terms["permission"]),
            terms.get("grantedBy") or event.user_id or "",
            event.at,
            _time(terms.get("startsAt")),
            _time(terms.get("expiresAt")),
            terms.get("schedule"),
        )
    except (KeyError, ValueError):
        return None


def _time(value: object) -> datetime | None:
    return None if value is None else parse_time(value)

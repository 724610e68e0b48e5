"""The event log in words: a line for people to read, and what deserves an alert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.protocol import CommandName, LockValue

_E = EventType

_ACTS: Mapping[str, str] = {
    CommandName.LOCK_DOOR: "lock",
    CommandName.UNLOCK_DOOR: "unlock",
    CommandName.REQUEST_SNAPSHOT: "take a picture with",
    CommandName.UPDATE_SETTINGS: "change the settings of",
    CommandName.RESTART_DEVICE: "restart",
    CommandName.FIRMWARE_UPDATE: "update the firmware of",
}
_DONE: Mapping[str, str] = {
    CommandName.LOCK_DOOR: "was locked",
    CommandName.UNLOCK_DOOR: "was unlocked",
    CommandName.REQUEST_SNAPSHOT: "took a picture",
    CommandName.UPDATE_SETTINGS: "took new settings",
    CommandName.RESTART_DEVICE: "restarted",
    CommandName.FIRMWARE_UPDATE: "took new firmware",
}
_FAILED = "the attempt to {act} {device} failed{error}"
_UNKNOWN = "nobody knows how the attempt to {act} {device} ended"
_LATE = "{device} {did}, after that had been given up on"
_SEVERE = {LockValue.JAMMED: "critical", LockValue.ERROR: "error"}


@dataclass(frozen=True, slots=True)
class Line:
    """What an activity list shows of an event; `icon` is a plain word."""

    icon: str
    message: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should look at: `info`, `warning`, `error` or `critical`."""

    level: str
    message: str


def line_of(new: NewEvent, device: str | None, user: str | None) -> Line:
    """The event in a sentence; `device` and `user` are their names, where they are known."""
    icon, words = _LINES[new.type]
    said = words(_Told(new.payload, device or "a device", user or "somebody"))
    return Line(icon, said)


def alert_of(new: NewEvent, device: str | None) -> Alert | None:
    """The alert that the event is, or None for what is in order."""
    told = _Told(new.payload, device or "a device", "")
    if new.type is _E.STATUS_CHANGED:
        return _alert_of_door(told)
    if new.type not in _ALERTS:
        return None
    level, sentence = _ALERTS[new.type]
    return Alert(level, told(sentence))


_ALERTS = {
    _E.DEVICE_DISCONNECTED: ("warning", "{device} is offline{reason}"),
    _E.LOW_BATTERY: ("warning", "the battery of {device} is low{battery}"),
    _E.ERROR_OCCURRED: ("error", "{device} reports an error{error}"),
    _E.COMMAND_FAILED: ("error", _FAILED),
    _E.COMMAND_TIMED_OUT: ("warning", _UNKNOWN),
    _E.COMMAND_EXECUTED_LATE: ("warning", _LATE),
}
ALERTING = frozenset(_ALERTS) | {_E.STATUS_CHANGED}
"""The types of event that `alert_of` may find something in."""


def _alert_of_door(told: _Told) -> Alert | None:
    value = told.payload.get("status")
    level = next((level for state, level in _SEVERE.items() if state.value == value), None)
    return Alert(level, told("{device} is {status}")) if level else None


@dataclass(frozen=True, slots=True)
class _Told:
    """An event's payload and names, put into a sentence by calling this with it."""

    payload: Mapping[str, Any]
    device: str
    user: str

    def __call__(self, sentence: str) -> str:
        payload, command = self.payload, str(self.payload.get("command"))
        return sentence.format(
            device=self.device,
            user=self.user,
            act=_ACTS.get(command, "operate"),
            did=_DONE.get(command, "did what it was told"),
            status=str(payload.get("status") or "in another state"),
            whom=str(payload.get("username") or "somebody"),
            by=str(payload.get("decidedBy") or self.user),
            reason=_in_brackets(payload.get("reason")),
            battery=_in_brackets(payload.get("batteryLevel"), "%"),
            error=_after_colon(payload.get("errorMessage") or payload.get("errorCode")),
            done=_after_colon(payload.get("act")),
        )


def _in_brackets(value: object, unit: str = "") -> str:
    return "" if value is None else f" ({value}{unit})"


def _after_colon(value: object) -> str:
    return "" if value is None else f": {value}"


def _plain(sentence: str) -> Callable[[_Told], str]:
    return lambda told: told(sentence)


def _visitor_came(told: _Told) -> str:
    rang = told.payload.get("bellPressed")
    return told("somebody rang at {device}" if rang else "somebody is at {device}")


_LINES: Mapping[EventType, tuple[str, Callable[[_Told], str]]] = {
    _E.DEVICE_REGISTERED: ("device", _plain("{user} registered {device}")),
    _E.DEVICE_ACTIVATED: ("device", _plain("{device} was activated")),
    _E.DEVICE_CONNECTED: ("online", _plain("{device} is online")),
    _E.DEVICE_DISCONNECTED: ("offline", _plain("{device} went offline{reason}")),
    _E.DEVICE_REMOVED: ("device", _plain("{user} removed a device")),
    _E.COMMAND_QUEUED: ("command", _plain("{user} asked to {act} {device}")),
    _E.COMMAND_SENT: ("command", _plain("an order to {act} {device} was sent")),
    _E.COMMAND_RECEIVED: ("command", _plain("{device} has received an order")),
    _E.COMMAND_EXECUTING: ("command", _plain("{device} carries an order out")),
    _E.COMMAND_EXECUTED: ("done", _plain("{device} {did}")),
    _E.COMMAND_FAILED: ("failed", _plain(_FAILED)),
    _E.COMMAND_TIMED_OUT: ("unknown", _plain(_UNKNOWN)),
    _E.COMMAND_EXPIRED: (
        "failed",
        _plain("the order to {act} {device} expired before it was sent"),
    ),
    _E.COMMAND_CANCELLED: ("failed", _plain("the order to {act} {device} was cancelled")),
    _E.COMMAND_EXECUTED_LATE: ("done", _plain(_LATE)),
    _E.STATUS_CHANGED: ("door", _plain("{device} is {status}")),
    _E.SNAPSHOT_CAPTURED: ("camera", _plain("{device} took a picture")),
    _E.MOTION_DETECTED: ("motion", _plain("something moved at {device}")),
    _E.LOW_BATTERY: ("battery", _plain("the battery of {device} is low{battery}")),
    _E.ERROR_OCCURRED: ("alert", _plain("{device} reports an error{error}")),
    _E.SETTINGS_UPDATED: ("settings", _plain("{user} changed settings")),
    _E.FIRMWARE_UPDATED: ("device", _plain("{device} runs other firmware now")),
    _E.VISITOR_ARRIVED: ("visitor", _visitor_came),
    _E.VISITOR_GRANTED: ("visitor", _plain("{by} let a visitor in at {device}")),
    _E.VISITOR_DENIED: ("visitor", _plain("{by} turned a visitor away at {device}")),
    _E.VISITOR_EXPIRED: ("visitor", _plain("nobody answered a visitor at {device}")),
    _E.SHARE_GRANTED: ("share", _plain("{user} shared {device} with {whom}")),
    _E.SHARE_CHANGED: ("share", _plain("{user} changed what {whom} may do with {device}")),
    _E.SHARE_REVOKED: ("share", _plain("{device} is no longer shared with {whom}")),
    _E.TOKEN_ROTATED: ("key", _plain("a token was replaced")),
    _E.TOKEN_REVOKED: ("key", _plain("a token was revoked")),
    _E.USER_CREATED: ("user", _plain("{whom} has an account now")),
    _E.USER_DISABLED: ("user", _plain("{whom} was shut out")),
    _E.LOGIN_SUCCEEDED: ("user", _plain("{user} signed in")),
    _E.LOGIN_FAILED: ("alert", _plain("somebody failed to sign in as {user}")),
    _E.ACCESS_REFUSED: ("alert", _plain("{user} was refused{done}")),
    _E.MESSAGE_REJECTED: ("alert", _plain("{device} said what cannot be used{reason}")),
    _E.RATE_LIMITED: ("alert", _plain("too much came at once and was not heard")),
    _E.LOG_PRUNED: ("log", _plain("old events were removed")),
}

_STEPS = {_E.COMMAND_SENT, _E.COMMAND_RECEIVED, _E.COMMAND_EXECUTING}
ACTIVITY = frozenset(EventType) - _STEPS
"""What an activity list shows: everything save the steps of a command on its way."""

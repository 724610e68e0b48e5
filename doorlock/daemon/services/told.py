"""What a dashboard is told of an event; WIRE section 2, "Daemon to dashboard". Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from doorlock.daemon.domain.access import Level
from doorlock.daemon.domain.activity import ACTIVITY, alert_of, line_of
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType, NewEvent
from doorlock.daemon.domain.visitors import VisitorStatus
from doorlock.daemon.services.presence import Presence
from doorlock.daemon.services.views import device_view
from doorlock.times import iso

_E = EventType

_DONE = frozenset({_E.COMMAND_EXECUTED, _E.COMMAND_EXECUTED_LATE})
_CHANGES_STATUS = frozenset(
    {
        _E.DEVICE_CONNECTED,
        _E.DEVICE_DISCONNECTED,
        _E.STATUS_CHANGED,
        _E.LOW_BATTERY,
        _E.MOTION_DETECTED,
    }
)
_VERDICTS = {
    _E.VISITOR_GRANTED: ("approved", VisitorStatus.GRANTED.value),
    _E.VISITOR_DENIED: ("rejected", VisitorStatus.DENIED.value),
    _E.VISITOR_EXPIRED: ("expired", VisitorStatus.EXPIRED.value),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. Where there is an `image`, each who hears it gets an address of their own for
    it as `imageUrl`."""

    event: str
    data: Mapping[str, Any]
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """An event's device as it is now, and who did it."""

    device: Device
    username: str | None
    status: Mapping[str, Any]


def notices_of(event: Event, scene: Scene) -> Iterator[Notice]:
    """Everything that is said of an event on a device that is still there."""
    new, device = event.new, scene.device
    told = _TELLERS.get(new.type)
    if told is not None:
        yield told(new, scene)
    elif new.type.value.startswith("command_"):
        yield _command_status(new, scene)
    if new.type in _CHANGES_STATUS:
        yield Notice("device_status", status_message(device, scene.status, new.at))
    alert = alert_of(new, device.name)
    if alert is not None:
        fixed = {**_fixed(new, scene), "level": alert.level, "severity": alert.level}
        yield Notice("system_alert", {**fixed, "message": alert.message})
    yield from row_notice(event, device.name, scene.username)


def row_notice(event: Event, device: str | None, username: str | None) -> Iterator[Notice]:
    """The event as the activity list shows it, where it does."""
    if event.new.type in ACTIVITY:
        name = "command_executed" if event.new.type in _DONE else "device_event"
        yield Notice(name, activity_row(event, device, username))


def activity_row(event: Event, device: str | None, username: str | None) -> dict[str, Any]:
    """A row of the activity list."""
    new = event.new
    line = line_of(new, device, username)
    return {
        "_id": new.id,
        "id": new.id,
        "seq": event.seq,
        "eventType": new.type.value,
        "type": new.type.value,
        "icon": line.icon,
        "message": line.message,
        "deviceId": new.device_id,
        "deviceName": device,
        "userId": new.user_id,
        "username": username,
        "commandId": new.command_id,
        "timestamp": iso(new.at),
    }


def status_of(device: Device, presence: Presence, now: datetime, moved: bool) -> dict[str, Any]:
    """A device's `status`, as `device_status` has it."""
    shown = device_view(device, Level.VIEW, presence, now, None)
    fields = ("status", "online", "lockState", "batteryLevel", "lastSeen")
    return {**{name: shown[name] for name in fields}, "motionDetected": moved}


def status_message(device: Device, status: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """`status` as an object, and its fields once more beside it for simpler clients."""
    return {
        **status,
        "deviceId": device.id,
        "deviceName": device.name,
        "timestamp": iso(at),
        "status": dict(status),
    }


def _fixed(new: NewEvent, scene: Scene) -> dict[str, Any]:
    return {
        "deviceId": scene.device.id,
        "deviceName": scene.device.name,
        "timestamp": iso(new.at),
    }


def _connected(new: NewEvent, scene: Scene) -> Notice:
    kind = {"deviceType": scene.device.device_type.value}
    way = {"connectionType": new.payload.get("connectionType")}
    return Notice("device_connected", {**_fixed(new, scene), **kind, **way})


def _disconnected(new: NewEvent, scene: Scene) -> Notice:
    kind = {"deviceType": scene.device.device_type.value}
    reason = {"reason": new.payload.get("reason")}
    return Notice("device_disconnected", {**_fixed(new, scene), **kind, **reason})


def _command_status(new: NewEvent, scene: Scene) -> Notice:
    data = {
        **_fixed(new, scene),
        "commandId": new.command_id,
        "command": new.payload.get("command"),
        "status": new.payload.get("status"),
        "message": line_of(new, scene.device.name, scene.username).message,
        "errorMessage": new.payload.get("errorMessage"),
    }
    return Notice("command_status", data)


def _motion(new: NewEvent, scene: Scene) -> Notice:
    return Notice("motion_detected", {**_as_sent(new), **_fixed(new, scene)})


def _snapshot(new: NewEvent, scene: Scene) -> Notice:
    sent = {key: value for key, value in _as_sent(new).items() if key != "image"}
    return Notice("snapshot_ready", {**sent, **_fixed(new, scene)}, new.payload.get("image"))


def _visitor(new: NewEvent, scene: Scene) -> Notice:
    visitor_id = new.payload.get("visitorId")
    data = {
        **_fixed(new, scene),
        "visitorId": visitor_id,
        "_id": visitor_id,
        "imageUrl": None,
        "status": VisitorStatus.PENDING.value,
        "bellPressed": bool(new.payload.get("bellPressed")),
        "message": new.payload.get("message") or "",
    }
    return Notice("new_visitor", data, new.payload.get("image"))


def _processed(new: NewEvent, scene: Scene) -> Notice:
    status, decision = _VERDICTS[new.type]
    visitor_id = new.payload.get("visitorId")
    data = {
        **_fixed(new, scene),
        "visitorId": visitor_id,
        "_id": visitor_id,
        "status": status,
        "decision": decision,
        "processedBy": scene.username,
        "adminId": new.user_id,
    }
    return Notice("visitor_processed", data)


def _as_sent(new: NewEvent) -> dict[str, Any]:
    return {key: value for key, value in new.payload.items() if key != "claimedAt"}


_TELLERS = {
    _E.DEVICE_CONNECTED: _connected,
    _E.DEVICE_DISCONNECTED: _disconnected,
    _E.MOTION_DETECTED: _motion,
    _E.SNAPSHOT_CAPTURED: _snapshot,
    _E.VISITOR_ARRIVED: _visitor,
    _E.VISITOR_GRANTED: _processed,
    _E.VISITOR_DENIED: _processed,
    _E.VISITOR_EXPIRED: _processed,
}

"""What stands on the wire, to and from the domain: pure, and shared by both transports.

WIRE sections 2 and 3. Whatever a device sends becomes a `Report` or a `Malformed`, never another
exception; whatever a device is told is built here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.ids import is_id
from doorlock.daemon.domain.reports import REPORTS, Report
from doorlock.protocol import CommandName, DeviceType
from doorlock.times import iso, parse_time

MAX_MESSAGE_BYTES = 6 * 1024 * 1024
MAX_METADATA_BYTES = 8 * 1024
MAX_METADATA_DEPTH = 6
MAX_TEXT = 2000

CAMERA_EVENT = "backend-command"
LEGACY_CONTROL = "/door/lock/control"
LEGACY_RESPONSE = "/door/lock/response"
LEGACY_STATUS = "/door/lock/status"

_REPORT_OF = {kind.event: kind for kind in REPORTS}
_CAMERA_COMMANDS = {
    CommandName.REQUEST_SNAPSHOT: "capture-snapshot",
    CommandName.RESTART_DEVICE: "reboot",
    CommandName.UPDATE_SETTINGS: "adjust-settings",
}
_INT64 = 2**63
_UNLIMITED_TEXT = frozenset({"image"})  # the transport's own limit holds for pictures

Kind = Literal["responses", "status", "events"]


class Malformed(Exception):
    """A message that cannot be read. `reason` is our own text and holds nothing of the message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(event: str, data: object) -> Report:
    """The report that the message `event` with `data` makes. Raises Malformed, and only that.

    A `timestamp` that is no time counts as missing: small clocks send their uptime there.
    """
    kind = _REPORT_OF.get(event)
    if kind is None:
        raise Malformed("the event is not known")
    if not isinstance(data, dict):
        raise Malformed("the message is not an object")
    try:
        report = kind.model_validate(_with_a_readable_time(data))
    except ValidationError as error:
        raise Malformed(_complaint(error)) from None
    _check_fields(report)
    _check_metadata(report.metadata)
    return report


def _with_a_readable_time(data: dict[Any, Any]) -> dict[Any, Any]:
    try:
        if data.get("timestamp") is not None:
            parse_time(data["timestamp"])
    except ValueError:
        return {**data, "timestamp": None}
    return data


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # Deeper parts of `loc` can be the device's own keys.
    name = str(first["loc"][0]) if first["loc"] else "the message"
    return f"{name} is missing" if first["type"] == "missing" else f"{name} cannot be used"


def _check_fields(report: Report) -> None:
    for name, value in report:
        if isinstance(value, str) and len(value) > MAX_TEXT and name not in _UNLIMITED_TEXT:
            raise Malformed(f"{_on_the_wire(report, name)} is too long")
        if not _is_storable_number(value):
            raise Malformed(f"{_on_the_wire(report, name)} is out of range")
        if isinstance(value, str) and not _is_text(value):
            raise Malformed(f"{_on_the_wire(report, name)} cannot be used")


def _is_text(value: str) -> bool:
    """JSON can spell half a character, which no file and no database takes."""
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _on_the_wire(report: Report, name: str) -> str:
    return type(report).model_fields[name].alias or name


def _is_storable_number(value: object) -> bool:
    if isinstance(value, int):
        return -_INT64 <= value < _INT64
    return not isinstance(value, float) or math.isfinite(value)


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    """It must fit the store: any JSON document of 64-bit numbers, small and shallow."""
    try:
        size = len(orjson.dumps(metadata))
    except TypeError:
        raise Malformed("metadata cannot be used") from None
    if size > MAX_METADATA_BYTES:
        raise Malformed("metadata is too large")
    _check_value(metadata, MAX_METADATA_DEPTH)


def _check_value(value: object, levels_left: int) -> None:
    if isinstance(value, dict | list) and levels_left == 0:
        raise Malformed("metadata is too deep")
    if isinstance(value, dict) and any("\0" in key for key in value):
        raise Malformed("metadata cannot be used")
    if not _is_storable_number(value):
        raise Malformed("metadata is out of range")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        _check_value(item, levels_left - 1)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a device said over MQTT. `legacy`: the topic does not prove who spoke."""

    device_id: str
    kind: Kind
    report: Report
    legacy: bool = False


def mqtt_sender(topic: str) -> tuple[str, Kind]:
    """Whose topic it is, and which of the three. Raises Malformed for any other topic."""
    match topic.split("/"):
        case ["iot", ("responses" | "status" | "events") as kind, device_id] if is_id(device_id):
            return device_id, kind
    raise Malformed("the topic is not known")


def decode_mqtt(topic: str, payload: bytes) -> Spoken:
    """What was published on `topic`. Raises Malformed, and only that.

    A status is read as a heartbeat, whose fields it shares.
    """
    if topic in (LEGACY_RESPONSE, LEGACY_STATUS):
        return _decode_legacy(topic, payload)
    device_id, kind = mqtt_sender(topic)
    body = _object(payload)
    if body.get("deviceId", device_id) not in (device_id, None):
        raise Malformed("it speaks for another device")
    report = _report_on(kind, body)
    if report.device_id not in (device_id, None):
        raise Malformed("it speaks for another device")
    return Spoken(device_id, kind, report)


def _report_on(kind: Kind, body: dict[str, Any]) -> Report:
    if kind == "responses":
        return decode("command_ack", body)
    if kind == "status":
        return _status(body)
    event = body.get("event")
    if not isinstance(event, str):
        raise Malformed("event is missing")
    return decode(event, body.get("data"))


def _status(body: dict[str, Any]) -> Report:
    if "status" not in body:
        raise Malformed("status is missing")
    return decode("device_heartbeat", body)


def _decode_legacy(topic: str, payload: bytes) -> Spoken:
    body = _object(payload)
    device_id = body.get("deviceId")
    if not isinstance(device_id, str) or not is_id(device_id):
        raise Malformed("deviceId is missing")
    if topic == LEGACY_RESPONSE:
        return Spoken(device_id, "responses", decode("command_ack", body), legacy=True)
    if body.get("status") in ("online", "offline", "maintenance"):
        return Spoken(device_id, "status", _status(body), legacy=True)
    return Spoken(device_id, "events", decode("door_status_changed", body), legacy=True)


def _object(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise Malformed("the message is too large")
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise Malformed("the message is not JSON") from None
    if not isinstance(body, dict):
        raise Malformed("the message is not an object")
    return body


def encode_command(command: Command, device: Device, now: datetime) -> list[tuple[str, Any]]:
    """What to emit so that `device` does `command` once; the first message is the command itself.

    The second, for a camera, says the same in the words that camera pages listen for. Both carry
    the one `commandId`: a device that understands both does it at the first and drops the other.
    """
    fixed = {
        "commandId": command.id,
        "deviceId": device.id,
        "timestamp": iso(now),
        "expiresAt": iso(command.expires_at),
    }
    payload = dict(command.payload)
    named = {**payload, **fixed, "command": command.name.value, "payload": payload}
    messages = [(command.name.value, named)]
    spoken = _CAMERA_COMMANDS.get(command.name)
    if device.device_type is DeviceType.CAMERA and spoken is not None:
        messages.append((CAMERA_EVENT, {**fixed, "command": spoken, "parameters": payload}))
    return messages


def encode_mqtt(event: str, data: Mapping[str, Any]) -> bytes:
    """`data` for `iot/commands/{deviceId}`, where no event name travels beside it: what is not a
    command names itself in `command`, as commands do, unless it has one."""
    return orjson.dumps({"command": event, **data})

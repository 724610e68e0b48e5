from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doorlock.daemon.domain import reports
from doorlock.daemon.domain.commands import AckStatus, Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.gateways.codec import (
    MAX_MESSAGE_BYTES,
    Malformed,
    decode,
    decode_mqtt,
    encode_command,
    encode_mqtt,
    mqtt_sender,
)
from doorlock.protocol import CommandName, DeviceType, LockValue, event_topic

DEVICE = "65f0c0ffee65f0c0ffee65f0"
OTHER = "75f0c0ffee65f0c0ffee65f0"
NOW = datetime(2026, 11, 23, 18, 7, 52, 123456, UTC)


def a_device(kind: DeviceType = DeviceType.DOOR_LOCK) -> Device:
    return Device(DEVICE, "front", "ESP32-001", OTHER, NOW, NOW, kind)


def a_command(name: CommandName, **payload: Any) -> Command:
    return Command("c-1", DEVICE, name, OTHER, NOW, NOW + timedelta(seconds=30), payload=payload)


def reason(event: str, data: object) -> str:
    with pytest.raises(Malformed) as caught:
        decode(event, data)
    return caught.value.reason


@pytest.mark.parametrize(
    ("event", "data", "kind", "expected"),
    [
        ("device_register", {"espId": "E", "deviceType": "esp32-cam"}, reports.Registered, "E"),
        ("device_heartbeat", {"batteryLevel": 87, "status": "maintenance"}, reports.Heartbeat, 87),
        ("door_status_changed", {"status": "jammed"}, reports.DoorStatus, LockValue.JAMMED),
        ("snapshot_ready", {"imageUrl": "/p.jpg"}, reports.SnapshotReady, "/p.jpg"),
        ("motion_detected", {"confidence": 12.5}, reports.Motion, 12.5),
        ("low_battery", {"batteryLevel": 3}, reports.LowBattery, 3),
        ("error_occurred", {"errorCode": 17}, reports.DeviceFault, 17),
        ("command_ack", {"commandId": "c", "status": "failed"}, reports.CommandAck, "c"),
        (
            "bell-pressed",
            {"pressedBy": "x", "metadata": {"location": "door"}},
            reports.BellPressed,
            "x",
        ),
        ("camera-online", {"metadata": {"version": "1"}}, reports.CameraOnline, {"version": "1"}),
        ("snapshot", {"image": "aGk=", "quality": 80}, reports.Snapshot, "aGk="),
        ("frame", {"image": "aGk=", "fps": 5}, reports.Frame, "aGk="),
    ],
)
def test_every_event_is_read(event: str, data: Any, kind: type, expected: Any) -> None:
    report = decode(event, {"deviceId": DEVICE, "unknown": 1, **data})
    assert type(report) is kind
    assert report.device_id == DEVICE
    assert expected in [value for _, value in report]
    assert not hasattr(report, "unknown")


@pytest.mark.parametrize("data", [None, 3, "x", [], b"", [{}]])
def test_what_is_no_object_is_malformed(data: object) -> None:
    assert reason("device_heartbeat", data) == "the message is not an object"


def test_the_reason_never_quotes_the_device() -> None:
    secret = "deadbeef"
    for event, data in [
        (secret, {}),
        ("command_ack", {"commandId": "c", "status": secret}),
        ("device_heartbeat", {"metadata": secret}),
        ("device_heartbeat", {"metadata": {secret: float("nan"), "more": 2**70}}),
        ("device_heartbeat", {"metadata": {secret: b"bytes"}}),
    ]:
        assert secret not in reason(event, data)


@pytest.mark.parametrize(
    ("event", "data", "expected"),
    [
        ("command_ack", {"status": "executed"}, "commandId is missing"),
        ("command_ack", {"commandId": "c", "status": "done"}, "status cannot be used"),
        ("low_battery", {"batteryLevel": 101}, "batteryLevel cannot be used"),
        ("device_heartbeat", {"batteryLevel": 10**400}, "batteryLevel cannot be used"),
        ("error_occurred", {"errorCode": 2**63}, "errorCode is out of range"),
        ("error_occurred", {"errorCode": "x" * 2001}, "errorCode is too long"),
        ("frame", {"image": "", "fps": float("inf")}, "fps is out of range"),
        ("device_heartbeat", {"metadata": {"a": 2**63}}, "metadata is out of range"),
        ("device_heartbeat", {"metadata": {"a": [float("inf")]}}, "metadata is out of range"),
        ("device_heartbeat", {"metadata": {"a": {"b\0": 1}}}, "metadata cannot be used"),
        ("device_heartbeat", {"metadata": {"a": "\ud800"}}, "metadata cannot be used"),
        ("device_heartbeat", {"metadata": {"a": "x" * 8192}}, "metadata is too large"),
        ("frame", {"image": "a\ud800"}, "image cannot be used"),
        ("device_heartbeat", {"deviceId": "\ud800"}, "deviceId cannot be used"),
    ],
)
def test_bad_fields_are_named(event: str, data: Any, expected: str) -> None:
    assert reason(event, data) == expected


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def test_metadata_may_be_six_deep() -> None:
    assert decode("device_heartbeat", {"metadata": nested(6)}).metadata == nested(6)
    assert reason("device_heartbeat", {"metadata": nested(7)}) == "metadata is too deep"
    assert reason("device_heartbeat", {"metadata": nested(100)}) == "metadata is too deep"


def test_metadata_may_hold_the_largest_integers() -> None:
    metadata = {"most": 2**63 - 1, "least": -(2**63), "yes": True, "none": None}
    assert decode("device_heartbeat", {"metadata": metadata}).metadata == metadata


@pytest.mark.parametrize("claim", [12345, "tomorrow", True, [], {}, -1, float("nan"), 10**400])
def test_a_clock_that_makes_no_sense_does_not_spoil_the_message(claim: object) -> None:
    report = decode("command_ack", {"commandId": "c", "status": "executed", "timestamp": claim})
    assert isinstance(report, reports.CommandAck)
    assert report.claimed_at is None


def test_a_clock_that_makes_sense_is_kept() -> None:
    report = decode("camera-online", {"timestamp": 1_795_457_272_123})
    assert report.claimed_at == NOW.replace(microsecond=123000)


def test_a_command_says_everything_twice() -> None:
    command = a_command(CommandName.UNLOCK_DOOR, duration=5000)
    ((event, data),) = encode_command(command, a_device(), NOW)
    assert event == "unlock_door"
    assert data == {
        "commandId": "c-1",
        "command": "unlock_door",
        "payload": {"duration": 5000},
        "duration": 5000,
        "deviceId": DEVICE,
        "timestamp": "2026-11-23T18:07:52.123Z",
        "expiresAt": "2026-11-23T18:08:22.123Z",
    }


def test_a_payload_cannot_override_what_is_fixed() -> None:
    names = ("commandId", "command", "payload", "timestamp", "expiresAt", "deviceId")
    plain = encode_command(a_command(CommandName.UNLOCK_DOOR), a_device(), NOW)[0][1]
    evil = a_command(CommandName.UNLOCK_DOOR, **dict.fromkeys(names, "evil"))
    data = encode_command(evil, a_device(), NOW)[0][1]
    assert {n: data[n] for n in names if n != "payload"} == {
        n: plain[n] for n in names if n != "payload"
    }
    assert data["payload"] == dict(evil.payload)


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        (CommandName.REQUEST_SNAPSHOT, "capture-snapshot"),
        (CommandName.RESTART_DEVICE, "reboot"),
        (CommandName.UPDATE_SETTINGS, "adjust-settings"),
        (CommandName.UNLOCK_DOOR, None),
        (CommandName.LOCK_DOOR, None),
        (CommandName.FIRMWARE_UPDATE, None),
    ],
)
def test_a_camera_hears_the_same_command_in_its_own_words(
    name: CommandName, spoken: str | None
) -> None:
    messages = encode_command(a_command(name, quality="low"), a_device(DeviceType.CAMERA), NOW)
    assert messages[0][0] == name.value
    assert [m[1]["command"] for m in messages[1:]] == ([spoken] if spoken else [])
    assert {m[1]["commandId"] for m in messages} == {"c-1"}
    if spoken:
        assert messages[1][0] == "backend-command"
        assert messages[1][1]["parameters"] == {"quality": "low"}
    assert len(encode_command(a_command(name), a_device(), NOW)) == 1


def test_over_mqtt_an_event_names_itself() -> None:
    assert json.loads(encode_mqtt("access_denied", {"reason": "x"})) == {
        "command": "access_denied",
        "reason": "x",
    }
    stream = json.loads(encode_mqtt("backend-command", {"command": "start_stream"}))
    assert stream == {"command": "start_stream"}


@pytest.mark.parametrize(
    ("topic", "body", "expected"),
    [
        (f"iot/responses/{DEVICE}", {"commandId": "c", "status": "executed"}, AckStatus.EXECUTED),
        (f"iot/status/{DEVICE}", {"status": "offline", "espId": "E"}, "offline"),
        (f"iot/events/{DEVICE}", {"event": "low_battery", "data": {"batteryLevel": 3}}, 3),
    ],
)
def test_the_topic_says_who_speaks(topic: str, body: Any, expected: Any) -> None:
    spoken = decode_mqtt(topic, json.dumps(body).encode())
    assert (spoken.device_id, spoken.legacy) == (DEVICE, False)
    assert expected in [value for _, value in spoken.report]
    assert spoken.kind == topic.split("/")[1]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("responses", {"commandId": "c", "status": "executed", "deviceId": OTHER}),
        ("status", {"status": "online", "deviceId": OTHER}),
        ("events", {"event": "camera-online", "data": {"deviceId": OTHER}}),
        ("events", {"event": "camera-online", "data": {}, "deviceId": OTHER}),
        ("events", {"event": "camera-online", "data": {"device_id": OTHER}}),
        ("responses", {"commandId": "c", "status": "executed", "deviceId": 7}),
    ],
)
def test_nobody_speaks_for_another(kind: str, body: Any) -> None:
    with pytest.raises(Malformed, match="another device"):
        decode_mqtt(f"iot/{kind}/{DEVICE}", json.dumps(body).encode())


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "iot/status",
        f"iot/commands/{DEVICE}",
        f"iot/status/{DEVICE}/x",
        "iot/status/+",
        f"/iot/status/{DEVICE}",
        f"iot/status/{DEVICE.upper()}",
        f"other/status/{DEVICE}",
    ],
)
def test_other_topics_are_nobodys(topic: str) -> None:
    with pytest.raises(Malformed):
        mqtt_sender(topic)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "the message is not JSON"),
        (b"online", "the message is not JSON"),
        (b'{"event": NaN}', "the message is not JSON"),
        (b"\xff", "the message is not JSON"),
        (b"[" * 5000, "the message is not JSON"),
        (b"[]", "the message is not an object"),
        (b"{}", "event is missing"),
        (b'{"event": ["x"]}', "event is missing"),
        (b'{"event": "camera-online"}', "the message is not an object"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "the message is too large"),
    ],
)
def test_payloads_that_cannot_be_read(payload: bytes, expected: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode_mqtt(event_topic(DEVICE), payload)
    assert caught.value.reason == expected


def test_a_status_must_say_one() -> None:
    with pytest.raises(Malformed, match="status is missing"):
        decode_mqtt(f"iot/status/{DEVICE}", b"{}")


@pytest.mark.parametrize(
    ("topic", "body", "kind"),
    [
        ("/door/lock/response", {"commandId": "c", "status": "executed"}, reports.CommandAck),
        ("/door/lock/status", {"status": "online"}, reports.Heartbeat),
        ("/door/lock/status", {"status": "unlocked"}, reports.DoorStatus),
    ],
)
def test_the_older_topics_take_the_sender_from_the_payload(
    topic: str, body: Any, kind: type
) -> None:
    spoken = decode_mqtt(topic, json.dumps({**body, "deviceId": DEVICE}).encode())
    assert (spoken.device_id, spoken.legacy, type(spoken.report)) == (DEVICE, True, kind)
    with pytest.raises(Malformed, match="deviceId is missing"):
        decode_mqtt(topic, json.dumps(body).encode())

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.reports import REPORTS
from doorlock.daemon.gateways.codec import (
    LEGACY_RESPONSE,
    LEGACY_STATUS,
    Malformed,
    decode,
    decode_mqtt,
    encode_command,
    encode_mqtt,
)
from doorlock.protocol import (
    CommandName,
    DeviceType,
    event_topic,
    response_topic,
    status_topic,
)
from doorlock.times import parse_time

DEVICE = "65f0c0ffee65f0c0ffee65f0"
NOW = datetime(2026, 11, 23, 18, 7, 52, tzinfo=UTC)

events = st.sampled_from([kind.event for kind in REPORTS])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300)
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
field_names = st.sampled_from(
    sorted({field.alias or "" for kind in REPORTS for field in kind.model_fields.values()})
)
messages = st.dictionaries(field_names | st.text() | st.integers(), anything, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
topics = st.sampled_from(
    [
        *(make(DEVICE) for make in (response_topic, status_topic, event_topic)),
        LEGACY_RESPONSE,
        LEGACY_STATUS,
    ]
)


@given(events | st.text(), anything | messages)
def test_decode_raises_nothing_but_malformed(event: str, data: Any) -> None:
    with contextlib.suppress(Malformed):
        report = decode(event, data)
        orjson.dumps(report.model_dump(mode="json", exclude={"image"}))  # the store can keep it


@given(topics | st.text(), st.binary() | st.deferred(lambda: messages.map(_json)))
def test_decode_mqtt_raises_nothing_but_malformed(topic: str, payload: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode_mqtt(topic, payload)


@given(events, messages, st.text(min_size=1))
def test_over_mqtt_and_socketio_the_same_message_is_the_same_report(
    event: str, data: dict[Any, Any], name: str
) -> None:
    data = {key: value for key, value in data.items() if isinstance(key, str)}
    body = _json({"event": event, "data": {**data, "deviceId": DEVICE}})
    read_back = orjson.loads(body).get("data")
    try:
        expected = decode(event, read_back)
    except Malformed:
        expected = None
    try:
        assert decode_mqtt(event_topic(DEVICE), body).report == expected
    except Malformed:
        assert expected is None


@given(
    st.sampled_from(CommandName),
    st.sampled_from(DeviceType),
    st.dictionaries(st.text(max_size=20), json_values, max_size=6),
    st.integers(1, 10_000),
)
def test_whatever_the_payload_a_device_can_tell_what_to_do_and_until_when(
    name: CommandName, kind: DeviceType, payload: dict[str, Any], seconds: int
) -> None:
    expires = NOW + timedelta(seconds=seconds)
    command = Command("c-1", DEVICE, name, DEVICE, NOW, expires, payload=payload)
    device = Device(DEVICE, "n", "e", DEVICE, NOW, NOW, kind)
    messages = encode_command(command, device, NOW)
    heard = [orjson.loads(encode_mqtt(event, data)) for event, data in messages]
    assert heard[0]["command"] == name
    assert heard[0]["payload"] == payload
    for each in heard:
        assert (each["commandId"], each["deviceId"]) == ("c-1", DEVICE)
        assert parse_time(each["expiresAt"]) == expires
        assert parse_time(each["timestamp"]) == NOW


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return b"{}"

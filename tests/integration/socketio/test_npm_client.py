"""The npm `socket.io-client` as the device: what the firmware and the camera page are built on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from doorlock.times import iso, parse_time, utc_now
from tests.support.daemon import Daemon, Enrolled
from tests.support.devices import WEBSOCKET, ack_of
from tests.support.foreign import Foreign, as_auth, needs_node, proof
from tests.support.waiting import until

pytestmark = needs_node

MIB = 1024 * 1024


async def give(house: Daemon, device: Enrolled, command: str, **payload: Any) -> dict[str, Any]:
    body = {"command": command, "payload": payload}
    answer = await house.client().post(f"/api/device/{device.id}/command", body)
    data: dict[str, Any] = answer.data
    return data


# who it is


def by_auth(device: Enrolled, token: str) -> dict[str, Any]:
    return {"auth": proof(device, token)}


def by_query(device: Enrolled, token: str) -> dict[str, Any]:
    return {"query": proof(device, token)}


def by_headers(device: Enrolled, token: str) -> dict[str, Any]:
    return {"extraHeaders": {"Authorization": f"Bearer {token}", "X-Device-Id": device.id}}


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_every_handshake_over_every_transport(
    house: Daemon, foreign: Foreign, transport: str
) -> None:
    for way in (by_auth, by_query, by_headers):
        door, name = await house.register(), way.__name__
        options = {**way(door, door.token), "transports": [transport]}
        connected = await foreign.connect(name, house.url, options)
        assert connected["via"] == transport
        await house.connections(door, WEBSOCKET)
        shown = await house.device(door)
        assert (shown["online"], shown["activated"], shown["status"]) == (True, True, "online")
        command = await give(house, door, "lock_door")
        assert (await foreign.hears(name, "lock_door"))["commandId"] == command["commandId"]
        foreign.order("close", name)
        await house.connections(door)


async def test_polling_that_upgrades(house: Daemon, foreign: Foreign, door: Enrolled) -> None:
    await foreign.connect("d", house.url, {"auth": proof(door)})
    for number in range(3):
        answer = await foreign.call("d", "motion_detected", {"deviceId": door.id, "n": number})
        assert answer["success"] is True
    assert len(await house.events(door, "motion_detected")) == 3


@pytest.mark.parametrize("way", [by_auth, by_query, by_headers])
async def test_the_refusals_to_the_letter(
    house: Daemon, foreign: Foreign, door: Enrolled, way: Any
) -> None:
    async def said(name: str, device: Enrolled, token: str) -> str:
        found = set()
        for transport in ("websocket", "polling"):
            options = {**way(device, token), "transports": [transport]}
            found.add(await foreign.refused(f"{name} {transport}", house.url, options))
        return found.pop() if len(found) == 1 else str(found)

    nobody = Enrolled("0" * 24, "", "", "")
    assert await said("wrong", door, "0" * 64) == "Invalid device token"
    assert await said("unknown", nobody, door.token) == "Invalid device token"
    assert await said("no id", Enrolled("", "", "", ""), door.token) == "Authentication required"
    await house.client().put(f"/api/device/{door.id}", {"isActive": False})
    assert await said("off", door, door.token) == "Device not activated"
    assert not (await house.device(door))["online"]


async def test_nothing_said_is_authentication_required(house: Daemon, foreign: Foreign) -> None:
    wants: list[dict[str, Any]] = [
        {},
        {"auth": {}},
        {"auth": {"clientType": "device"}},
        {"auth": {"clientType": "device", "deviceId": 7, "token": ["x"]}},
    ]
    for number, options in enumerate(wants):
        said = await foreign.refused(f"n{number}", house.url, options)
        assert said == "Authentication required"


async def test_an_unknown_namespace_is_no_way_in(
    house: Daemon, foreign: Foreign, door: Enrolled
) -> None:
    await foreign.refused("d", f"{house.url}/admin", as_auth(door))
    assert not (await house.device(door))["online"]


# what it says


@pytest.fixture
async def device(house: Daemon, foreign: Foreign, door: Enrolled) -> str:
    """The name of a connected socket of the door."""
    await foreign.connect("d", house.url, as_auth(door))
    await house.connections(door, WEBSOCKET)
    return "d"


async def test_registering_and_beating(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    metadata = {"macAddress": "aa:bb", "chipModel": "ESP32", "flashSize": 4, "freeHeap": 9}
    register = {
        "espId": door.esp_id,
        "deviceType": "door-lock",
        "firmwareVersion": "1.2.3",
        "metadata": metadata,
    }
    assert (await foreign.call(device, "device_register", register))["success"] is True
    beat = {"deviceId": door.id, "batteryLevel": 61, "status": "maintenance", "metadata": {}}
    assert (await foreign.call(device, "device_heartbeat", beat))["success"] is True
    shown = await house.device(door)
    assert shown["firmwareVersion"] == "1.2.3"
    assert shown["metadata"].items() >= metadata.items()
    assert (shown["battery"], shown["status"]) == (61, "maintenance")


async def test_the_door_moves(house: Daemon, foreign: Foreign, door: Enrolled, device: str) -> None:
    moved = {
        "deviceId": door.id,
        "status": "unlocked",
        "timestamp": "2001-02-03T04:05:06Z",
        "triggeredBy": "manual",
        "batteryLevel": 40,
    }
    await foreign.call(device, "door_status_changed", moved)
    shown = await house.device(door)
    assert (shown["lockState"], shown["lockStateSource"]) == ("unlocked", "sensor")
    (event,) = await house.events(door, "status_changed")
    assert event["payload"]["claimedAt"] == "2001-02-03T04:05:06.000Z"
    assert event["timestamp"] > "2001-02-04", "the daemon's own time is what counts"
    assert event["metadata"]["source"] == "websocket"
    assert event["metadata"]["ipAddress"] == "127.0.0.1"


REPORTS = [
    ("snapshot_ready", {"imageUrl": "http://x/1.jpg", "triggeredBy": "motion"}),
    ("motion_detected", {"confidence": 77, "metadata": {"zone": 1}}),
    ("low_battery", {"batteryLevel": 9}),
    ("error_occurred", {"errorCode": "E1", "errorMessage": "bad"}),
    ("bell-pressed", {"pressedBy": "visitor", "metadata": {"location": "front"}}),
    ("snapshot", {"image": "AAAA", "quality": "high", "metadata": {"width": 1, "height": 1}}),
]
LOGGED = {
    "snapshot_ready": "snapshot_captured",
    "snapshot": "snapshot_captured",
    "bell-pressed": "visitor_arrived",
}


async def test_every_report_is_logged_once(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    for event, data in REPORTS:
        before = len(await house.events(door, LOGGED.get(event, event)))
        said = {"deviceId": door.id, "timestamp": 1700000000000, **data}
        assert (await foreign.call(device, event, said))["success"] is True
        *others, logged = await house.events(door, LOGGED.get(event, event))
        assert len(others) == before
        assert logged["payload"]["claimedAt"] == "2023-11-14T22:13:20.000Z"
        assert logged["payload"].get("image") is None
        assert "AAAA" not in str(logged["payload"])


async def test_a_camera_comes_online(house: Daemon, foreign: Foreign, camera: Enrolled) -> None:
    await foreign.connect("c", house.url, as_auth(camera))
    about = {"deviceName": "porch", "location": "porch", "version": "9"}
    said = {"deviceId": camera.id, "timestamp": iso(utc_now()), "metadata": about}
    assert (await foreign.call("c", "camera-online", said))["success"] is True
    assert (await house.device(camera))["firmwareVersion"] == "9"


MALFORMED: list[tuple[str, Any]] = [
    ("door_status_changed", {"status": "ajar"}),
    ("door_status_changed", {}),
    ("door_status_changed", "unlocked"),
    ("door_status_changed", None),
    ("door_status_changed", [1, 2]),
    ("low_battery", {"batteryLevel": 101}),
    ("motion_detected", {"confidence": "much"}),
    ("command_ack", {"status": "executed"}),
    ("command_ack", {"commandId": "x", "status": "queued"}),
    ("device_heartbeat", {"metadata": {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}}),
    ("no_such_event", {"a": 1}),
    ("connect", {"a": 1}),
]


async def test_what_is_malformed_is_an_error_and_changes_nothing(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    before = await house.device(door)
    bad = [one for one in MALFORMED if one[0] != "connect"]  # which the client keeps to itself
    for number, (event, data) in enumerate(bad, 1):
        answer = await foreign.call(device, event, data)
        error = await foreign.hears(device, "error", count=number)
        assert answer["success"] is False
        assert error == {"message": answer["message"]}
    assert len(await house.events(door, "message_rejected")) == len(bad)
    assert (await foreign.call(device, "motion_detected", {}))["success"] is True
    after = await house.device(door)
    assert (after["lockState"], after["battery"]) == (before["lockState"], before["battery"])


# what it is told


async def test_a_command_from_end_to_end(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    given = await give(house, door, "unlock_door", duration=1500)
    heard = await foreign.hears(device, "unlock_door")
    assert heard["commandId"] == given["commandId"]
    assert (heard["command"], heard["payload"]) == ("unlock_door", {"duration": 1500})
    assert heard["duration"] == 1500, "where the firmware of the field reads it"
    assert heard["expiresAt"] == given["expiresAt"]
    assert parse_time(heard["timestamp"]) < parse_time(heard["expiresAt"])
    for status in ("received", "executing", "executed"):
        ack = ack_of(door, given["commandId"], status)
        assert (await foreign.call(device, "command_ack", ack))["success"] is True
        assert (await house.command(given["commandId"]))["status"] == status
    kinds = [e["eventType"] for e in await house.events(door, command=given["commandId"])]
    assert [kind for kind in kinds if kind.startswith("command_")] == [
        f"command_{status}" for status in ("queued", "sent", "received", "executing", "executed")
    ]


async def test_what_a_command_has_by_default(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    given = await give(house, door, "unlock_door")
    assert (await foreign.hears(device, "unlock_door"))["duration"] == 5000
    foreign.emit(device, "command_ack", ack_of(door, given["commandId"], "executed"))
    await house.settled(given["commandId"], "executed")
    await give(house, door, "request_snapshot")
    assert (await foreign.hears(device, "request_snapshot"))["quality"] == "high"


async def test_a_failed_command_says_why(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    waiting = asyncio.ensure_future(house.cli("lock", door.name))
    heard = await foreign.hears(device, "lock_door")
    failed = ack_of(door, heard["commandId"], "failed", errorMessage="no power")
    foreign.emit(device, "command_ack", failed)
    done = await waiting
    assert done.code == 5, done
    assert "no power" in done.err


async def test_a_camera_hears_its_own_words_too(
    house: Daemon, foreign: Foreign, camera: Enrolled
) -> None:
    await foreign.connect("c", house.url, as_auth(camera))
    await house.connections(camera, WEBSOCKET)
    given = await give(house, camera, "request_snapshot", quality="low")
    heard = await foreign.hears("c", "backend-command")
    assert heard["commandId"] == given["commandId"]
    assert (heard["command"], heard["parameters"]) == ("capture-snapshot", {"quality": "low"})


# several sockets


async def test_three_sockets_of_one_camera(
    house: Daemon, foreign: Foreign, camera: Enrolled
) -> None:
    names = ("one", "two", "three")
    for name in names:
        await foreign.connect(name, house.url, as_auth(camera))
    await house.connections(camera, WEBSOCKET)
    given = await give(house, camera, "request_snapshot")
    await until(lambda: any(foreign.heard(n, "request_snapshot") for n in names), "one hears it")
    for name in names:  # a message of each has come and gone since: nothing is on its way
        assert (await foreign.call(name, "motion_detected", {}))["success"] is True
    assert sum(len(foreign.heard(name, "request_snapshot")) for name in names) == 1
    ack = ack_of(camera, given["commandId"], "executed")
    foreign.emit("one", "command_ack", ack)  # any of them may answer
    await house.settled(given["commandId"], "executed")
    for name in names[:-1]:
        foreign.order("close", name)
        await foreign.first(name, "disconnected")
        await until(lambda: house.device(camera), "the daemon answers")
        assert (await house.device(camera))["online"]
    assert await house.events(camera, "device_disconnected") == []
    foreign.order("break", "three")  # without a goodbye
    await house.connections(camera)
    await house.first_event(camera, "device_disconnected")
    assert len(await house.events(camera, "device_connected", "device_disconnected")) == 2


async def test_the_command_goes_to_a_socket_that_is_left(
    house: Daemon, foreign: Foreign, door: Enrolled
) -> None:
    for name in ("one", "two"):
        await foreign.connect(name, house.url, as_auth(door))
        beat = {"deviceId": door.id, "status": "online"}
        assert (await foreign.call(name, "device_heartbeat", beat))["success"] is True
    foreign.order("break", "two")

    async def sockets() -> bool:
        health = (await house.client().get("/api/health/detailed")).data
        return bool(health["services"]["socketio"]["sockets"] == 1)

    await until(sockets, "one socket is left")
    given = await give(house, door, "lock_door")
    assert (await foreign.hears("one", "lock_door"))["commandId"] == given["commandId"]


# tokens


@pytest.mark.parametrize("act", ["rotate", "revoke"])
async def test_a_token_that_is_taken_ends_the_session_at_once(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str, act: str
) -> None:
    done = await house.cli("token", act, door.name, "-y", "-o", "json")
    assert done.code == 0, done
    assert not (await house.device(door))["online"]
    assert (await foreign.first(device, "disconnected"))["message"] == "io server disconnect"
    assert (await house.cli("unlock", door.name)).code == 7
    said = await foreign.refused("old", house.url, as_auth(door))
    assert said == "Invalid device token"
    if act == "rotate":
        token = done.json["data"]["deviceToken"]
        house.secrets.append(token)
        await foreign.connect("new", house.url, as_auth(door, token))


async def test_a_removed_device_is_gone(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    assert (await house.cli("rm", door.name, "-y")).code == 0
    await foreign.first(device, "disconnected")
    assert await foreign.refused("old", house.url, as_auth(door)) == "Invalid device token"


async def test_a_device_that_is_switched_off_is_put_out(
    house: Daemon, foreign: Foreign, door: Enrolled, device: str
) -> None:
    assert (await house.cli("set", door.name, "active=no")).code == 0
    await foreign.first(device, "disconnected")
    assert await foreign.refused("again", house.url, as_auth(door)) == "Device not activated"


# sizes


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_large_picture_is_taken(
    house: Daemon, foreign: Foreign, camera: Enrolled, transport: str
) -> None:
    await foreign.connect("c", house.url, {**as_auth(camera), "transports": [transport]})
    picture = {"field": "image", "bytes": 5 * MIB}
    data = {"deviceId": camera.id, "quality": "high"}
    answer = await foreign.call("c", "snapshot", data, fill=picture)
    assert answer["success"] is True
    (event,) = await house.events(camera, "snapshot_captured")
    assert event["payload"]["imageBytes"] == 5 * MIB * 3 // 4


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_message_that_is_too_large_ends_only_its_own_connection(
    house: Daemon, foreign: Foreign, door: Enrolled, camera: Enrolled, transport: str
) -> None:
    await foreign.connect("d", house.url, as_auth(door))
    await foreign.connect("c", house.url, {**as_auth(camera), "transports": [transport]})
    await house.connections(camera, WEBSOCKET)
    foreign.emit("c", "snapshot", {}, fill={"field": "image", "bytes": 7 * MIB})
    await foreign.first("c", "disconnected")
    await house.connections(camera)
    assert (await foreign.call("d", "motion_detected", {}))["success"] is True
    assert await house.events(camera, "snapshot_captured") == []

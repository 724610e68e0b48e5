"""Whatever is thrown at a running daemon, it lives, is healthy, and its log is clean."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from doorlock.protocol import event_topic, response_topic, status_topic
from tests.support.daemon import HAS_MOSQUITTO, Daemon, Enrolled
from tests.support.devices import MQTT, WEBSOCKET, BareMqtt, BareSocket
from tests.support.mosquitto import needs_mosquitto
from tests.support.nursery import Nursery
from tests.support.waiting import until

HUGE = 10**400
DEEP = '{"a":' * 3000 + "1" + "}" * 3000
NESTED = b"[" * 100_000 + b"]" * 100_000

GARBAGE = [
    b"",
    b"\x00" * 64,
    b"\xff\xfe\xfd",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"1e999",
    b'{"status":"\\ud800"}',
    b'{"event":"\\ud800","data":{}}',
    b'{"event":"motion_detected","data":{"metadata":{"\\u0000":"\\ud83d"}}}',
    DEEP.encode(),
    NESTED,
    f'{{"event":"low_battery","data":{{"batteryLevel":{HUGE}}}}}'.encode(),
    f'{{"event":"motion_detected","data":{{"confidence":1,"timestamp":{HUGE}}}}}'.encode(),
    f'{{"event":"motion_detected","data":{{"metadata":{{"n":{2**70}}}}}}}'.encode(),
    b'{"event":"motion_detected","data":{"confidence":NaN}}',
    b'{"commandId":{"$gt":""},"status":"executed"}',
    b'{"commandId":"' + b"x" * 100_000 + b'","status":"executed"}',
    b'{"event":"error_occurred","data":{"errorMessage":"' + b"y" * 100_000 + b'"}}',
    b'{"event":"__proto__","data":{"__class__":{}}}',
    b'{"event":"connect","data":{}}',
    b'{"event":"disconnect","data":{}}',
]


@pytest.fixture(scope="module")
def house(nursery: Nursery) -> Iterator[Daemon]:
    """A daemon of its own: what is found in its log was caused here."""
    daemon = Daemon(nursery, mqtt=HAS_MOSQUITTO)
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture
async def door(house: Daemon) -> Enrolled:
    return await house.register()


@pytest.fixture(autouse=True)
async def unimpressed(house: Daemon, door: Enrolled) -> AsyncIterator[None]:
    """After each attack the same process is healthy and opens doors."""
    pid, logged = house.pid, len(house.log_text)
    yield
    assert (house.pid, house.is_dead) == (pid, False)
    health = (await house.client().get("/api/health/detailed")).data
    assert health["status"] == "healthy", health
    verified = (await house.client().get("/api/events/verify")).data
    assert verified["ok"], verified
    innocent = await house.register()
    async with BareSocket(house, innocent) as device:
        await house.connections(innocent, WEBSOCKET)
        opening = asyncio.ensure_future(house.cli("unlock", innocent.name, "--for", "1s"))
        sent = await device.command()
        assert (await device.ack(sent["commandId"], "executed"))["success"]
        done = await opening
    assert done.code == 0, done
    house.check_log(logged)


RAW = [
    b"\x00\x01\x02\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"POST /api/device/register HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /api/device/register HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/device/register HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
    b"GET /api/device/%00%ff%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/events/stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: -1\r\n\r\n",
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: !\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("where", ["socket", "tcp"])
async def test_what_is_hardly_http(house: Daemon, where: str) -> None:
    async def throw(data: bytes) -> None:
        if where == "tcp":
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        else:
            reader, writer = await asyncio.open_unix_connection(str(house.socket))
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(data)
            await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(2):
                await reader.read(65536)
        writer.close()

    await asyncio.gather(*(throw(data) for data in RAW))


ROUTES = [
    ("POST", "/api/device/register"),
    ("PUT", "/api/device/{id}"),
    ("POST", "/api/device/{id}/command"),
    ("POST", "/api/device/{id}/share"),
    ("POST", "/api/users"),
    ("POST", "/api/device/activate"),
    ("POST", "/api/device/{id}/heartbeat"),
    ("GET", "/api/logs?after={huge}&since=\ud800"),
    ("GET", "/api/logs?limit=-1&page=0&type=x&order=\x00"),
    ("GET", "/api/device/%F0%9F%94%91"),
    ("GET", "/api/command/" + "x" * 5000),
    ("GET", "/api/events/stream?after={huge}"),
    ("DELETE", "/api/device/{id}/share/%00"),
]
BODIES = [
    b"",
    b"\xff",
    b"[]",
    b"null",
    b'{"name": "\\ud800", "espId": "E\\ud800"}',
    b'{"name": "n", "espId": "odd-%d", "metadata": {"k": "\\ud800"}}' % os.getpid(),
    DEEP.encode(),
    NESTED,
    json.dumps({"name": "x" * 10**6}).encode(),
    json.dumps({"command": "unlock_door", "payload": {"duration": HUGE}}).encode(),
    json.dumps({"command": ["unlock_door"], "payload": None, "wait": HUGE}).encode(),
    json.dumps({"settings": {"autoLockTimeout": HUGE, "captureMode": {"$ne": 1}}}).encode(),
    json.dumps({"username": "a\x00b", "role": "root"}).encode(),
    json.dumps({"user": "root", "permission": "view", "expiresAt": HUGE}).encode(),
    json.dumps({"deviceId": HUGE, "token": ["x"]}).encode(),
]


async def test_bodies_and_queries_of_every_shape(house: Daemon, door: Enrolled) -> None:
    """Refused in words of ours; nothing is a 500."""
    connector = aiohttp.UnixConnector(str(house.socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        for method, route in ROUTES:
            path = route.replace("{id}", door.id).replace("{huge}", str(HUGE))
            for body in BODIES if method in ("POST", "PUT") else [b""]:
                async with http.request(
                    method,
                    "http://x" + path.encode("utf-8", "replace").decode(),
                    data=body,
                    headers={"Content-Type": "application/json"},
                ) as answer:
                    said = await answer.content.read(4096)
                    assert answer.status < 500 or answer.status == 503, (path, body[:80], said)


async def test_a_web_page_gets_nothing_from_the_local_socket(house: Daemon) -> None:
    connector = aiohttp.UnixConnector(str(house.socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        headers = {"Origin": "http://evil.example"}
        async with http.get("http://x/api/device", headers=headers) as answer:
            assert answer.status == 403
    async with aiohttp.ClientSession() as http, http.get(f"{house.url}/api/device") as answer:
        assert answer.status == 401


WORDS: list[Any] = [
    None,
    [],
    "x",
    {"deviceId": []},
    {"status": {"$gt": ""}},
    {"metadata": []},
    {"metadata": {"n": 2**70}},
    {"timestamp": 2**70, "confidence": 1},
    {"timestamp": -(2**70)},
    {"batteryLevel": 10**400},
    {"commandId": "\x00", "status": "executed"},
    {"image": 5, "errorMessage": ["x"]},
    {"errorCode": 2**80, "errorMessage": "z" * 10**5},
]
EVENTS = [
    "device_register",
    "device_heartbeat",
    "door_status_changed",
    "snapshot_ready",
    "motion_detected",
    "low_battery",
    "error_occurred",
    "command_ack",
    "bell-pressed",
    "camera-online",
    "snapshot",
    "frame",
    "\ud83d\udd11",
    "x" * 10**5,
]


async def test_every_event_with_every_nonsense(
    house: Daemon, door: Enrolled, subtests: pytest.Subtests
) -> None:
    """Each is answered, over a connection that stays."""
    async with BareSocket(house, door) as device:
        for event in EVENTS:
            for number, data in enumerate(WORDS):
                with subtests.test(f"{event[:20]!r} {number}"):
                    answer = await asyncio.wait_for(device.ask(event, data), 5)
                    assert isinstance(answer, dict), answer
        assert device.sio.connected
    assert await house.events(door, "message_rejected")


async def speak(house: Daemon, door: Enrolled, packets: list[bytes | str]) -> None:
    """Engine.IO by hand: a proper handshake, then these WebSocket messages."""
    url = f"{house.url}/socket.io/?EIO=4&transport=websocket"
    proof = {"clientType": "device", "deviceId": door.id, "token": door.token}
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as line:
        await line.receive(15)
        await line.send_str("40" + json.dumps(proof))
        await line.receive(15)
        for packet in packets:
            if isinstance(packet, bytes):
                await line.send_bytes(packet)
            else:
                await line.send_str(packet)
        await line.close()


PACKETS: list[bytes | str] = [
    "42",
    "42[]",
    "42{}",
    "42[1]",
    "42[null,null]",
    '42["motion_detected"]',
    '42["motion_detected",{}',
    "42" + DEEP,
    "42" + NESTED.decode(),
    '42["motion_detected",{"confidence":1e999}]',
    '42["motion_detected",{"confidence":NaN}]',
    '42["motion_detected",{"errorCode":' + str(HUGE) + "}]",
    '42["motion_detected",{"metadata":{"a":"\\ud800"}}]',
    '42["\\ud800",{}]',
    '42["connect",{}]',
    '42["disconnect",{}]',
    '42999999999999999999999["motion_detected",{}]',
    '45999999-["x",{"_placeholder":true,"num":99}]',
    '451-["x",{"_placeholder":true,"num":99}]',
    b"\x00\x01",
    '451-["snapshot",{"image":{"_placeholder":true,"num":0}}]',
    b"\xff" * 1000,
    "49",
    "4",
    "9",
    "",
    "43[]",
    "43999[]",
    "44",
    "6",
    "2",
    "3",
    "1",
    "40{}",
    "40/admin,{}",
    "41",
    "0{}",
    "b////",
    "5",
]


async def test_packets_that_no_library_sends(
    house: Daemon, door: Enrolled, subtests: pytest.Subtests
) -> None:
    for packet in PACKETS:
        with subtests.test(packet[:40]):
            logged = len(house.log_text)
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await speak(house, door, [packet, '42["motion_detected",{}]'])
            await house.connections(door)
            house.check_log(logged)


async def test_handshakes_that_no_library_sends(house: Daemon, door: Enrolled) -> None:
    base = f"{house.url}/socket.io/"
    queries = [
        "",
        "?EIO=4",
        "?EIO=4&transport=smoke",
        "?EIO=1&transport=polling",
        "?EIO=4&transport=polling&sid=x",
        "?EIO=4&transport=websocket&sid=x",
        "?EIO=4&transport=polling&deviceId=%ff&token=%00&clientType=device",
        "?EIO=%d9&transport=polling",
        "?EIO=4&transport=polling&j=1;evil()",
    ]
    async with aiohttp.ClientSession() as http:
        for query in queries:
            for method, body in (("GET", None), ("POST", NESTED), ("PUT", b"x"), ("OPTIONS", None)):
                async with http.request(method, base + query, data=body) as answer:
                    assert answer.status < 500, (method, query)
        odd = [
            '40{"token":',
            '40{"clientType":"device","deviceId":{},"token":[]}',
            "40[1]",
            '40"x"',
        ]
        for packet in [*odd, "40" + DEEP, "42[]", "41"]:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                url = base + "?EIO=4&transport=websocket"
                async with http.ws_connect(url) as line:
                    await line.receive(15)
                    await line.send_str(packet)
                    await line.close()


@needs_mosquitto
async def test_garbage_on_every_topic_of_ones_own(house: Daemon, door: Enrolled) -> None:
    async with BareMqtt(house, door) as device:
        await house.connections(door, MQTT)
        for topic in (event_topic(door.id), response_topic(door.id), status_topic(door.id)):
            for body in GARBAGE:
                await device.publish(topic, body)
        await device.publish(status_topic(door.id), b"", retain=True)
        await device.say("motion_detected", confidence=1)
        await until(lambda: house.events(door, "motion_detected"), "it is still heard")
        assert (await house.device(door))["online"]
    assert await house.events(door, "message_rejected")


async def test_a_flood_is_bounded_in_the_log(house: Daemon, door: Enrolled) -> None:
    async with BareSocket(house, door) as device:
        for _ in range(3000):
            await device.say("nonsense")
        await device.ask("command_ack", {})  # everything before it has been handled
    rejected = await house.events(door, "message_rejected")
    assert 1 <= len(rejected) < 100


async def test_an_ack_is_taken_however_much_else_is_said(house: Daemon, door: Enrolled) -> None:
    async with BareSocket(house, door) as device:
        await house.connections(door, WEBSOCKET)
        waiting = asyncio.ensure_future(house.cli("unlock", door.name, "--for", "1s"))
        sent = await device.command()
        for number in range(1000):
            await device.say("motion_detected", confidence=number % 100)
        await device.ack(sent["commandId"], "executed")
        assert (await waiting).code == 0
    assert len(await house.events(door, "rate_limited")) >= 1

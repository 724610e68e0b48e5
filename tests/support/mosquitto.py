"""A real Mosquitto for tests, the sink that a gateway reports to, and a bare device."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from doorlock.daemon.config import MqttSection
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.ids import new_command_id, new_id
from doorlock.daemon.domain.reports import Report
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.gateways.mosquitto import find_mosquitto
from doorlock.daemon.gateways.mqtt_part import Mqtt
from doorlock.daemon.ports import AuthRefused
from doorlock.errors import NotAllowed
from doorlock.protocol import CommandName, DeviceType, command_topic, event_topic, status_topic

needs_mosquitto = pytest.mark.skipif(
    find_mosquitto(os.environ.get("PATH")) is None,
    reason="needs mosquitto: the program and its dynamic security plugin",
)

PATIENCE = 10.0


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds, and fail loudly when it never does."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


def a_device(device_id: str | None = None, kind: DeviceType = DeviceType.DOOR_LOCK) -> Device:
    now = datetime.now(UTC)
    return Device(device_id or new_id(), "front", "ESP32-001", new_id(), now, now, kind)


def a_command(
    device: Device, name: CommandName = CommandName.UNLOCK_DOOR, seconds: float = 30, **payload: Any
) -> Command:
    now = datetime.now(UTC)
    return Command(
        new_command_id(),
        device.id,
        name,
        "u" * 24,
        now,
        now + timedelta(seconds=seconds),
        payload=payload,
    )


class Sink:
    """Remembers what it was told, in order; only `welcome` devices are vouched for."""

    def __init__(self) -> None:
        self.welcome: dict[str, Device] = {}
        self.said: list[tuple[Any, ...]] = []
        self.online: set[str] = set()
        self.hold: asyncio.Event | None = None

    def add(self, device: Device) -> Device:
        self.welcome[device.id] = device
        return device

    def reports(self, device: Device) -> list[Report]:
        return [x[2] for x in self.said if x[0] == "report" and x[1] == device.id]

    def reasons(self, device: Device) -> list[str]:
        return [x[2] for x in self.said if x[0] == "disconnected" and x[1] == device.id]

    async def authenticate(self, device_id: str, token: str, where: Mapping[str, Any]) -> Device:
        raise AssertionError("MQTT never sees a token")

    async def vouched(self, device_id: str, where: Mapping[str, Any]) -> Device:
        if device_id not in self.welcome:
            raise AuthRefused("Invalid device token")
        return self.welcome[device_id]

    async def connected(self, session: Session) -> None:
        self.online.add(session.device_id)
        self.said.append(("connected", session.device_id, session))

    async def disconnected(self, session: Session, reason: str) -> None:
        self.online.discard(session.device_id)
        self.said.append(("disconnected", session.device_id, reason))

    async def report(self, session: Session, report: Report) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if report.device_id not in (None, session.device_id):
            raise NotAllowed("deviceId does not match this connection")
        self.said.append(("report", session.device_id, report))

    async def rejected(self, session: Session, event: str, reason: str) -> None:
        self.said.append(("rejected", session.device_id, event, reason))

    def alive(self, session: Session) -> None:
        pass


class House:
    """A sink, the MQTT part on an embedded broker, and the tokens of its devices."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.sink = folder, Sink()
        self.tokens: dict[str, str] = {}
        values: dict[str, Any] = {"port": 0, "host": "127.0.0.1", "embedded": "on", **settings}
        self.mqtt = Mqtt(MqttSection(**values), folder, "127.0.0.1", os.environ.get("PATH"))

    async def hashes(self) -> Mapping[str, str | None]:
        return {name: hashlib.sha256(t.encode()).hexdigest() for name, t in self.tokens.items()}

    async def start(self, tokens: Callable[[], Awaitable[Mapping[str, str | None]]] | None) -> None:
        await self.mqtt.start(self.sink, tokens)
        await eventually(lambda: self.mqtt.connected, "the daemon is connected to its broker")

    async def add(self, kind: DeviceType = DeviceType.DOOR_LOCK) -> Device:
        """A registered device whose token the broker knows."""
        device = self.sink.add(a_device(kind=kind))
        self.tokens[device.id] = secrets.token_hex(32)
        await self.mqtt.credentials.grant(device.id, self.tokens[device.id])
        return device

    @property
    def port(self) -> int:
        assert self.mqtt.url is not None
        return int(self.mqtt.url.rsplit(":", 1)[1])

    def client(self, device: Device, **options: Any) -> aiomqtt.Client:
        settings: dict[str, Any] = {
            "username": device.id,
            "password": self.tokens[device.id],
            "identifier": device.id,
            "protocol": aiomqtt.ProtocolVersion.V311,
            "timeout": 5,
            "socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            **options,
        }
        return aiomqtt.Client("127.0.0.1", self.port, **settings)

    @contextlib.asynccontextmanager
    async def online(self, device: Device, **options: Any) -> AsyncIterator[aiomqtt.Client]:
        """The device, subscribed to its commands, with a session at the daemon."""
        async with self.client(device, **options) as client:
            await client.subscribe(command_topic(device.id), qos=1)
            await say_status(client, device, "online")
            await eventually(lambda: device.id in self.sink.online, "the device is online")
            yield client


@contextlib.asynccontextmanager
async def a_house(
    folder: Path, *, reconcile: bool = False, **settings: Any
) -> AsyncIterator[House]:
    house = House(folder, **settings)
    await house.start(house.hashes if reconcile else None)
    try:
        yield house
    finally:
        await house.mqtt.stop()


def will_of(device: Device) -> aiomqtt.Will:
    return aiomqtt.Will(status_topic(device.id), json.dumps({"status": "offline"}), 1, True)


async def say_status(client: aiomqtt.Client, device: Device, status: str) -> None:
    await client.publish(status_topic(device.id), json.dumps({"status": status}), 1, True)


async def say(client: aiomqtt.Client, device: Device, event: str, **data: Any) -> None:
    await client.publish(event_topic(device.id), json.dumps({"event": event, "data": data}), 1)


async def next_command(client: aiomqtt.Client) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        async for message in client.messages:
            assert not message.retain
            found: dict[str, Any] = json.loads(message.payload)
            return found
    raise AssertionError("the connection ended")


def session_for(seconds: int) -> dict[str, Any]:
    """Options of an MQTT 5 client whose session the broker keeps."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = seconds
    return {
        "protocol": aiomqtt.ProtocolVersion.V5,
        "clean_start": False,
        "properties": properties,
    }


PERSISTENT: dict[str, dict[str, Any]] = {
    "mqtt5": session_for(3600),
    "mqtt3": {"clean_session": False},
}
"""Options of clients whose sessions outlive their connections."""


def cut(client: aiomqtt.Client) -> None:
    """End a client's TCP connection without a goodbye."""
    bare: Any = client._client.socket()
    bare.shutdown(socket.SHUT_RDWR)


@contextlib.asynccontextmanager
async def a_broker(folder: Path, *lines: str) -> AsyncIterator[int]:
    """A Mosquitto of somebody's own, with these lines after its listener; gives its port."""
    installed = find_mosquitto(os.environ.get("PATH"))
    assert installed is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    user = ["user root"] if os.geteuid() == 0 else []
    config = folder / f"broker-{port}.conf"
    config.write_text("\n".join([*user, f"listener {port} 127.0.0.1", *lines, ""]))
    process = await asyncio.create_subprocess_exec(
        str(installed.program), "-v", "-c", str(config), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while b" running" not in (line := await process.stderr.readline()):
                assert line, "the broker ended"
        reading = asyncio.create_task(process.stderr.read())
        yield port
        reading.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def own_broker_house(folder: Path, url: str, **settings: Any) -> House:
    """A house on somebody's own broker, started but not necessarily connected."""
    house = House(folder, embedded="auto", url=url, **settings)
    await house.mqtt.start(house.sink, house.hashes)
    return house


class Proxy:
    """Stands between the daemon and a broker. `refuse5` answers MQTT 5 as an older broker does;
    while `deaf`, nothing that the broker says passes."""

    def __init__(self, port: int, *, refuse5: bool = False) -> None:
        self._target, self._refuse5 = port, refuse5
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.deaf = False
        self.refusals = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *args: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        first = await reader.read(65536)
        if self._refuse5 and first[8:9] == b"\x05":
            self.refusals += 1
            writer.write(b"\x20\x02\x00\x01")
            writer.close()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.add(forth)
        forth.write(first)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pipe(reader, forth), self._pipe(back, writer, heard=True))

    async def _pipe(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, heard: bool = False
    ) -> None:
        while data := await source.read(65536):
            if not (heard and self.deaf):
                sink.write(data)
        sink.close()

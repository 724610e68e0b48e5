"""Devices for tests: the reference device set up quickly, and bare ones that say what a test wants.

The bare ones have no manners: they answer when told to, with what they are told to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import socketio
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from doorlock.device.backoff import Backoff
from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from doorlock.protocol import command_topic, event_topic, response_topic, status_topic
from doorlock.times import iso, utc_now
from tests.support.daemon import Daemon, Enrolled
from tests.support.waiting import until

WEBSOCKET, MQTT = "websocket", "mqtt"
QUICK = Backoff(base=0.02, cap=0.2, refused=0.3, steady=5.0)


def reference(
    daemon: Daemon, enrolled: Enrolled, folder: Path, *transports: str, **spec: Any
) -> Device:
    """The reference device with its files in `folder`, on these transports (both by default)."""
    wanted = transports or (WEBSOCKET, MQTT)
    values: dict[str, Any] = {
        "device_id": enrolled.id,
        "token": enrolled.token,
        "state_dir": folder / enrolled.id,
        "url": daemon.url if WEBSOCKET in wanted else None,
        "mqtt_url": daemon.mqtt_url if MQTT in wanted else None,
        "esp_id": enrolled.esp_id,
        "backoff": QUICK,
        "boot_seconds": 0.0,
        "confirm_seconds": 1.0,
        "seed": 1,
        **spec,
    }
    return Device(DeviceSpec(**values))


@contextlib.asynccontextmanager
async def online(
    daemon: Daemon, enrolled: Enrolled, folder: Path, *transports: str, **spec: Any
) -> AsyncIterator[Device]:
    """The reference device, running and known to the daemon on all its transports."""
    async with reference(daemon, enrolled, folder, *transports, **spec) as device:
        await daemon.connections(enrolled, *(t.value for t in device.transports))
        yield device


def unlocked(device: Device, command_id: str | None = None) -> list[dict[str, Any]]:
    """Every time that the bolt was told to open; by one command where one is named."""
    return [
        one
        for one in device.actuations
        if one["action"] == "unlock" and command_id in (None, one["commandId"])
    ]


class BareSocket:
    """A device over Socket.IO: `heard` is every event, `ask` waits for the acknowledgement."""

    def __init__(self, daemon: Daemon, enrolled: Enrolled) -> None:
        self._url, self.enrolled = daemon.url, enrolled
        self.heard: list[tuple[str, Any]] = []
        self.sio = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self.sio.on("*", self._note)

    async def __aenter__(self) -> BareSocket:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sio.disconnect()

    async def connect(self, token: str | None = None) -> None:
        proof = {
            "clientType": "device",
            "deviceId": self.enrolled.id,
            "token": token or self.enrolled.token,
        }
        await self.sio.connect(self._url, auth=proof, transports=["websocket"], wait_timeout=15)

    def all(self, event: str) -> list[Any]:
        return [data for name, data in self.heard if name == event]

    async def command(self) -> dict[str, Any]:
        """The next command."""
        return await _next_command(self.heard)

    async def say(self, event: str, **data: Any) -> None:
        await self.sio.emit(event, data)

    async def ask(self, event: str, data: Any) -> Any:
        return await self.sio.call(event, data, timeout=15)

    async def ack(self, command_id: str, status: str, **more: Any) -> Any:
        return await self.ask("command_ack", ack_of(self.enrolled, command_id, status, **more))

    async def _note(self, event: str, data: Any = None, *_: object) -> None:
        self.heard.append((event, data))


class BareMqtt:
    """A device over MQTT: `heard` is every message that reached it, as (topic, body)."""

    def __init__(self, daemon: Daemon, enrolled: Enrolled, **options: Any) -> None:
        self.enrolled = enrolled
        self.heard: list[tuple[str, Any]] = []
        settings: dict[str, Any] = {
            "username": enrolled.id,
            "password": enrolled.token,
            "identifier": enrolled.id,
            "timeout": 15,
            "socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            **options,
        }
        self.client = aiomqtt.Client("127.0.0.1", daemon.mqtt_port, **settings)

    async def __aenter__(self) -> BareMqtt:
        await self.client.__aenter__()
        self._task = asyncio.ensure_future(self._listen())
        await self.client.subscribe(command_topic(self.enrolled.id), qos=1)
        await self.status("online")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(aiomqtt.MqttError):
            await self.client.__aexit__(None, None, None)

    async def command(self) -> dict[str, Any]:
        return await _next_command(self.heard)

    async def status(self, status: str) -> None:
        body = {"status": status, "espId": self.enrolled.esp_id, "metadata": {}}
        await self.publish(status_topic(self.enrolled.id), body, retain=True)

    async def say(self, event: str, **data: Any) -> None:
        await self.publish(event_topic(self.enrolled.id), {"event": event, "data": data})

    async def ack(self, command_id: str, status: str, **more: Any) -> None:
        body = ack_of(self.enrolled, command_id, status, **more)
        await self.publish(response_topic(self.enrolled.id), body)

    async def publish(self, topic: str, body: Any, *, retain: bool = False) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body)
        await self.client.publish(topic, payload, 1, retain)

    def vanish(self) -> None:
        """The connection breaks without a goodbye."""
        bare = self.client._client.socket()
        assert bare is not None
        bare.shutdown(socket.SHUT_RDWR)

    async def _listen(self) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            async for message in self.client.messages:
                self.heard.append((str(message.topic), json.loads(message.payload)))


def keeping_session(seconds: int = 3600) -> dict[str, Any]:
    """Options of an MQTT 5 device whose session the broker keeps while it is away."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = seconds
    version = aiomqtt.ProtocolVersion.V5
    return {"protocol": version, "clean_start": False, "properties": properties}


def ack_of(enrolled: Enrolled, command_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "commandId": command_id,
        "deviceId": enrolled.id,
        "status": status,
        "timestamp": iso(utc_now()),
        **more,
    }


async def _next_command(heard: list[tuple[str, Any]]) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        for place, (_, data) in enumerate(heard):
            if isinstance(data, dict) and "commandId" in data:
                del heard[place]
                return data
        return None

    found = await until(there, "a command arrives")
    assert found is not None
    return found


Bare = BareSocket | BareMqtt
MakeBare = Callable[[Daemon, Enrolled], Bare]

"""The other end of the wire: a small Socket.IO daemon and a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import socketio
from aiohttp import web

from doorlock.device.backoff import Backoff
from doorlock.device.spec import DeviceSpec
from doorlock.protocol import command_topic
from doorlock.times import iso, utc_now

DEVICE_ID = "6561d2a8c0ffee0000000001"
TOKEN = "5e" * 32
PATIENCE = 15.0
FAST = Backoff(base=0.02, cap=0.1, refused=600.0, steady=5.0)


def make_command(name: str = "unlock_door", *, seconds: float = 30.0, **payload: Any) -> Any:
    """A command's data as WIRE.md has it."""
    if name == "unlock_door":
        payload.setdefault("duration", 1000)
    now = utc_now()
    return {
        "commandId": str(uuid.uuid4()),
        "command": name,
        "payload": payload,
        "timestamp": iso(now),
        "expiresAt": iso(now + timedelta(seconds=seconds)),
        **payload,
    }


async def eventually(condition: Callable[[], object]) -> None:
    """Poll `condition` until it holds; the test fails when it never does."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


class Daemon:
    """Hears what devices say over Socket.IO and tells them what a test wants."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.proofs: list[Any] = []
        self.refusal: str | None = None
        self.sid: str | None = None
        self.deaf = False
        self.sio = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins=[])
        self.sio.on("connect", self._connect)
        self.sio.on("disconnect", self._disconnect)
        self.sio.on("*", self._hear)
        self.app = web.Application()
        self.sio.attach(self.app)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def acks(self, command_id: str) -> list[str]:
        return [
            data["status"]
            for event, data in self.heard
            if event == "command_ack" and data["commandId"] == command_id
        ]

    def all(self, event: str) -> list[Any]:
        return [data for name, data in self.heard if name == event]

    async def send(self, data: Any) -> None:
        await self.sio.emit(data["command"], data, to=self.sid)

    async def _connect(self, sid: str, _environ: Any, auth: Any) -> None:
        self.proofs.append(auth)
        if self.refusal is not None:
            raise socketio.exceptions.ConnectionRefusedError(self.refusal)
        self.sid = sid

    async def _disconnect(self, sid: str, *_: Any) -> None:
        if sid == self.sid:
            self.sid = None

    async def _hear(self, event: str, _sid: str, data: Any = None) -> None:
        self.heard.append((event, data))
        if self.deaf:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[Daemon]:
        runner = web.AppRunner(self.app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


class Broker:
    """A real Mosquitto, and an ear on all of its topics."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[tuple[str, Any, bool]] = []
        self._client: aiomqtt.Client | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def acks(self, command_id: str) -> list[str]:
        return [
            data["status"]
            for topic, data, _ in self.heard
            if topic == f"iot/responses/{DEVICE_ID}" and data["commandId"] == command_id
        ]

    def statuses(self) -> list[str]:
        return [d["status"] for topic, d, _ in self.heard if topic == f"iot/status/{DEVICE_ID}"]

    def events(self, event: str) -> list[Any]:
        topic = f"iot/events/{DEVICE_ID}"
        return [d["data"] for t, d, _ in self.heard if t == topic and d["event"] == event]

    async def send(self, data: Any, *, retain: bool = False) -> None:
        assert self._client is not None
        topic = command_topic(DEVICE_ID)
        await self._client.publish(topic, json.dumps(data), qos=1, retain=retain)

    async def listen(self, ready: asyncio.Event) -> None:
        no_delay = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
        async with aiomqtt.Client(
            "127.0.0.1", self.port, username="daemon", password="d", socket_options=no_delay
        ) as client:
            self._client = client
            await client.subscribe("iot/#", qos=1)
            ready.set()
            async for message in client.messages:
                if str(message.topic) != command_topic(DEVICE_ID):
                    data = json.loads(message.payload)
                    self.heard.append((str(message.topic), data, message.retain))


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    async with Daemon().serve() as running:
        yield running


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("needs mosquitto: the MQTT tests speak to a real broker")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    passwords = folder / "passwords"
    passwords.write_text(f"daemon:d\n{DEVICE_ID}:{TOKEN}\n")
    passwords.chmod(0o600)
    hashing = await asyncio.create_subprocess_exec("mosquitto_passwd", "-U", str(passwords))
    assert await hashing.wait() == 0
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        f"user {Path.home().owner()}\nset_tcp_nodelay true\n"
    )
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    running = Broker(port)
    listening = asyncio.ensure_future(_listen_when_up(running))
    try:
        ready, task = await listening
        await asyncio.wait_for(ready.wait(), PATIENCE)
        yield running
        task.cancel()
    finally:
        process.terminate()
        await process.wait()


async def _listen_when_up(broker: Broker) -> tuple[asyncio.Event, asyncio.Task[None]]:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            ready = asyncio.Event()
            return ready, asyncio.ensure_future(broker.listen(ready))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def make_spec(tmp_path: Path) -> Callable[..., DeviceSpec]:
    def make(**changes: Any) -> DeviceSpec:
        defaults: dict[str, Any] = {
            "device_id": DEVICE_ID,
            "token": TOKEN,
            "state_dir": tmp_path / "state",
            "backoff": FAST,
            "boot_seconds": 0.0,
            "confirm_seconds": 0.3,
            "seed": 1,
        }
        return DeviceSpec(**{**defaults, **changes})

    return make

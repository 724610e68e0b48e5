"""A whole daemon in this process, and those who speak with it over its real sockets."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from doorlock.daemon.app import Running, running, store_of
from doorlock.daemon.config import load
from doorlock.daemon.services.clock import SystemClock
from tests.support.waiting import until

PASSWORD = "correct horse battery"


class Said:
    """An answer: its status, its envelope, and what is in it."""

    def __init__(self, status: int, body: Any, headers: Any) -> None:
        self.status, self.body, self.headers = status, body, headers

    @property
    def data(self) -> Any:
        return self.body["data"]


class Person:
    """Somebody who asks, over TCP with a token or over the socket as the operator."""

    def __init__(self, http: aiohttp.ClientSession, base: str, token: str | None = None) -> None:
        self._http, self._base = http, base
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def get(self, path: str, **query: Any) -> Said:
        return await self.ask("GET", path, params=query)

    async def post(self, path: str, body: Any = None, **more: Any) -> Said:
        return await self.ask("POST", path, json=body, **more)

    async def ask(self, method: str, path: str, headers: Any = None, **more: Any) -> Said:
        url = path if path.startswith("http") else self._base + path
        all_headers = {**self._headers, **(headers or {})}
        async with self._http.request(method, url, headers=all_headers, **more) as answer:
            kind = answer.headers.get("Content-Type", "")
            body = await (answer.json() if kind == "application/json" else answer.read())
            return Said(answer.status, body, answer.headers)


class Camera:
    """A registered camera; `connect` opens its socket, and `heard` is what it was told there."""

    def __init__(self, device_id: str, token: str, url: str, nobody: Person) -> None:
        self.id, self.token, self.url, self.nobody = device_id, token, url, nobody
        self.heard: list[tuple[str, Any]] = []
        self.sio = socketio.AsyncClient(reconnection=False)
        self.sio.on("*", self._hear)

    async def connect(self) -> None:
        auth = {"clientType": "device", "deviceId": self.id, "token": self.token}
        await self.sio.connect(self.url, auth=auth, transports=["websocket"])

    async def _hear(self, event: str, data: Any = None) -> None:
        self.heard.append((event, data))
        if event in ("unlock_door", "lock_door"):
            ack = {"commandId": data["commandId"], "deviceId": self.id, "status": "executed"}
            await self.sio.emit("command_ack", ack)

    def told(self, event: str) -> list[Any]:
        return [data for name, data in self.heard if name == event]

    async def hears(self, event: str) -> Any:
        return (await until(lambda: self.told(event), f"the camera hears {event}"))[0]

    async def say(self, event: str, **data: Any) -> Any:
        return await self.sio.call(event, {"deviceId": self.id, **data}, timeout=10)

    async def upload(self, content: bytes, **fields: str) -> Said:
        form = aiohttp.FormData()
        form.add_field("image", content, filename="x.jpg", content_type="image/jpeg")
        for name, value in {"deviceId": self.id, "deviceToken": self.token, **fields}.items():
            form.add_field(name, value)
        return await self.nobody.ask("POST", "/api/door/upload", data=form)


class Place:
    """The daemon, and whoever a test needs."""

    def __init__(self, daemon: Running, stack: AsyncExitStack) -> None:
        self.daemon, self.url, self._stack = daemon, daemon.url, stack
        self._made = 0

    async def start(self) -> Place:
        enter = self._stack.enter_async_context
        # as many at once as a test likes
        tcp = await enter(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        unix = aiohttp.UnixConnector(str(self.daemon.socket), limit=0)
        self._tcp, self._unix = tcp, await enter(aiohttp.ClientSession(connector=unix))
        self.nobody = Person(tcp, self.url)
        self.operator = Person(self._unix, "http://localhost")
        return self

    async def person(self, username: str) -> Person:
        body = {"username": username, "email": f"{username}@x.org", "password": PASSWORD}
        said = await self.nobody.post("/api/auth/register", body)
        assert said.status == 201, said.body
        return Person(self._tcp, self.url, said.data["token"])

    async def camera(self, owner: Person, name: str = "gate") -> Camera:
        self._made += 1
        body = {"name": name, "espId": f"CAM-{self._made}", "deviceType": "esp32-cam"}
        made = (await owner.post("/api/device/register", body)).data
        camera = Camera(made["id"], made["deviceToken"], self.url, self.nobody)
        self._stack.push_async_callback(camera.sio.disconnect)
        return camera

    async def events(self, *types: str) -> list[Any]:
        query = {"type": ",".join(types), "limit": 1000, "order": "asc"}
        return list((await self.operator.get("/api/logs", **query)).data)


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dl"))
    yield path
    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


@pytest.fixture
async def place(folder: Path) -> AsyncIterator[Place]:
    flags: dict[str, dict[str, Any]] = {
        "daemon": {"socket": folder / "s", "state_dir": folder / "state"},
        "listen": {"port": 0, "cors_origins": ["http://page.test"]},
        "mqtt": {"embedded": "off"},
        "commands": {"timeout": "5s"},
    }
    config = load(None, {"HOME": str(folder)}, flags, 12345)
    async with (
        running(config, store_of(config), SystemClock()) as daemon,
        AsyncExitStack() as stack,
    ):
        yield await Place(daemon, stack).start()

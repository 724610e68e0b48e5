"""Clients that others wrote: the npm `socket.io-client`, moved from Python."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.daemon import Enrolled
from tests.support.waiting import until

FOLDER = Path(__file__).resolve().parents[1] / "foreign"
NODE, NPM = shutil.which("node"), shutil.which("npm")
LONGEST_LINE = 16 * 1024 * 1024

needs_node = pytest.mark.skipif(
    NODE is None or NPM is None, reason="needs node and npm: the socket.io-client of others"
)


def install() -> None:
    """Fetch what the lock file names, once for every test process of this tree."""
    lock = (FOLDER / "package-lock.json").read_bytes()
    wanted = hashlib.sha256(lock).hexdigest()
    stamp = FOLDER / "node_modules" / ".doorlock-installed"
    with (FOLDER / "package.json").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        assert NPM is not None
        done = subprocess.run(
            [NPM, "ci", "--ignore-scripts"], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip("needs the npm registry: `npm ci` in tests/foreign did not work")
        stamp.write_text(wanted)


def as_auth(device: Enrolled, token: str | None = None) -> dict[str, Any]:
    """The handshake as browsers and our own device send it."""
    return {"auth": proof(device, token), "transports": ["websocket"]}


def proof(device: Enrolled, token: str | None = None) -> dict[str, str]:
    return {"clientType": "device", "deviceId": device.id, "token": token or device.token}


class Foreign:
    """A node process full of sockets; each has a name, and everything that it hears is kept."""

    def __init__(self) -> None:
        self._calls = itertools.count(1)
        self.seen: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        assert NODE is not None
        self._process = await asyncio.create_subprocess_exec(
            NODE,
            str(FOLDER / "puppet.mjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
            limit=LONGEST_LINE,
        )
        self._task = asyncio.ensure_future(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()
        await asyncio.gather(self._task, return_exceptions=True)

    def order(self, order: str, name: str, **rest: Any) -> None:
        assert self._process.stdin is not None
        line = json.dumps({"order": order, "name": name, **rest}) + "\n"
        self._process.stdin.write(line.encode())

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.seen.append(json.loads(line))

    def of(self, name: str, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.seen if one["name"] == name and one["kind"] == kind]

    async def first(self, name: str, kind: str) -> dict[str, Any]:
        found = await until(lambda: self.of(name, kind), f"{name} is {kind}")
        return found[0]

    async def connect(self, name: str, url: str, options: dict[str, Any]) -> dict[str, Any]:
        """Connected, and over what. A refusal is an AssertionError."""
        self.order("connect", name, url=url, options=options)
        ends = await until(
            lambda: self.of(name, "connected") + self.of(name, "refused"), f"{name} has an answer"
        )
        assert ends[0]["kind"] == "connected", ends[0]
        return ends[0]

    async def refused(self, name: str, url: str, options: dict[str, Any]) -> str:
        """What a connection that must not come about is told."""
        self.order("connect", name, url=url, options=options)
        message: str = (await self.first(name, "refused"))["message"]
        assert self.of(name, "connected") == []
        return message

    def emit(self, name: str, event: str, data: Any, **rest: Any) -> None:
        self.order("emit", name, event=event, data=data, **rest)

    async def call(self, name: str, event: str, data: Any, **rest: Any) -> Any:
        """Emit with a callback: the acknowledgement."""
        call = next(self._calls)
        self.order("emit", name, event=event, data=data, call=call, **rest)
        found = await until(
            lambda: [one for one in self.of(name, "answered") if one["call"] == call],
            f"{event} is acknowledged",
        )
        return found[0]["answer"]

    def heard(self, name: str, event: str) -> list[Any]:
        return [one["args"][0] for one in self.of(name, "heard") if one["event"] == event]

    async def hears(self, name: str, event: str, *, count: int = 1) -> Any:
        found = await until(
            lambda: self.heard(name, event)[count - 1 :], f"{name} hears {event} ({count})"
        )
        return found[0]

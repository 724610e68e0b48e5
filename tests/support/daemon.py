"""A real daemon process in a throw-away folder, and the command line that talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doorlock import client_wire as wire
from doorlock.client import Client
from doorlock.client_async import AsyncClient
from doorlock.client_wire import ServerEvent
from doorlock.daemon.gateways.mosquitto import find_mosquitto
from doorlock.errors import DaemonUnreachable
from tests.support.nursery import Nursery
from tests.support.waiting import until, until_now

HAS_MOSQUITTO = find_mosquitto(os.environ.get("PATH")) is not None
DOORLOCK = Path(sys.executable).with_name("doorlock")
_names = itertools.count(1)


def steady_port() -> int:
    """A free port that no outgoing connection is ever given, so that a restart finds it free."""
    while True:
        port = random.SystemRandom().randrange(15000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command line."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A registered device."""

    id: str
    name: str
    esp_id: str
    token: str = field(repr=False)


class Daemon:
    """One daemon: started, killed and started again on the same state and the same ports.

    Without a `nursery` it is `python -m doorlock.daemon`, as a person starts it. `settings` are
    those of the daemon, `section_key` by their names with a dot for the first underscore.
    """

    def __init__(self, nursery: Nursery | None = None, *, mqtt: bool = True, **settings: Any):
        self.folder = Path(tempfile.mkdtemp(prefix="dl"))
        self.socket = self.folder / "s"
        self.state_dir = self.folder / "state"
        self.log = self.folder / "log"
        self.nursery = nursery
        self.pid: int | None = None
        self.secrets: list[str] = []
        self._pidfd: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "listen.port": steady_port(),
            "mqtt.port": steady_port(),
            "mqtt.embedded": "on" if mqtt else "off",
            "commands.timeout": "5s",
            "commands.failover_after": "300ms",
            **{name.replace("_", ".", 1): value for name, value in settings.items()},
        }

    # its life

    def start(self, *, fault: str | None = None) -> Daemon:
        """Start it and wait until it answers. `fault` is a point of `daemon_faults`."""
        assert self.pid is None, "it runs already"
        if self.nursery is not None:
            self.pid = self.nursery.spawn(self.arguments, self.log, fault)
        else:
            with self.log.open("ab") as log:
                command = [sys.executable, "-m", "doorlock.daemon", *self.arguments]
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env
                )
            self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        until_now(self._answers, "the daemon answers at its socket")
        return self

    def _answers(self) -> bool:
        assert not self.is_dead, f"the daemon ended at its start:\n{self.log_text}"
        try:
            self._version = Client([self.socket]).get("/api/version").data
        except DaemonUnreachable:
            return False
        return True

    @property
    def arguments(self) -> list[str]:
        pairs = [f"{name}={value}" for name, value in self._settings.items() if value is not None]
        where = ["--socket", str(self.socket), "--state-dir", str(self.state_dir)]
        return [*where, *(part for pair in pairs for part in ("--set", pair))]

    @property
    def env(self) -> dict[str, str]:
        """An environment without anything of this machine's doorlock."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}

    @property
    def is_dead(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            return True
        return self.pid is None or not Path(f"/proc/{self.pid}/stat").exists()

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        self._bury()

    def stop(self) -> int | None:
        """SIGTERM, and wait; the exit code where it is ours to know."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGTERM)
        process = self._process
        self._bury()
        return None if process is None else process.returncode

    async def died(self) -> None:
        """Wait for a daemon that dies by itself."""
        await until(lambda: self.is_dead, "the daemon dies")
        self._bury()

    def _bury(self) -> None:
        until_now(lambda: self.is_dead, "the daemon is gone")
        if self._pidfd is not None:
            os.close(self._pidfd)
        self.pid = self._process = self._pidfd = None

    def close(self) -> None:
        if not self.is_dead:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # how it is

    @property
    def url(self) -> str:
        return str(self._version["url"])

    @property
    def mqtt_url(self) -> str:
        return str(self._version["mqttUrl"])

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def mqtt_port(self) -> int:
        return int(self.mqtt_url.rsplit(":", 1)[1])

    @property
    def log_text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def check_log(self, since: int = 0) -> None:
        """No traceback and no secret has got into the log, from the character `since` on."""
        text = self.log_text[since:]
        assert "Traceback" not in text, text[-6000:]
        assert not [secret for secret in self.secrets if secret in text], "a secret in the log"

    # talking to it

    def client(self, as_user: str | None = None) -> AsyncClient:
        return AsyncClient([self.socket], as_user=as_user, patience=20.0)

    async def cli(self, *words: str, stdin: str = "", as_user: str | None = None) -> Done:
        """Run one `doorlock` to its end."""
        began = time.monotonic()
        process = await self.begin_cli(*words, as_user=as_user)
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 40)
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode(), time.monotonic() - began)

    async def begin_cli(self, *words: str, as_user: str | None = None) -> Any:
        acting = ["--as", as_user] if as_user else []
        return await asyncio.create_subprocess_exec(
            str(DOORLOCK),
            "--socket",
            str(self.socket),
            *acting,
            *words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
        )

    async def register(self, name: str | None = None, **more: Any) -> Enrolled:
        """A device that nobody else has, by the API."""
        unique = f"{os.getpid()}-{next(_names)}"
        body = {"name": name or f"door-{unique}", "espId": f"ESP32-{unique}", **more}
        made = (await self.client().post("/api/device/register", body)).data
        assert made["warning"] is None, made["warning"]
        self.secrets.append(made["deviceToken"])
        return Enrolled(made["id"], made["name"], made["espId"], made["deviceToken"])

    async def device(self, device: Enrolled) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client().get(f"/api/device/{device.id}")).data
        return found

    async def connections(self, device: Enrolled, *transports: str) -> None:
        """Wait until the daemon has the device on exactly these transports."""

        async def there() -> bool:
            return sorted((await self.device(device))["connections"]) == sorted(transports)

        await until(there, f"{device.name} is connected by {transports or 'nothing'}")

    async def command(self, command_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client().get(f"/api/command/{command_id}")).data
        return found

    async def commands(self, device: Enrolled) -> list[dict[str, Any]]:
        answer = await self.client().get("/api/command/history", {"device": device.id})
        found: list[dict[str, Any]] = answer.data["history"]
        return found

    async def settled(self, command_id: str, *statuses: str) -> dict[str, Any]:
        """The command, once its status is one of these."""

        async def there() -> dict[str, Any] | None:
            command = await self.command(command_id)
            return command if command["status"] in statuses else None

        found = await until(there, f"the command is {statuses}")
        assert found is not None
        return found

    async def events(
        self, device: Enrolled | None = None, *types: str, **query: Any
    ) -> list[dict[str, Any]]:
        """The log, oldest first; of one device where one is given."""
        wanted = {"order": "asc", "limit": 1000, **query}
        if device is not None:
            wanted["device"] = device.id
        if types:
            wanted["type"] = ",".join(types)
        found: list[dict[str, Any]] = (await self.client().get("/api/logs", wanted)).data
        return found

    async def first_event(self, device: Enrolled, kind: str, **query: Any) -> dict[str, Any]:
        """Wait for one event of this type."""
        found = await until(lambda: self.events(device, kind, **query), f"there is a {kind}")
        return found[0]


async def frames(
    path: Path, query: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> AsyncIterator[ServerEvent]:
    """The frames of one connection to the event stream; it ends when the connection does."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(wire.render_request("GET", "/api/events/stream", query, headers or {}, None))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        parser = wire.EventParser()
        while size := int((await reader.readline()).strip() or b"0", 16):
            chunk = (await reader.readexactly(size + 2))[:-2]
            for frame in parser.feed(chunk):
                yield frame
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


class Reader:
    """Follows the event log by the stream and keeps what it was told; `async with` runs it."""

    def __init__(self, daemon: Daemon, after: int | None = None) -> None:
        self._daemon, self._after = daemon, after
        self.events: list[dict[str, Any]] = []
        self.greeted = asyncio.Event()

    async def __aenter__(self) -> Reader:
        self._task = asyncio.ensure_future(self._read())
        await asyncio.wait_for(self.greeted.wait(), 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def ended(self) -> Sequence[dict[str, Any]]:
        """What it was told until the connection broke."""
        await asyncio.wait_for(self._task, 20)
        return self.events

    async def _read(self) -> None:
        query = {} if self._after is None else {"after": self._after}
        async for frame in frames(self._daemon.socket, query):
            if frame.name == "hello":
                self.greeted.set()
            elif frame.id:
                self.events.append(frame.data)

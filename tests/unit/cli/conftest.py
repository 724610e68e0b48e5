"""Running a verb in this process against a fake daemon."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from doorlock.cli.boundary import run
from doorlock.cli.session import Session
from tests.support.fake_daemon import FakeDaemon, Reply, Stream, frame

DEVICE_ID = "0" * 23 + "1"
COMMAND_ID = "5d1f6a3e-0000-4000-8000-000000000001"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Runner:
    """`runner("ls", "-o", "json")`; `env`, `terminal` and `answers` are the surroundings."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.env = {"DOORLOCK_DAEMON__SOCKET": str(daemon.socket), "HOME": "/nonexistent"}
        self.terminal = False
        self.answers = ""

    def __call__(self, *arguments: str) -> Result:
        kind = Terminal if self.terminal else io.StringIO
        stdin, stdout, stderr = kind(self.answers), kind(), kind()
        code = run(arguments, Session(self.env, stdin, stdout, stderr))
        return Result(int(code), stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    with FakeDaemon() as fake:
        yield fake


@pytest.fixture
def runner(daemon: FakeDaemon) -> Runner:
    return Runner(daemon)


def device(name: str = "front", **changes: Any) -> dict[str, Any]:
    return {
        "id": DEVICE_ID,
        "name": name,
        "espId": "ESP32-001",
        "deviceType": "door-lock",
        "status": "online",
        "online": True,
        "activated": True,
        "isActive": True,
        "lockState": "locked",
        "lockStateSource": "sensor",
        "lockStateAt": "2026-11-23T18:00:00.000Z",
        "lastSeen": "2026-11-23T18:00:00.000Z",
        "batteryLevel": 88,
        "room": "hall",
        "connections": ["websocket"],
        "userPermissions": {"permission": "owner"},
        "settings": {"autoLockTimeout": 5000},
        **changes,
    }


def command(status: str = "queued", **changes: Any) -> dict[str, Any]:
    return {
        "commandId": COMMAND_ID,
        "deviceId": DEVICE_ID,
        "deviceName": "front",
        "command": "unlock_door",
        "payload": {},
        "status": status,
        "via": None,
        "issuedAt": "2026-11-23T18:00:00.000Z",
        "expiresAt": "2026-11-23T18:00:30.000Z",
        "sentAt": "2026-11-23T18:00:01.000Z",
        "errorMessage": None,
        **changes,
    }


def event(kind: str, seq: int, **payload: Any) -> bytes:
    body = {
        "seq": seq,
        "eventType": kind,
        "deviceId": DEVICE_ID,
        "deviceName": "front",
        "username": "ann",
        "commandId": COMMAND_ID,
        "payload": payload,
        "timestamp": "2026-11-23T18:00:00.000Z",
    }
    return frame(kind, body, seq)


def outcome(daemon: FakeDaemon, status: str, *, door: dict[str, Any] | None = None, **changes: Any):
    """Routes for one command on `front` that ends in `status`."""
    daemon.on(
        "POST", "/api/device/front/command", Reply(command(), status=202, extra={"position": 7})
    )
    frames = [
        frame("hello", {"position": 7}),
        event("command_sent", 8, status="sent", via="websocket"),
        event(f"command_{status}", 9, status=status),
    ]
    daemon.on("GET", "/api/events/stream", Stream(frames))
    ended = command(status, **{"via": "websocket", **changes})
    daemon.on("GET", f"/api/command/{COMMAND_ID}", ended)
    daemon.on("GET", f"/api/device/{DEVICE_ID}", device() if door is None else door)

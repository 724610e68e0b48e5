"""A world made of plain data around the pure core."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doorlock.device import actions as do
from doorlock.device.bolt import Bolt
from doorlock.device.core import DeviceCore, Identity
from doorlock.device.state import DeviceState, Memory, Record
from doorlock.protocol import LockValue, Transport
from doorlock.times import iso

DEVICE_ID = "6561d2a8c0ffee0000000001"
WS, MQTT = Transport.WEBSOCKET, Transport.MQTT
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class PowerCut(Exception):
    """The plug was pulled between two actions."""


class World:
    """Carries out the core's actions in memory, and keeps what a disk would keep."""

    def __init__(self, *, capacity: int = 1000, has_sensor: bool = True) -> None:
        self.capacity, self.has_sensor = capacity, has_sensor
        self.now = START
        self.disk: dict[str, Record] = {}
        self.state = DeviceState()
        self.broken_disk = False
        self.disk_seconds = 0.0
        self.seen = LockValue.LOCKED
        self.relay = LockValue.LOCKED
        self.moves: list[tuple[datetime, str | None, LockValue]] = []
        self.acks: list[tuple[str, str, Transport, str | None]] = []
        self.events: list[tuple[str, Any]] = []
        self.others: list[do.Action] = []
        self.fuse: int | None = None
        self.boot()

    def boot(self) -> None:
        self.timers: dict[do.Timer, datetime] = {}
        self.relay = LockValue.LOCKED
        bolt = Bolt(has_sensor=self.has_sensor, travel_limit=3.0)
        memory = Memory(self.disk.values(), capacity=self.capacity)
        self.core = DeviceCore(Identity(DEVICE_ID, "ESP32-001"), self.state, memory, bolt)
        self.play(self.core.boot(self.seen if self.has_sensor else None, self.now))

    def command(self, data: dict[str, Any], via: Transport = WS) -> None:
        self.play(self.core.command(data, via, self.now))

    def sense(self, value: LockValue) -> None:
        if value is not LockValue.JAMMED:
            self.seen = value
        self.play(self.core.sensor(value, self.now))

    def arrive(self) -> None:
        """The bolt gets where the relay wants it."""
        self.sense(self.relay)

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, firing what falls due in its order."""
        end = self.now + timedelta(seconds=seconds)
        while due := [(at, timer) for timer, at in self.timers.items() if at <= end]:
            self.now, timer = min(due)
            del self.timers[timer]
            self.play(self.core.timer(timer, self.now))
        self.now = end

    def play(self, actions: list[do.Action]) -> None:
        unwritten = False
        for action in actions:
            self._burn()
            match action:
                case do.SendAck(command_id, status, via, _, error):
                    self.acks.append((command_id, status.value, via, error))
                case do.Remember(record):
                    self.now += timedelta(seconds=self.disk_seconds)
                    unwritten = self.broken_disk
                    if not unwritten:
                        self.disk[record.command_id] = record
                case do.Begin(command_id) if unwritten:
                    self.play(self.core.refuse(command_id, "not written", self.now))
                case do.Begin(command_id):
                    self.play(self.core.begin(command_id, self.now))
                case do.MoveBolt(target, command_id):
                    self.relay = target
                    self.moves.append((self.now, command_id, target))
                case do.StartTimer(timer, seconds):
                    self.timers[timer] = self.now + timedelta(seconds=seconds)
                case do.CancelTimer(timer):
                    self.timers.pop(timer, None)
                case do.SendEvent(event, data):
                    self.events.append((event, data))
                case do.SaveState(command_id, state):
                    self.state = state
                    self.play(self.core.saved(command_id, state, None, self.now))
                case _:
                    self.others.append(action)

    def _burn(self) -> None:
        if self.fuse is None:
            return
        self.fuse -= 1
        if self.fuse < 0:
            self.fuse = None
            raise PowerCut

    def make(self, name: str = "unlock_door", *, lifetime: float = 30, **fields: Any) -> Any:
        """A command's data, alive for `lifetime` seconds from now."""
        return {
            "commandId": str(uuid.uuid4()),
            "command": name,
            "timestamp": iso(self.now),
            "expiresAt": iso(self.now + timedelta(seconds=lifetime)),
            **fields,
        }

    def told(self, data: Any) -> list[str]:
        return [status for command_id, status, _, _ in self.acks if command_id == data["commandId"]]

    def error(self, data: Any) -> str | None:
        return [e for command_id, _, _, e in self.acks if command_id == data["commandId"]][-1]

    def unlocks(self, data: Any) -> int:
        wanted = (data["commandId"], LockValue.UNLOCKED)
        return sum((command_id, target) == wanted for _, command_id, target in self.moves)

    def door(self) -> list[tuple[str, str]]:
        return [
            (data["status"], data["triggeredBy"])
            for event, data in self.events
            if event == "door_status_changed"
        ]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> Callable[..., World]:
    return World

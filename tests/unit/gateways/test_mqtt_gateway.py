from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.reports import Report
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.gateways import mqtt as module
from doorlock.daemon.gateways.mqtt import MqttGateway, _expiry
from doorlock.daemon.gateways.mqtt_link import Incoming, LinkDown
from doorlock.daemon.ports import AuthRefused, NotConnected
from doorlock.errors import Unavailable
from doorlock.protocol import CommandName

ID = "65f0c0ffee65f0c0ffee65f0"
NOW = datetime(2026, 11, 23, 18, 7, 52, tzinfo=UTC)
DEVICE = Device(ID, "front", "E", "o" * 24, NOW, NOW)


def a_command(seconds: float = 30) -> Command:
    expires = NOW + timedelta(seconds=seconds)
    return Command("c-1", ID, CommandName.UNLOCK_DOOR, "u", NOW, expires)


class Link:
    """Takes what is published, and answers when told to."""

    def __init__(self, *, modern: bool = True, may_send: int = 10) -> None:
        self.modern, self.may_send = modern, may_send
        self.published: list[dict[str, Any]] = []
        self.answer: int | type[LinkDown] | None = 0
        self.open: list[asyncio.Future[int | None]] = []
        self.hold = False
        self.aborted: str | None = None

    def publish(self, topic: str, payload: bytes, **options: Any) -> asyncio.Future[int | None]:
        if self.answer is LinkDown:
            raise LinkDown
        self.published.append({"topic": topic, **json.loads(payload), **options})
        confirmed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        if self.hold:
            self.open.append(confirmed)
        else:
            assert not isinstance(self.answer, type)
            confirmed.set_result(self.answer)
        return confirmed

    def abort(self, reason: str) -> None:
        self.aborted = reason

    def acknowledge(self, message: Incoming) -> None:
        pass


class Sink:
    """Each step can be made to wait at its gate; `welcome` is read before the wait."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.reached: dict[str, asyncio.Event] = {}
        self.said: list[str] = []
        self.welcome = True
        self.error: Exception | None = None

    def gate(self, step: str) -> None:
        self.gates[step], self.reached[step] = asyncio.Event(), asyncio.Event()

    async def _pass(self, step: str) -> None:
        self.said.append(step)
        if step in self.gates:
            self.reached[step].set()
            await self.gates[step].wait()

    async def authenticate(self, device_id: str, token: str, where: Mapping[str, Any]) -> Device:
        raise AssertionError("MQTT never sees a token")

    async def rejected(self, session: Session, event: str, reason: str) -> None:
        self.said.append("rejected")

    def alive(self, session: Session) -> None:
        pass

    async def vouched(self, device_id: str, where: Mapping[str, Any]) -> Device:
        welcome = self.welcome
        await self._pass("vouched")
        if not welcome:
            raise AuthRefused("Invalid device token")
        return DEVICE

    async def connected(self, session: Session) -> None:
        await self._pass("connected")

    async def disconnected(self, session: Session, reason: str) -> None:
        self.said.append("disconnected")

    async def report(self, session: Session, report: Report) -> None:
        await self._pass("report")
        if self.error is not None:
            raise self.error


class Scene:
    def __init__(self, **link: Any) -> None:
        self.sink = Sink()
        self.link: Any = Link(**link)
        self.gateway = MqttGateway(now=lambda: NOW)
        self.gateway.report_to(self.sink)

    async def begin(self) -> None:
        await self.gateway.up(self.link, ())

    def hears(self, body: Any, topic: str = f"iot/status/{ID}", retain: bool = False) -> None:
        message = Incoming(topic, json.dumps(body).encode(), 1, retain, 1)
        self.gateway.heard(self.link, message)

    async def rest(self) -> None:
        await self.gateway._inbox.settle(5)

    async def online(self) -> None:
        await self.begin()
        self.hears({"status": "online"})
        await self.rest()
        assert self.gateway.sessions == 1


async def test_a_retained_status_is_not_heard() -> None:
    scene = Scene()
    await scene.begin()
    scene.hears({"status": "online"}, retain=True)
    await scene.rest()
    assert scene.sink.said == []


async def test_a_device_dropped_while_it_is_being_vouched_for_is_asked_about_again() -> None:
    scene = Scene()
    await scene.begin()
    scene.sink.gate("vouched")
    scene.hears({"status": "online"})
    await scene.sink.reached["vouched"].wait()
    scene.sink.welcome = False
    await scene.gateway.drop(ID, "revoked")
    scene.sink.gates["vouched"].set()
    await scene.rest()
    assert "connected" not in scene.sink.said
    assert scene.gateway.sessions == 0


async def test_a_device_dropped_while_it_is_announced_ends_offline() -> None:
    scene = Scene()
    await scene.begin()
    scene.sink.gate("connected")
    scene.hears({"status": "online"})
    await scene.sink.reached["connected"].wait()
    await scene.gateway.drop(ID, "revoked")
    scene.sink.gates["connected"].set()
    await scene.rest()
    assert scene.sink.said[-1] == "disconnected"
    assert "report" not in scene.sink.said
    assert scene.gateway.sessions == 0


async def test_drop_throws_away_what_the_device_said_before() -> None:
    scene = Scene()
    await scene.online()
    scene.sink.gate("report")
    for _ in range(3):
        scene.hears({"event": "motion_detected", "data": {}}, f"iot/events/{ID}")
    await scene.sink.reached["report"].wait()
    await scene.gateway.drop(ID, "rotated")
    scene.sink.gates["report"].set()
    await scene.rest()
    assert scene.sink.said.count("report") == 2  # its first status, and the one under way
    assert scene.gateway.sessions == 0


async def test_drop_ends_the_session_even_when_the_broker_cannot_be_asked() -> None:
    scene = Scene()
    await scene.online()

    async def kick(device_id: str) -> None:
        assert scene.gateway.sessions == 0
        raise Unavailable("the broker is away")

    scene.gateway.kick_with(kick)
    await scene.gateway.drop(ID, "revoked")
    assert scene.sink.said[-1] == "disconnected"


@pytest.mark.parametrize("error", [Unavailable("the store is away"), RuntimeError("a bug")])
async def test_a_message_that_cannot_be_taken_does_not_stop_the_next(error: Exception) -> None:
    scene = Scene()
    await scene.online()
    scene.sink.error = error
    scene.hears({"status": "online"})
    await scene.rest()
    scene.sink.error = None
    scene.hears({"status": "offline"})
    await scene.rest()
    assert scene.sink.said[-1] == "disconnected"


@pytest.mark.parametrize("code", [0x10, 0x80, 0x87, 0x97])
async def test_what_the_broker_gave_to_nobody_is_not_connected(code: int) -> None:
    scene = Scene()
    await scene.online()
    scene.link.answer = code
    with pytest.raises(NotConnected):
        await scene.gateway.send_command(a_command(), DEVICE, NOW)


async def test_what_cannot_have_left_is_not_connected() -> None:
    scene = Scene()
    await scene.online()
    scene.link.answer = LinkDown
    with pytest.raises(NotConnected):
        await scene.gateway.send_command(a_command(), DEVICE, NOW)


async def test_a_connection_lost_before_the_answer_leaves_it_unknown() -> None:
    scene = Scene()
    await scene.online()
    scene.link.answer = None
    await scene.gateway.send_command(a_command(), DEVICE, NOW)
    assert len(scene.link.published) == 1


async def test_a_broker_that_does_not_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIRM_SECONDS", 0.01)
    scene = Scene()
    await scene.online()
    scene.link.hold = True
    await scene.gateway.send_command(a_command(), DEVICE, NOW)
    assert scene.link.aborted is not None


async def test_a_command_that_waits_too_long_for_its_turn_is_never_sent() -> None:
    scene = Scene(may_send=1)
    await scene.online()
    scene.link.hold = True
    first = asyncio.create_task(scene.gateway.send_command(a_command(), DEVICE, NOW))
    while not scene.link.open:
        await asyncio.sleep(0)
    with pytest.raises(NotConnected):
        await scene.gateway.send_command(a_command(0.02), DEVICE, NOW)
    scene.link.open[0].set_result(0)
    await first
    assert len(scene.link.published) == 1


async def test_a_command_is_never_retained_and_always_expires() -> None:
    scene = Scene()
    await scene.online()
    await scene.gateway.send_command(a_command(), DEVICE, NOW)
    (sent,) = scene.link.published
    assert sent["topic"] == f"iot/commands/{ID}"
    assert not sent.get("retain", False)
    assert sent["qos"] == 1
    assert 1 <= sent["expiry"] <= 30


async def test_without_mqtt_5_a_command_is_not_for_keeping() -> None:
    scene = Scene(modern=False)
    await scene.online()
    await scene.gateway.send_command(a_command(), DEVICE, NOW)
    assert scene.link.published[0]["qos"] == 0


@pytest.mark.parametrize(
    ("left", "expected"), [(None, None), (600, 595), (30, 25), (10, 5), (4, 2), (1, 1), (0.1, 1)]
)
def test_the_broker_keeps_it_for_less_than_is_left(
    left: float | None, expected: int | None
) -> None:
    assert _expiry(left) == expected

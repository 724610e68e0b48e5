"""kill -9 of the daemon at each step of an unlock, then a restart on the same state.

Nothing acts twice, nothing acts after its deadline, what a reader was told is still there, and the
outcome is honest. The kills of a test run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from doorlock.client_wire import ConnectionLost
from doorlock.errors import DaemonUnreachable
from doorlock.protocol import FINISHED
from doorlock.times import parse_time, utc_now
from tests.support.daemon import Daemon, Enrolled, Reader
from tests.support.devices import MQTT, WEBSOCKET, Device, online, unlocked
from tests.support.mosquitto import needs_mosquitto
from tests.support.nursery import Nursery
from tests.support.waiting import until

BOTH = f"{WEBSOCKET}+{MQTT}"
STEPS = ("sent", "received", "executing", "executed")
TO_THE_SEND = [
    *(
        f"{moment}:{step}"
        for step in ("queued", "sent")
        for moment in ("before", "during", "after")
    ),
    "after:handed",
]
FROM_THE_SEND = [
    *(f"{moment}:{step}" for step in STEPS[1:] for moment in ("before", "after")),
    "during:executed",
]
OVER_MQTT = ["after:queued", "after:handed", *(f"after:{step}" for step in STEPS)]
OVER_BOTH = ["after:sent", "after:handed", "before:executed"]
NEVER_STORED = {"before:queued", "during:queued"}
NEVER_SENT = {"after:queued", "before:sent", "during:sent"}
RANDOM_KILLS = 3
AT_ONCE = 7
SETTINGS = {"commands_timeout": "2s", "commands_failover_after": "400ms"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when everything is over."""

    answered: bool  # whoever asked was told that the command was taken
    told: Sequence[dict[str, Any]]  # what a reader of the stream heard before the kill
    log: Sequence[dict[str, Any]]  # what the log holds in the end
    verified: dict[str, Any]
    commands: Sequence[dict[str, Any]]
    opened: Sequence[dict[str, Any]]  # every order to the bolt to open
    done: str | None  # what the device itself knows of the command
    lock_state: str

    @property
    def command(self) -> dict[str, Any]:
        (command,) = self.commands
        return command


async def crash(nursery: Nursery, folder: Path, point: str, transports: str) -> Evidence:
    daemon = Daemon(nursery, mqtt=MQTT in transports, **SETTINGS)
    try:
        await asyncio.to_thread(daemon.start, fault=point)
        door = await daemon.register("front")
        async with online(daemon, door, folder, *transports.split("+"), heartbeat=0.5) as device:
            async with Reader(daemon, after=0) as reader:
                await until(lambda: len(reader.events) >= 2, "the reader hears")
                asked_at = utc_now()
                answered = await ask(daemon, door)
                await daemon.died()
                told = await reader.ended()
            await asyncio.to_thread(daemon.start)
            return await judged(daemon, door, device, told, answered, asked_at)
    finally:
        daemon.close()


async def ask(daemon: Daemon, door: Enrolled) -> bool:
    body = {"command": "unlock_door", "payload": {"duration": 1000}}
    try:
        await daemon.client().post(f"/api/device/{door.id}/command", body)
    except (ConnectionLost, DaemonUnreachable):
        return False
    return True


async def judged(
    daemon: Daemon,
    door: Enrolled,
    device: Device,
    told: Sequence[dict[str, Any]],
    answered: bool,
    asked_at: Any,
) -> Evidence:
    """Wait until nothing can happen any more, and gather what is to be seen."""
    await daemon.connections(door, *(t.value for t in device.transports))
    await until(lambda: (utc_now() - asked_at).total_seconds() > 2.0, "the deadline has passed")
    await until(lambda: all_over(daemon, door, device), "everything is over", step=0.05)
    lock = await daemon.client().post(f"/api/device/{door.id}/command", {"command": "lock_door"})
    await daemon.settled(lock.data["commandId"], "executed")  # nothing is on its way any more
    commands = [c for c in await daemon.commands(door) if c["command"] == "unlock_door"]
    return Evidence(
        answered,
        told,
        await daemon.events(),
        (await daemon.client().get("/api/events/verify")).data,
        commands,
        unlocked(device),
        device.outcome(commands[0]["commandId"]) if commands else None,
        (await daemon.device(door))["lockState"],
    )


async def all_over(daemon: Daemon, door: Enrolled, device: Device) -> bool:
    for command in await daemon.commands(door):
        if command["status"] not in FINISHED:
            return False
        if device.outcome(command["commandId"]) == "started":
            return False
        if command["status"] == "timed_out" and device.outcome(command["commandId"]):
            return False  # the device knows better, and will say so
    return True


def crash_all(nursery: Nursery, folder: Path, transports: str, points: Sequence[str]) -> Any:
    """Every point's evidence, or what went wrong with it."""

    async def one(slots: asyncio.Semaphore, point: str) -> Evidence:
        async with slots:
            return await crash(nursery, folder / point.replace(":", "-"), point, transports)

    async def everything() -> list[Evidence | BaseException]:
        slots = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(
            *(one(slots, point) for point in points), return_exceptions=True
        )

    return dict(zip(points, asyncio.run(everything()), strict=True))


def safe(evidence: Evidence) -> None:
    """What holds wherever the daemon was killed."""
    assert len(evidence.commands) <= 1
    assert len(evidence.opened) <= 1, "it acted twice"
    for command in evidence.commands:
        for one in evidence.opened:
            assert one["commandId"] == command["commandId"]
            assert parse_time(one["time"]) <= parse_time(command["expiresAt"]), "it acted late"
    assert evidence.commands or not evidence.opened, "it acted unrecorded"
    assert evidence.commands or not evidence.answered, "what was taken is gone"
    assert evidence.lock_state == "locked"


def kept(evidence: Evidence) -> None:
    """Everything that the reader heard is there, the same and in the same place."""
    assert evidence.told, "the reader heard something"
    places = {event["seq"]: (event["hash"], event["_id"]) for event in evidence.log}
    for event in evidence.told:
        assert places.get(event["seq"]) == (event["hash"], event["_id"]), event
    assert sorted(places) == list(range(1, len(places) + 1))
    assert evidence.verified["ok"], evidence.verified
    assert evidence.verified["toSeq"] >= len(places)


def honest(evidence: Evidence) -> None:
    """The outcome is what the device knows, or says that it is unknown."""
    status = evidence.command["status"]
    sent = [e for e in evidence.log if e["eventType"] == "command_sent" and is_unlock(e)]
    if evidence.done == "executed":
        assert status in ("executed", "executed_late")
    elif evidence.done == "failed":
        assert status == "failed"
    else:
        assert not evidence.opened
        assert status in ("cancelled", "timed_out")
    assert (status == "cancelled") == (not sent), "cancelled is what was never sent"


def is_unlock(event: dict[str, Any]) -> bool:
    return bool(event["payload"].get("command") == "unlock_door")


@pytest.mark.parametrize(
    ("transports", "points"),
    [
        pytest.param(WEBSOCKET, TO_THE_SEND, id="websocket-to-the-send"),
        pytest.param(WEBSOCKET, FROM_THE_SEND, id="websocket-from-the-send"),
        pytest.param(MQTT, OVER_MQTT, id=MQTT, marks=needs_mosquitto),
        pytest.param(BOTH, OVER_BOTH, id=BOTH, marks=needs_mosquitto),
    ],
)
def test_a_kill_at_each_step(
    nursery: Nursery,
    tmp_path: Path,
    subtests: pytest.Subtests,
    transports: str,
    points: Sequence[str],
) -> None:
    for point, found in crash_all(nursery, tmp_path, transports, points).items():
        with subtests.test(point):
            judge(point, found)


def judge(point: str, found: Evidence | BaseException) -> None:
    if isinstance(found, BaseException):
        raise found
    safe(found)
    kept(found)
    if point in NEVER_STORED:
        assert found.commands == []
        return
    honest(found)
    if point in NEVER_SENT:
        assert (found.command["status"], found.done) == ("cancelled", None)
    elif point == "after:sent":
        # recorded, and never handed over: nobody can know that, so it is not said
        assert (found.command["status"], found.done) == ("timed_out", None)
    elif not point.endswith((":handed", ":sent")) and not point.startswith("timer"):
        assert (found.done, len(found.opened)) == ("executed", 1), "the device had heard it"


@pytest.mark.parametrize("transports", [WEBSOCKET, pytest.param(BOTH, marks=needs_mosquitto)])
def test_kills_at_random_moments(
    nursery: Nursery, tmp_path: Path, subtests: pytest.Subtests, transports: str
) -> None:
    dice = random.SystemRandom()
    points = [f"timer:{dice.uniform(0, 1.3):.4f}" for _ in range(RANDOM_KILLS)]
    for point, found in crash_all(nursery, tmp_path, transports, points).items():
        with subtests.test(point):
            judge(point, found)


async def test_a_kill_in_the_middle_of_registering_leaves_a_whole_device_or_none(
    nursery: Nursery,
) -> None:
    """What was answered is there; what was not may be, but then with its event."""
    daemon = Daemon(nursery, mqtt=False)
    try:
        await asyncio.to_thread(daemon.start)
        answered = []

        async def register(number: int) -> None:
            with contextlib.suppress(DaemonUnreachable):
                answered.append(await daemon.register(f"door-{number}"))

        asking = [asyncio.ensure_future(register(number)) for number in range(40)]
        await until(lambda: len(answered) >= 5, "some are registered")
        await asyncio.to_thread(daemon.kill)
        await asyncio.gather(*asking)
        await asyncio.to_thread(daemon.start)
        found = (await daemon.client().get("/api/device", {"limit": 1000})).data
        events = await daemon.events(None, "device_registered")
        assert {one.id for one in answered} <= {one["id"] for one in found}
        assert {one["id"] for one in found} == {event["deviceId"] for event in events}
    finally:
        daemon.close()

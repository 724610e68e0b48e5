"""`doorlock unlock` opens a door, over whichever transport there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doorlock.device.runner import Device
from tests.support.daemon import Daemon, Done, Enrolled
from tests.support.devices import MQTT, WEBSOCKET, online, reference, unlocked
from tests.support.mosquitto import needs_mosquitto
from tests.support.proxy import Proxy
from tests.support.waiting import until

BOTH = (WEBSOCKET, MQTT)


def executed(done: Done, device: Device, name: str, via: str | None = None) -> None:
    """The command line says so, exits 0, and the bolt was opened once and locked again."""
    assert (done.code, done.err) == (0, ""), done
    assert done.out.startswith(f"{name}: executed in "), done.out
    if via is not None:
        assert f" via {via}" in done.out, done.out
    assert [one["action"] for one in device.actuations] == ["unlock", "lock"]


@pytest.mark.parametrize(
    "transports",
    [
        (WEBSOCKET,),
        pytest.param((MQTT,), marks=needs_mosquitto),
        pytest.param(BOTH, marks=needs_mosquitto),
    ],
    ids="+".join,
)
async def test_a_registered_door_opens(
    house: Daemon, tmp_path: Path, transports: tuple[str, ...]
) -> None:
    name = "front-" + "-".join(transports)
    made = await house.cli("register", name, "--esp-id", f"ESP-{name}", "-o", "json")
    assert made.code == 0, made
    data = made.json["data"]
    enrolled = Enrolled(data["id"], name, data["espId"], data["deviceToken"])
    async with online(house, enrolled, tmp_path, *transports) as device:
        done = await house.cli("unlock", name, "--for", "1s")
        executed(done, device, name, transports[0])
        shown = await house.cli("show", name, "-o", "json")
    assert shown.json["data"]["lockState"] == "locked"
    assert shown.json["data"]["lockStateSource"] == "sensor"


@pytest.fixture
async def door(house: Daemon) -> Enrolled:
    return await house.register()


@needs_mosquitto
@pytest.mark.parametrize("lost", BOTH)
async def test_a_transport_that_is_cut_before_leaves_the_other(
    house: Daemon, door: Enrolled, tmp_path: Path, lost: str
) -> None:
    async with online(house, door, tmp_path, *BOTH) as device:
        device.cut(lost)
        left = MQTT if lost == WEBSOCKET else WEBSOCKET
        await house.connections(door, left)
        executed(await house.cli("unlock", door.name, "--for", "1s"), device, door.name, left)


@needs_mosquitto
@pytest.mark.parametrize("lost", BOTH)
async def test_a_transport_that_is_cut_in_the_middle(
    house: Daemon, door: Enrolled, tmp_path: Path, lost: str
) -> None:
    """The device has begun when one of its connections goes."""
    async with online(house, door, tmp_path, *BOTH) as device:
        telling = asyncio.ensure_future(house.cli("unlock", door.name, "--for", "1s"))
        await until(lambda: unlocked(device), "the bolt moves")
        device.cut(lost)
        left = MQTT if lost == WEBSOCKET else WEBSOCKET
        executed(await telling, device, door.name, left)
        await house.connections(door, left)


@pytest.fixture
async def slow_road(house: Daemon) -> AsyncIterator[Proxy]:
    async with Proxy(house.port) as proxy:
        yield proxy


@needs_mosquitto
async def test_a_websocket_that_swallows_everything_fails_over(
    house: Daemon, door: Enrolled, tmp_path: Path, slow_road: Proxy
) -> None:
    url = f"http://127.0.0.1:{slow_road.port}"
    async with online(house, door, tmp_path, *BOTH, url=url) as device:
        slow_road.freeze()
        done = await house.cli("unlock", door.name, "--for", "1s")
        executed(done, device, door.name, MQTT)
        slow_road.thaw()  # now the same command comes over the WebSocket as well
        await until(
            lambda: sum(name == "unlock_door" for name, _ in device.heard) == 2, "it came twice"
        )
        assert len(unlocked(device)) == 1
    (command,) = await house.commands(door)
    failover = await house.events(door, "command_sent")
    assert [event["payload"]["via"] for event in failover] == [WEBSOCKET, MQTT]
    assert command["status"] == "executed"


@needs_mosquitto
async def test_an_mqtt_connection_that_swallows_everything_is_not_waited_for(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    async with Proxy(house.mqtt_port) as proxy:
        url = f"mqtt://127.0.0.1:{proxy.port}"
        async with online(house, door, tmp_path, *BOTH, mqtt_url=url) as device:
            proxy.freeze()
            done = await house.cli("unlock", door.name, "--for", "1s")
            executed(done, device, door.name, WEBSOCKET)


async def test_two_who_unlock_at_once_open_once(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        both = await asyncio.gather(
            *(house.cli("unlock", door.name, "--for", "1s") for _ in range(2))
        )
        for done in both:
            executed(done, device, door.name)
    assert len(await house.commands(door)) == 1
    queued = await house.events(door, "command_queued")
    assert [event["payload"].get("joined", False) for event in queued] == [False, True]


async def test_another_command_meanwhile_is_a_conflict(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        telling = asyncio.ensure_future(house.cli("unlock", door.name, "--for", "1s"))
        await until(lambda: unlocked(device), "the bolt moves")
        conflict = await house.cli("lock", door.name)
        assert conflict.code == 6, conflict
        executed(await telling, device, door.name)


async def test_a_jammed_bolt_exits_5(house: Daemon, door: Enrolled, tmp_path: Path) -> None:
    from doorlock.device.faults import FaultSpec

    faults = (FaultSpec.parse("jam"),)
    async with online(house, door, tmp_path, WEBSOCKET, faults=faults):
        done = await house.cli("unlock", door.name, "--for", "1s")
    assert done.code == 5, done
    assert "jam" in done.err


async def test_the_device_knows_nothing_of_what_a_dry_run_asks(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        done = await house.cli("unlock", door.name, "--dry-run")
        assert done.code == 0, done
        # the next thing that it hears is this, and nothing before it
        assert (await house.cli("lock", door.name)).code == 0
        assert [name for name, _ in device.heard] == ["lock_door"]
    assert [one["command"] for one in await house.commands(door)] == ["lock_door"]


async def test_a_running_device_is_told_its_settings(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    async with reference(house, door, tmp_path, WEBSOCKET) as device:
        await house.connections(door, WEBSOCKET)
        changed = await house.cli("set", door.name, "auto-lock-timeout=7s")
        assert changed.code == 0, changed
        await until(lambda: any(n == "update_settings" for n, _ in device.heard), "it is told")
        command = (await house.commands(door))[0]
        await house.settled(command["commandId"], "executed")

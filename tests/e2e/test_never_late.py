"""A door that cannot be reached now does not open later."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from doorlock.device.faults import FaultSpec
from doorlock.times import parse_time, utc_now
from tests.support.daemon import Daemon, Enrolled
from tests.support.devices import (
    MQTT,
    WEBSOCKET,
    BareMqtt,
    BareSocket,
    Device,
    keeping_session,
    online,
    reference,
    unlocked,
)
from tests.support.mosquitto import needs_mosquitto
from tests.support.proxy import Proxy
from tests.support.waiting import until

TRANSPORTS = [WEBSOCKET, pytest.param(MQTT, marks=needs_mosquitto)]


@pytest.fixture
async def door(house: Daemon) -> Enrolled:
    return await house.register()


async def past(moment: str) -> None:
    await until(lambda: utc_now() > parse_time(moment), f"it is later than {moment}")


async def answers(house: Daemon, door: Enrolled, device: Device) -> None:
    """The device is there and does what it is told: nothing that came before is on its way."""
    done = await house.cli("lock", door.name)
    assert done.code == 0, done


async def test_a_device_that_never_was_there(house: Daemon, door: Enrolled) -> None:
    done = await house.cli("unlock", door.name)
    assert done.code == 7, done
    assert done.out == ""
    assert f"'{door.name}' is offline" in done.err
    assert done.seconds < 2  # half a second on a machine that does nothing else
    assert await house.commands(door) == []
    assert await house.events(door, "command_queued", "command_sent") == []


@needs_mosquitto
async def test_a_device_that_comes_back_to_its_session_on_the_broker(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, MQTT, persistent_session=True) as device:
        device.cut(MQTT)
        await house.connections(door)
        for verb in ("unlock", "lock", "snapshot", "restart"):
            done = await house.cli(verb, door.name)
            assert done.code == 7, done
        device.restore(MQTT)
        await house.connections(door, MQTT)
        await answers(house, door, device)
        assert [name for name, _ in device.heard] == ["lock_door"]
        assert device.actuations == []


@needs_mosquitto
async def test_an_old_session_of_somebody_who_left_without_a_word(
    house: Daemon, door: Enrolled
) -> None:
    """The broker keeps the session, the last will has said offline: nothing is kept for it."""
    options = keeping_session()
    async with BareMqtt(house, door, **options) as device:
        await house.connections(door, MQTT)
        await device.status("offline")
        await house.connections(door)
    assert (await house.cli("unlock", door.name)).code == 7
    async with BareMqtt(house, door, **options) as device:
        await house.connections(door, MQTT)
        fresh = await house.client().post(
            f"/api/device/{door.id}/command", {"command": "lock_door"}
        )
        assert (await device.command())["commandId"] == fresh.data["commandId"]
        await device.ack(fresh.data["commandId"], "executed")


@contextlib.asynccontextmanager
async def frozen_road(house: Daemon, transport: str) -> AsyncIterator[tuple[Proxy, dict[str, Any]]]:
    port = house.port if transport == WEBSOCKET else house.mqtt_port
    scheme, name = ("http", "url") if transport == WEBSOCKET else ("mqtt", "mqtt_url")
    async with Proxy(port) as proxy:
        yield proxy, {name: f"{scheme}://127.0.0.1:{proxy.port}"}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_that_thaws_after_the_deadline(
    house: Daemon, door: Enrolled, tmp_path: Path, transport: str
) -> None:
    async with (
        frozen_road(house, transport) as (proxy, address),
        online(house, door, tmp_path, transport, **address) as device,
    ):
        proxy.freeze()
        done = await house.cli("unlock", door.name, "--for", "1s", "--timeout", "500ms")
        assert done.code == 3, done
        (command,) = await house.commands(door)
        await past(command["expiresAt"])
        proxy.thaw()
        await answers(house, door, device)
        assert device.actuations == []
    assert (await house.command(command["commandId"]))["status"] in ("timed_out", "failed")


@contextlib.asynccontextmanager
async def simulated(
    house: Daemon, door: Enrolled, folder: Path, *where: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`doorlock simulate` as a process of its own."""
    token = folder / "token"
    token.write_text(door.token)
    token.chmod(0o600)
    words = ["--device-id", door.id, "--token-file", str(token), "--state-dir", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "doorlock.cli.app", "simulate", *words, *where],
        env=house.env,
        stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_device_that_was_stopped_and_goes_on_after_the_deadline(
    house: Daemon, door: Enrolled, tmp_path: Path, transport: str
) -> None:
    where = ["--url", house.url] if transport == WEBSOCKET else ["--mqtt", house.mqtt_url]
    where += ["--transport", transport]
    async with simulated(house, door, tmp_path, *where) as process:
        await house.connections(door, transport)
        process.send_signal(signal.SIGSTOP)
        done = await house.cli("unlock", door.name, "--for", "1s", "--timeout", "500ms")
        assert done.code == 3, done
        (command,) = await house.commands(door)
        await past(command["expiresAt"])
        os.kill(process.pid, signal.SIGCONT)
        assert (await house.cli("lock", door.name)).code == 0
        journal = (tmp_path / door.id / "actuations.jsonl").read_text()
    assert [json.loads(line)["action"] for line in journal.splitlines()] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_silent_device_is_unknown_and_its_late_word_is_recorded(
    house: Daemon, door: Enrolled, transport: str
) -> None:
    bare = BareSocket if transport == WEBSOCKET else BareMqtt
    async with bare(house, door) as device:
        await house.connections(door, transport)
        done = await house.cli("unlock", door.name, "--for", "1s", "--timeout", "300ms")
        assert done.code == 3, done
        assert "unknown" in done.err
        sent = await device.command()
        assert (await house.command(sent["commandId"]))["status"] == "timed_out"
        await device.ack(sent["commandId"], "executed")
        late = await house.first_event(door, "command_executed_late")
    assert late["commandId"] == sent["commandId"]
    assert late["metadata"]["source"] == transport
    assert (await house.command(sent["commandId"]))["status"] == "executed_late"
    kinds = [event["eventType"] for event in await house.events(door, command=sent["commandId"])]
    assert kinds.count("command_timed_out") == kinds.count("command_sent") == 1


async def test_a_device_that_answers_too_late_says_so_by_itself(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    faults = (FaultSpec.parse("late-ack=1"),)
    async with online(house, door, tmp_path, WEBSOCKET, faults=faults) as device:
        done = await house.cli("unlock", door.name, "--for", "1s", "--timeout", "500ms")
        assert done.code == 3, done
        await house.first_event(door, "command_executed_late")
        assert len(unlocked(device)) == 1


async def test_a_clock_that_is_ahead_keeps_the_door_shut(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    faults = (FaultSpec.parse("skewed-clock=3600"),)
    async with online(house, door, tmp_path, WEBSOCKET, faults=faults) as device:
        done = await house.cli("unlock", door.name, "--for", "1s")
        assert done.code == 5, done
        assert device.actuations == []


async def test_a_device_that_reboots_in_the_middle_opens_once(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    faults = (FaultSpec.parse("reboot-in-the-middle"),)
    async with online(house, door, tmp_path, WEBSOCKET, faults=faults) as device:
        done = await house.cli("unlock", door.name, "--for", "1s")
        assert done.code == 5, done
        assert len(unlocked(device)) == 1
        assert device.actuations[-1]["action"] == "lock"


async def test_settings_do_wait_for_the_device(
    house: Daemon, door: Enrolled, tmp_path: Path
) -> None:
    assert (await house.cli("set", door.name, "capture-mode=manual")).code == 0
    (waiting,) = await house.commands(door)
    assert waiting["status"] == "queued"
    async with reference(house, door, tmp_path, WEBSOCKET):
        await house.settled(waiting["commandId"], "executed")

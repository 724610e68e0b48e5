"""A share gives what it says, until the moment that it ends."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from doorlock.times import iso, parse_time, utc_now
from tests.support.daemon import Daemon, Enrolled
from tests.support.devices import WEBSOCKET, BareSocket, online, unlocked
from tests.support.mosquitto import needs_mosquitto
from tests.support.proxy import Proxy
from tests.support.waiting import until

_numbers = itertools.count(1)


@pytest.fixture
async def door(house: Daemon) -> Enrolled:
    return await house.register()


@pytest.fixture
async def guest(house: Daemon) -> str:
    name = f"guest-{os.getpid()}-{next(_numbers)}"
    assert (await house.cli("user", "add", name)).code == 0
    return name


async def share(house: Daemon, door: Enrolled, user: str, level: str, *more: str) -> None:
    done = await house.cli("share", door.name, user, "--permission", level, *more)
    assert done.code == 0, done


async def refusals(house: Daemon, door: Enrolled) -> list[str]:
    return [event["username"] for event in await house.events(door, "access_refused")]


async def test_view_sees_and_does_not_unlock(
    house: Daemon, door: Enrolled, guest: str, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        await share(house, door, guest, "view")
        assert (await house.cli("show", door.name, as_user=guest)).code == 0
        for verb in ("unlock", "lock", "restart"):
            done = await house.cli(verb, door.name, as_user=guest)
            assert done.code == 4, done
        assert (await house.cli("unlock", door.name, "--dry-run", as_user=guest)).code == 4
        assert list(device.heard) == []
    assert await refusals(house, door) == [guest] * 4
    refused = (await house.events(door, "access_refused"))[0]
    assert refused["payload"] == {"act": "unlock", "permission": "view"}
    assert refused["metadata"]["operator"], "the log names who acted for them, too"
    assert await house.commands(door) == []


async def test_a_stranger_is_not_told_that_the_door_exists(
    house: Daemon, door: Enrolled, guest: str
) -> None:
    for ref in (door.name, door.id, door.esp_id):
        refused = await house.cli("unlock", ref, as_user=guest)
        made_up = await house.cli("unlock", "made-up", as_user=guest)
        assert (refused.code, made_up.code) == (4, 4)
        assert refused.err.replace(ref, "made-up") == made_up.err
        assert (await house.cli("show", ref, as_user=guest)).code == 10


async def test_control_unlocks_until_it_is_revoked(
    house: Daemon, door: Enrolled, guest: str, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        await share(house, door, guest, "control")
        done = await house.cli("unlock", door.name, "--for", "1s", as_user=guest)
        assert done.code == 0, done
        assert (await house.cli("unshare", door.name, guest)).code == 0
        assert (await house.cli("unlock", door.name, as_user=guest)).code == 4
        assert len(unlocked(device)) == 1
    (command,) = await house.commands(door)
    assert command["issuedByName"] == guest


async def test_a_share_that_is_lowered_to_view_stops_working(
    house: Daemon, door: Enrolled, guest: str, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        await share(house, door, guest, "control")
        assert (await house.cli("lock", door.name, as_user=guest)).code == 0
        await share(house, door, guest, "view")
        assert (await house.cli("lock", door.name, as_user=guest)).code == 4
        assert [name for name, _ in device.heard] == ["lock_door"]


async def test_control_unlocks_until_the_second_that_it_expires(
    house: Daemon, door: Enrolled, guest: str
) -> None:
    """Asked again and again over the end: what was taken was taken before, and nothing after."""
    end = utc_now() + timedelta(seconds=1)
    body = {"user": guest, "permission": "control", "expiresAt": iso(end)}
    await house.client().post(f"/api/device/{door.id}/share", body)
    async with BareSocket(house, door) as device:
        await house.connections(door, WEBSOCKET)
        refused = await until(lambda: lock_as(house, door, guest, device), "the share ends")
        # 9: taken just before the end, and stopped by it before it was sent
        assert refused.code in (4, 9), refused
    end = parse_time(iso(end))
    sent = [one for one in await house.commands(door) if one["sentAt"]]
    taken = [parse_time(one["issuedAt"]) for one in sent]
    assert taken, "it had worked before"
    assert max(taken) < end <= utc_now()
    assert len(device.all("lock_door")) == len(taken)


async def lock_as(house: Daemon, door: Enrolled, guest: str, device: BareSocket) -> object:
    """What the command line said once it did not work any more."""
    before = len(device.all("lock_door"))
    asked = asyncio.ensure_future(house.cli("lock", door.name, as_user=guest))
    while not asked.done():
        heard = device.all("lock_door")
        if len(heard) > before:
            await device.ack(heard[-1]["commandId"], "executed")
            break
        await asyncio.wait({asked}, timeout=0.01)
    done = await asked
    return done if done.code != 0 else None


async def test_a_share_that_has_not_begun(
    house: Daemon, door: Enrolled, guest: str, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        await share(house, door, guest, "control", "--from", "1h", "--until", "2h")
        assert (await house.cli("unlock", door.name, as_user=guest)).code == 4
        assert device.actuations == []


async def test_a_disabled_user_can_do_nothing(
    house: Daemon, door: Enrolled, guest: str, tmp_path: Path
) -> None:
    async with online(house, door, tmp_path, WEBSOCKET) as device:
        await share(house, door, guest, "control")
        assert (await house.cli("user", "disable", guest, "-y")).code == 0
        assert (await house.cli("unlock", door.name, as_user=guest)).code == 4
        assert list(device.heard) == []


async def test_settings_that_wait_are_not_sent_for_whom_the_share_was_revoked(
    house: Daemon, door: Enrolled, guest: str
) -> None:
    """The one command that can wait between being asked and being sent."""
    await share(house, door, guest, "control")
    done = await house.cli("set", door.name, "capture-mode=manual", as_user=guest)
    assert done.code == 0, done
    (command,) = await house.commands(door)
    assert (await house.cli("unshare", door.name, guest)).code == 0
    async with BareSocket(house, door) as device:
        await house.settled(command["commandId"], "cancelled")
        fresh = asyncio.ensure_future(house.cli("lock", door.name))
        first = await device.command()
        assert first["command"] == "lock_door"
        await device.ack(first["commandId"], "executed")
        assert (await fresh).code == 0
    assert guest in await refusals(house, door)
    assert await house.events(door, "command_sent", command=command["commandId"]) == []


@needs_mosquitto
async def test_nothing_fails_over_for_whom_the_share_was_revoked_meanwhile(
    new_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Sent over a connection that swallows it; before the other one is tried, the share ends."""
    daemon = new_daemon(commands_failover_after="500ms", commands_timeout="1s").start()
    door = await daemon.register()
    assert (await daemon.cli("user", "add", "guest")).code == 0
    await share(daemon, door, "guest", "control")
    async with Proxy(daemon.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with online(daemon, door, tmp_path, url=url) as device:
            proxy.freeze()
            body = {"command": "unlock_door", "payload": {"duration": 1000}}
            path = f"/api/device/{door.id}/command"
            asked = (await daemon.client("guest").post(path, body)).data
            await daemon.first_event(door, "command_sent")
            await daemon.client().delete(f"/api/device/{door.id}/share/guest")
            await daemon.settled(asked["commandId"], "timed_out")
            assert device.actuations == []
    sent = await daemon.events(door, "command_sent")
    assert [event["payload"]["via"] for event in sent] == [WEBSOCKET]

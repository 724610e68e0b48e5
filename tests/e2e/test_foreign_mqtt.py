"""`mosquitto_pub` and `mosquitto_sub` as the device, in either version of MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doorlock.protocol import command_topic, event_topic, response_topic, status_topic
from tests.support.daemon import Daemon, Enrolled
from tests.support.devices import MQTT, ack_of
from tests.support.mosquitto import needs_mosquitto
from tests.support.waiting import until

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")
pytestmark = [
    needs_mosquitto,
    pytest.mark.skipif(
        PUB is None or SUB is None, reason="needs mosquitto-clients: mosquitto_pub, mosquitto_sub"
    ),
]
VERSIONS = ["mqttv311", "mqttv5"]


class Shell:
    """A device made of two shell commands."""

    def __init__(self, daemon: Daemon, enrolled: Enrolled, version: str) -> None:
        self.enrolled = enrolled
        host = ["-h", "127.0.0.1", "-p", str(daemon.mqtt_port), "-V", version]
        self._who = [*host, "-u", enrolled.id, "-P", enrolled.token, "-q", "1"]

    async def publish(self, topic: str, body: Any, *options: str) -> int:
        assert PUB is not None
        process = await asyncio.create_subprocess_exec(
            PUB,
            *self._who,
            "-t",
            topic,
            "-s",
            *options,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
        )
        await asyncio.wait_for(process.communicate(json.dumps(body).encode()), 20)
        assert process.returncode is not None
        return process.returncode

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.StreamReader]:
        """What arrives on its commands' topic, a line a message."""
        assert SUB is not None
        process = await asyncio.create_subprocess_exec(
            *("stdbuf", "-oL", SUB),  # into a pipe it would keep its lines to itself
            *self._who,
            "-d",
            "-F",
            "%r %t %p",
            "-t",
            command_topic(self.enrolled.id),
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
        )
        try:
            assert process.stdout is not None
            await asyncio.wait_for(process.stdout.readuntil(b"Subscribed"), 20)
            yield process.stdout
        finally:
            process.kill()
            await process.wait()


async def next_message(lines: asyncio.StreamReader) -> dict[str, Any]:
    while True:
        line = await asyncio.wait_for(lines.readline(), 20)
        assert line, "mosquitto_sub ended"
        if line.startswith((b"0 iot/", b"1 iot/")):
            retained, _, body = line.split(b" ", 2)
            assert retained == b"0", "a command is never retained"
            message: dict[str, Any] = json.loads(body)
            return message


async def sensed(house: Daemon, door: Enrolled) -> bool:
    return bool((await house.device(door))["lockStateSource"] == "sensor")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_shell_script_is_a_door(house: Daemon, version: str) -> None:
    door = await house.register()
    shell = Shell(house, door, version)
    online = {"status": "online", "espId": door.esp_id, "metadata": {"rssi": -50}}
    assert await shell.publish(status_topic(door.id), online, "-r") == 0
    await house.connections(door, MQTT)
    # a device is one connection: what is published meanwhile would take the listener's place
    async with shell.listening() as lines:
        waiting = asyncio.ensure_future(house.cli("unlock", door.name, "--for", "1s"))
        heard = await next_message(lines)
    assert (heard["command"], heard["duration"]) == ("unlock_door", 1000)
    assert heard["payload"] == {"duration": 1000}
    assert heard["deviceId"] == door.id
    for status in ("received", "executed"):
        ack = ack_of(door, heard["commandId"], status)
        assert await shell.publish(response_topic(door.id), ack) == 0
    done = await waiting
    assert done.code == 0, done
    assert " via mqtt" in done.out
    moved = {"status": "locked", "triggeredBy": "auto", "batteryLevel": 70}
    body = {"event": "door_status_changed", "data": moved}
    assert await shell.publish(event_topic(door.id), body) == 0
    await until(lambda: sensed(house, door), "the sensor's word has arrived")
    assert await shell.publish(status_topic(door.id), {"status": "offline"}, "-r") == 0
    await house.connections(door)
    shown = await house.device(door)
    assert (shown["lockState"], shown["battery"]) == ("locked", 70)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_wrong_password_gets_nowhere(house: Daemon, version: str) -> None:
    door = await house.register()
    stranger = Enrolled(door.id, door.name, door.esp_id, "0" * 64)
    online = {"status": "online", "espId": door.esp_id}
    assert await Shell(house, stranger, version).publish(status_topic(door.id), online) != 0
    assert await Shell(house, door, version).publish(status_topic(door.id), online) == 0
    await house.connections(door, MQTT)


async def test_a_rotated_token_ends_the_shell(house: Daemon) -> None:
    door = await house.register()
    shell = Shell(house, door, "mqttv311")
    assert await shell.publish(status_topic(door.id), {"status": "online"}) == 0
    await house.connections(door, MQTT)
    rotated = await house.cli("token", "rotate", door.name, "-y", "-q")
    assert rotated.code == 0, rotated
    house.secrets.append(rotated.out.strip())
    await house.connections(door)
    assert await shell.publish(status_topic(door.id), {"status": "online"}) != 0
    fresh = Enrolled(door.id, door.name, door.esp_id, rotated.out.strip())
    again = Shell(house, fresh, "mqttv5")
    assert await again.publish(status_topic(door.id), {"status": "online"}) == 0
    await house.connections(door, MQTT)

"""A command that has expired reaches nobody, whatever the broker keeps for whom."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from doorlock.daemon.ports import NotConnected, Outgoing
from doorlock.protocol import command_topic
from tests.support.mosquitto import (
    PERSISTENT,
    House,
    a_command,
    a_house,
    cut,
    eventually,
    needs_mosquitto,
    next_command,
    say_status,
)

pytestmark = needs_mosquitto


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as house:
        yield house


@pytest.mark.parametrize("options", PERSISTENT.values(), ids=PERSISTENT.keys())
async def test_a_device_that_comes_back_after_the_deadline_hears_nothing(
    house: House, options: dict[str, Any]
) -> None:
    device = await house.add()
    # It leaves without a goodbye and the daemon still believes it there.
    with contextlib.suppress(aiomqtt.MqttError):
        async with house.online(device, **options) as client:
            cut(client)
            async for _ in client.messages:
                pass
    late = a_command(device, seconds=2)
    await house.mqtt.gateway.send_command(late, device, datetime.now(UTC))
    await eventually(lambda: datetime.now(UTC) > late.expires_at, "the command has expired")
    async with house.client(device, **options) as client:
        await client.subscribe(command_topic(device.id), qos=1)
        fresh = a_command(device)
        await house.mqtt.gateway.send_command(fresh, device, datetime.now(UTC))
        assert (await next_command(client))["commandId"] == fresh.id


async def test_the_broker_would_have_kept_what_does_not_expire(house: House) -> None:
    """What the test above relies on: this device's session does hold messages."""
    device = await house.add()
    async with house.online(device, **PERSISTENT["mqtt5"]):
        pass
    await house.mqtt.gateway.tell(Outgoing(device.id, "door_decision", {"visitorId": "v"}))
    async with house.client(device, **PERSISTENT["mqtt5"]) as client:
        assert (await next_command(client))["command"] == "door_decision"


async def test_a_broker_that_restarts_has_forgotten_what_was_on_its_way(house: House) -> None:
    device = await house.add()
    async with house.online(device, **PERSISTENT["mqtt5"]):
        pass
    await house.mqtt.gateway.send_command(a_command(device), device, datetime.now(UTC))
    broker = house.mqtt._broker
    assert broker is not None
    process = broker._process
    assert process is not None
    process.terminate()  # as it would write down what it has
    await eventually(lambda: house.mqtt._uplink.connects == 2, "the daemon is back on the broker")
    async with house.client(device, **PERSISTENT["mqtt5"]) as client:
        await client.subscribe(command_topic(device.id), qos=1)
        with pytest.raises(NotConnected):  # it has not spoken yet
            await house.mqtt.gateway.send_command(a_command(device), device, datetime.now(UTC))
        await say_status(client, device, "online")
        await eventually(lambda: device.id in house.sink.online, "it is online")
        fresh = a_command(device)
        await house.mqtt.gateway.send_command(fresh, device, datetime.now(UTC))
        assert (await next_command(client))["commandId"] == fresh.id

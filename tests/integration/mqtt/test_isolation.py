"""No device can speak for another, hear another, or take another's place."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.gateways.dynsec import CONTROL_TOPIC
from doorlock.protocol import command_topic, event_topic, response_topic, status_topic
from tests.support.mosquitto import (
    House,
    a_command,
    a_house,
    eventually,
    needs_mosquitto,
    next_command,
    say,
)

pytestmark = needs_mosquitto


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as house:
        yield house


async def still_works(house: House, device: Device, client: aiomqtt.Client) -> None:
    """The device's own connection lives, and hears its commands and nothing before them."""
    command = a_command(device)
    await house.mqtt.gateway.send_command(command, device, datetime.now(UTC))
    assert (await next_command(client))["commandId"] == command.id


async def refused(house: House, device: Device, **options: Any) -> None:
    with pytest.raises(aiomqtt.MqttCodeError):
        async with house.client(device, **options):
            pass


async def test_a_wrong_password_is_refused_and_disturbs_nobody(house: House) -> None:
    device = await house.add()
    async with house.online(device) as client:
        await refused(house, device, password="0" * 64)
        await refused(house, device, username=None, password=None)
        await still_works(house, device, client)
    assert house.sink.reasons(device) == []


async def test_another_clients_id_takes_over_nothing(house: House) -> None:
    mine, theirs = await house.add(), await house.add()
    async with house.online(theirs) as victim, house.client(mine, identifier=theirs.id) as client:
        await client.subscribe(command_topic(mine.id), qos=1)
        await say(client, mine, "motion_detected")
        await eventually(lambda: mine.id in house.sink.online, "it is itself")
        await still_works(house, theirs, victim)
        await still_works(house, mine, client)


@pytest.mark.parametrize("address", [response_topic, status_topic, event_topic, command_topic])
async def test_a_device_cannot_publish_on_anothers_topics(house: House, address: Any) -> None:
    mine, theirs = await house.add(), await house.add()
    body = {"commandId": "c", "status": "executed", "event": "motion_detected", "data": {}}
    async with house.online(mine) as client, house.online(theirs) as victim:
        before = len(house.sink.said)
        await client.publish(address(theirs.id), json.dumps(body), 1)
        await say(client, mine, "motion_detected")  # after it, so it has been dealt with
        await eventually(lambda: len(house.sink.reports(mine)) == 2, "the honest one is reported")
        await still_works(house, theirs, victim)
    assert [x[1] for x in house.sink.said[before:]] == [mine.id]


@pytest.mark.parametrize("pattern", ["iot/commands/{}", "iot/commands/+", "#", "iot/#", "$SYS/#"])
async def test_a_device_cannot_hear_anothers_commands(house: House, pattern: str) -> None:
    mine, theirs = await house.add(), await house.add()
    async with house.online(mine) as client, house.online(theirs) as victim:
        await client.subscribe(pattern.format(theirs.id), qos=1)
        await still_works(house, theirs, victim)
        await still_works(house, mine, client)  # the first thing that it hears is its own


async def test_a_device_cannot_administer_the_broker(house: House) -> None:
    mine, theirs = await house.add(), await house.add()
    command = {"commands": [{"command": "deleteClient", "username": theirs.id}]}
    async with house.online(mine) as client, house.online(theirs) as victim:
        await client.publish(CONTROL_TOPIC, json.dumps(command), 1)
        await say(client, mine, "motion_detected")
        await eventually(lambda: len(house.sink.reports(mine)) == 2, "the honest one is reported")
        await still_works(house, theirs, victim)
    assert theirs.id in await house.mqtt.dynsec.known()


async def test_the_daemons_name_is_not_to_be_had(house: House) -> None:
    device = await house.add()
    for password in ("", "doorlockd", house.tokens[device.id]):
        await refused(house, device, username="doorlockd", password=password)
    assert house.mqtt.connected


async def test_a_new_token_ends_the_old_session(house: House) -> None:
    device = await house.add()
    old = house.tokens[device.id]
    with pytest.raises(aiomqtt.MqttError):
        async with house.online(device) as client:
            house.tokens[device.id] = secrets.token_hex(32)
            await house.mqtt.credentials.grant(device.id, house.tokens[device.id])
            async for _ in client.messages:
                pass
    await refused(house, device, password=old)
    async with house.online(device) as client:
        await still_works(house, device, client)


async def test_a_withdrawn_device_is_off_and_stays_off(house: House) -> None:
    device = await house.add()
    with pytest.raises(aiomqtt.MqttError):
        async with house.online(device) as client:
            await house.mqtt.credentials.withdraw(device.id)
            async for _ in client.messages:
                pass
    await refused(house, device)
    await house.mqtt.credentials.withdraw(device.id)  # harmless twice
    assert device.id not in await house.mqtt.dynsec.known()


async def test_the_older_topics_are_closed(house: House) -> None:
    device = await house.add()
    async with house.online(device) as client:
        body = {"deviceId": device.id, "status": "offline"}
        await client.publish("/door/lock/status", json.dumps(body), 1)
        await still_works(house, device, client)
    assert house.sink.reasons(device) == []

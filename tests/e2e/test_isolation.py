"""One device cannot acknowledge, report for, or hear the commands of another."""

from __future__ import annotations

import asyncio
from typing import Any

import aiomqtt
import pytest
from socketio.exceptions import ConnectionError as Refused

from doorlock.protocol import command_topic, event_topic, response_topic, status_topic
from tests.support.daemon import Daemon, Enrolled
from tests.support.devices import MQTT, WEBSOCKET, Bare, BareMqtt, BareSocket, ack_of
from tests.support.mosquitto import needs_mosquitto

TRANSPORTS = [
    pytest.param(BareSocket, id=WEBSOCKET),
    pytest.param(BareMqtt, marks=needs_mosquitto, id=MQTT),
]
Kind = type[BareSocket] | type[BareMqtt]


@pytest.fixture
async def mine(house: Daemon) -> Enrolled:
    return await house.register()


@pytest.fixture
async def theirs(house: Daemon) -> Enrolled:
    return await house.register()


async def told_to_unlock(house: Daemon, victim: Bare) -> dict[str, Any]:
    """A running command of the victim, which has heard it and said nothing yet."""
    body = {"command": "unlock_door", "payload": {"duration": 1000}}
    await house.client().post(f"/api/device/{victim.enrolled.id}/command", body)
    return await victim.command()


async def spoke(house: Daemon, device: Bare) -> None:
    """What the device said before this has been dealt with."""
    before = len(await house.events(device.enrolled, "motion_detected"))
    await device.say("motion_detected", confidence=50 + before)
    async with asyncio.timeout(15):
        while len(await house.events(device.enrolled, "motion_detected")) == before:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("claimed", ["own", "victim's", "none"])
async def test_acknowledging_anothers_command(
    house: Daemon, mine: Enrolled, theirs: Enrolled, kind: Kind, claimed: str
) -> None:
    async with kind(house, mine) as attacker, kind(house, theirs) as victim:
        await house.connections(theirs, MQTT if kind is BareMqtt else WEBSOCKET)
        sent = await told_to_unlock(house, victim)
        body = ack_of(mine, sent["commandId"], "executed")
        body["deviceId"] = {"own": mine.id, "victim's": theirs.id, "none": None}[claimed]
        if isinstance(attacker, BareMqtt):
            await attacker.publish(response_topic(mine.id), body)
        else:
            await attacker.say("command_ack", **body)
        await spoke(house, attacker)
        assert (await house.command(sent["commandId"]))["status"] == "sent"
        (rejected,) = await house.events(mine, "message_rejected")
        assert rejected["payload"]["reason"]
        await victim.ack(sent["commandId"], "executed")
        await house.settled(sent["commandId"], "executed")
    assert await house.events(theirs, "message_rejected") == []


@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("door_status_changed", {"status": "unlocked"}),
        ("low_battery", {"batteryLevel": 1}),
        ("device_heartbeat", {"status": "maintenance", "batteryLevel": 1}),
        ("error_occurred", {"errorCode": "x", "errorMessage": "y"}),
    ],
)
async def test_reporting_for_another(
    house: Daemon, mine: Enrolled, theirs: Enrolled, kind: Kind, event: str, data: dict[str, Any]
) -> None:
    async with kind(house, mine) as attacker:
        await attacker.say(event, deviceId=theirs.id, **data)
        await spoke(house, attacker)
    shown = await house.device(theirs)
    assert (shown["lockState"], shown["battery"], shown["online"]) == ("unknown", None, False)
    assert [e["eventType"] for e in await house.events(theirs)] == ["device_registered"]
    (rejected,) = await house.events(mine, "message_rejected")
    assert rejected["deviceId"] == mine.id


@needs_mosquitto
@pytest.mark.parametrize("address", [response_topic, status_topic, event_topic, command_topic])
async def test_publishing_on_anothers_topic(
    house: Daemon, mine: Enrolled, theirs: Enrolled, address: Any
) -> None:
    async with BareMqtt(house, mine) as attacker, BareMqtt(house, theirs) as victim:
        await house.connections(theirs, MQTT)
        sent = await told_to_unlock(house, victim)
        body = ack_of(theirs, sent["commandId"], "executed")
        motion = {"event": "motion_detected", "data": {"deviceId": theirs.id}}
        await attacker.publish(address(theirs.id), {**body, **motion})
        await spoke(house, attacker)
        await spoke(house, victim)
        assert (await house.command(sent["commandId"]))["status"] == "sent"
        assert len(await house.events(theirs, "motion_detected")) == 1
        assert victim.heard == []
        await victim.ack(sent["commandId"], "failed")


@needs_mosquitto
async def test_hearing_anothers_commands_over_mqtt(
    house: Daemon, mine: Enrolled, theirs: Enrolled
) -> None:
    async with BareMqtt(house, mine) as attacker, BareMqtt(house, theirs) as victim:
        for pattern in (command_topic(theirs.id), "iot/commands/+", "iot/#", "#", "+/+/+"):
            await attacker.client.subscribe(pattern, qos=1)
        await house.connections(theirs, MQTT)
        await house.connections(mine, MQTT)
        sent = await told_to_unlock(house, victim)
        # its own comes after the other's, on the same broker
        assert (await told_to_unlock(house, attacker))["deviceId"] == mine.id
        attacker.heard = [one for one in attacker.heard if one[0] != status_topic(mine.id)]
        assert attacker.heard == []
        await victim.ack(sent["commandId"], "failed")


async def test_hearing_anothers_commands_over_socketio(
    house: Daemon, mine: Enrolled, theirs: Enrolled
) -> None:
    async with BareSocket(house, mine) as attacker, BareSocket(house, theirs) as victim:
        for event in ("subscribe_device", "join", "device_register"):
            await attacker.say(event, deviceId=theirs.id, room=theirs.id, espId=theirs.esp_id)
        await spoke(house, attacker)
        await house.connections(theirs, WEBSOCKET)
        sent = await told_to_unlock(house, victim)
        assert (await told_to_unlock(house, attacker))["deviceId"] == mine.id
        assert [name for name, _ in attacker.heard if name != "error"] == []
        await victim.ack(sent["commandId"], "failed")


async def test_a_token_opens_one_device_alone(
    house: Daemon, mine: Enrolled, theirs: Enrolled
) -> None:
    attacker = BareSocket(house, theirs)
    with pytest.raises(Refused):
        await attacker.connect(mine.token)
    assert not (await house.device(theirs))["activated"]


@needs_mosquitto
@pytest.mark.parametrize(
    "claim", [{"username": "theirs"}, {"username": "doorlockd"}, {"password": ""}]
)
async def test_the_broker_lets_nobody_in_as_another(
    house: Daemon, mine: Enrolled, theirs: Enrolled, claim: dict[str, str]
) -> None:
    options = {key: theirs.id if value == "theirs" else value for key, value in claim.items()}
    with pytest.raises(aiomqtt.MqttCodeError):
        async with BareMqtt(house, mine, **options):
            pass


@needs_mosquitto
async def test_anothers_client_id_does_not_end_its_session(
    house: Daemon, mine: Enrolled, theirs: Enrolled
) -> None:
    async with BareMqtt(house, theirs) as victim, BareMqtt(house, mine, identifier=theirs.id):
        await house.connections(theirs, MQTT)
        sent = await told_to_unlock(house, victim)
        await victim.ack(sent["commandId"], "executed")
        await house.settled(sent["commandId"], "executed")
    assert await house.events(theirs, "message_rejected") == []

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import pytest

from doorlock.daemon.domain.reports import CommandAck, Heartbeat, Motion
from doorlock.daemon.ports import NotConnected, Outgoing
from doorlock.protocol import (
    CommandName,
    DeviceType,
    Transport,
    command_topic,
    response_topic,
    status_topic,
)
from tests.support.mosquitto import (
    House,
    a_command,
    a_device,
    a_house,
    cut,
    eventually,
    needs_mosquitto,
    next_command,
    say,
    say_status,
    will_of,
)

pytestmark = needs_mosquitto


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as house:
        yield house


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_command_goes_down_and_its_ack_comes_up(house: House) -> None:
    device = await house.add()
    async with house.online(device) as client:
        command = a_command(device, duration=5000)
        await house.mqtt.gateway.send_command(command, device, now())
        heard = await next_command(client)
        assert heard["command"] == "unlock_door"
        assert heard["commandId"] == command.id
        assert heard["duration"] == heard["payload"]["duration"] == 5000
        ack = {"commandId": command.id, "deviceId": device.id, "status": "executed"}
        await client.publish(response_topic(device.id), json.dumps(ack), 1)
        await eventually(lambda: len(house.sink.reports(device)) == 2, "the ack is reported")
    first, second = house.sink.reports(device)
    assert isinstance(first, Heartbeat)
    assert isinstance(second, CommandAck)
    assert second.command_id == command.id


async def test_a_camera_over_mqtt_hears_a_command_once(house: House) -> None:
    camera = await house.add(DeviceType.CAMERA)
    async with house.online(camera) as client:
        for name in (CommandName.REQUEST_SNAPSHOT, CommandName.RESTART_DEVICE):
            await house.mqtt.gateway.send_command(a_command(camera, name), camera, now())
        heard = [(await next_command(client))["command"] for _ in range(2)]
    assert heard == ["request_snapshot", "restart_device"]


async def test_the_session_says_what_it_is(house: House) -> None:
    device = await house.add()
    async with house.online(device):
        session = next(x[2] for x in house.sink.said if x[0] == "connected")
    assert session.id == f"mqtt:{device.id}"
    assert session.transport is Transport.MQTT


async def test_any_live_message_opens_the_session_once(house: House) -> None:
    device = await house.add()
    async with house.client(device) as client:
        for _ in range(3):
            await say(client, device, "motion_detected", deviceId=device.id, confidence=80)
        await eventually(lambda: len(house.sink.reports(device)) == 3, "all three are reported")
    assert [x[0] for x in house.sink.said].count("connected") == 1
    assert all(isinstance(report, Motion) for report in house.sink.reports(device))


async def test_saying_offline_ends_the_session(house: House) -> None:
    device = await house.add()
    async with house.online(device) as client:
        await say_status(client, device, "offline")
        await eventually(lambda: device.id not in house.sink.online, "it is offline")
    assert house.sink.reasons(device) == ["said offline"]
    with pytest.raises(NotConnected):
        await house.mqtt.gateway.send_command(a_command(device), device, now())


async def test_the_last_will_ends_the_session(house: House) -> None:
    device = await house.add()
    with pytest.raises(aiomqtt.MqttError):
        async with house.online(device, will=will_of(device)) as client:
            cut(client)
            async for _ in client.messages:
                pass
    await eventually(lambda: device.id not in house.sink.online, "its will was heard")


async def test_a_reconnect_does_not_end_in_its_own_last_will(house: House) -> None:
    device = await house.add()
    async with house.online(device, will=will_of(device)):
        second = house.client(device, will=will_of(device))
        async with second:
            await say_status(second, device, "online")
            await say(second, device, "motion_detected")
            await eventually(
                lambda: any(isinstance(r, Motion) for r in house.sink.reports(device)),
                "the second connection is heard",
            )
            assert device.id in house.sink.online


async def test_a_retained_status_puts_nobody_online(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        device = await house.add()
        async with house.online(device):
            pass  # leaves its `online` on the broker
        before = len(house.sink.said)
        link = house.mqtt._uplink.link
        assert link is not None
        link.abort("the test cuts it")
        await eventually(lambda: house.mqtt._uplink.connects == 2, "it is connected again")
        other = await house.add()
        async with house.online(other):
            pass  # everything that came with the subscription was before this
        later = house.sink.said[before:]
        assert ("disconnected", device.id, "broker connection lost") in later
        assert not any(x[0] in ("connected", "report") and x[1] == device.id for x in later)
        assert device.id not in house.sink.online


async def test_a_lost_broker_connection_ends_every_session_until_devices_speak(
    house: House,
) -> None:
    devices = [await house.add() for _ in range(3)]
    async with house.online(devices[0]) as one, house.online(devices[1]), house.online(devices[2]):
        link = house.mqtt._uplink.link
        assert link is not None
        link.abort("the test cuts it")
        await eventually(lambda: not house.sink.online, "all of them are offline")
        await eventually(lambda: house.mqtt._uplink.connects == 2, "it is connected again")
        with pytest.raises(NotConnected):
            await house.mqtt.gateway.send_command(a_command(devices[0]), devices[0], now())
        await say(one, devices[0], "device_heartbeat", deviceId=devices[0].id)
        await eventually(lambda: house.sink.online == {devices[0].id}, "the one that spoke is back")
        await house.mqtt.gateway.send_command(a_command(devices[0]), devices[0], now())


async def test_nobody_subscribed_counts_as_not_connected(house: House) -> None:
    device = await house.add()
    async with house.client(device) as client:
        await say_status(client, device, "online")
        await eventually(lambda: device.id in house.sink.online, "it spoke")
        with pytest.raises(NotConnected):
            await house.mqtt.gateway.send_command(a_command(device), device, now())


async def test_what_has_expired_is_not_sent(house: House) -> None:
    device = await house.add()
    async with house.online(device) as client:
        with pytest.raises(NotConnected):
            await house.mqtt.gateway.send_command(a_command(device, seconds=-1), device, now())
        fresh = a_command(device)
        await house.mqtt.gateway.send_command(fresh, device, now())
        assert (await next_command(client))["commandId"] == fresh.id


async def test_malformed_messages_are_rejected_and_nothing_else_happens(house: House) -> None:
    device, other = await house.add(), await house.add()
    async with house.online(device) as client:
        await client.publish(response_topic(device.id), b"{", 1)
        await client.publish(response_topic(device.id), json.dumps({"status": "executed"}), 1)
        foreign = {"commandId": "c", "deviceId": other.id, "status": "executed"}
        await client.publish(response_topic(device.id), json.dumps(foreign), 1)
        await say(client, device, "motion_detected")
        await eventually(lambda: len(house.sink.reports(device)) == 2, "the good one is reported")
    rejected = [x for x in house.sink.said if x[0] == "rejected"]
    assert [x[3] for x in rejected] == [
        "the message is not JSON",
        "commandId is missing",
        "it speaks for another device",
    ]
    assert {x[1] for x in rejected} == {device.id}


async def test_a_device_that_is_not_welcome_gets_no_session(house: House) -> None:
    device = await house.add()
    stranger = await house.add()
    del house.sink.welcome[stranger.id]
    async with house.client(stranger) as client, house.online(device):
        await say_status(client, stranger, "online")
        await eventually(lambda: house.mqtt.gateway.refused == 1, "it was refused")
    assert stranger.id not in house.sink.online
    assert not house.sink.reports(stranger)


async def test_messages_of_a_device_keep_their_order(house: House) -> None:
    device = await house.add()
    async with house.online(device) as client:
        house.sink.hold = asyncio.Event()
        for number in range(50):
            await say(client, device, "low_battery", batteryLevel=number)
        house.sink.hold.set()
        await eventually(lambda: len(house.sink.reports(device)) == 51, "all are reported")
    levels = [report.battery_level for report in house.sink.reports(device)[1:]]  # type: ignore[attr-defined]
    assert levels == list(range(50))


async def test_a_slow_device_does_not_hold_up_another(house: House) -> None:
    slow, quick = await house.add(), await house.add()
    async with house.online(slow) as one, house.online(quick) as other:
        gate = house.sink.hold = asyncio.Event()
        await say(one, slow, "motion_detected")
        await eventually(lambda: slow.id in house.mqtt.gateway._inbox._waiting, "it is handled")
        house.sink.hold = None
        await say(other, quick, "motion_detected")
        await eventually(lambda: len(house.sink.reports(quick)) == 2, "the quick one is through")
        assert len(house.sink.reports(slow)) == 1
        gate.set()
        await eventually(lambda: len(house.sink.reports(slow)) == 2, "the slow one too")


async def test_drop_puts_the_device_off_the_broker(house: House) -> None:
    device = await house.add()
    with pytest.raises(aiomqtt.MqttError):
        async with house.online(device) as client:
            await house.mqtt.gateway.drop(device.id, "its token was rotated")
            assert house.sink.reasons(device)[0] == "its token was rotated"
            async for _ in client.messages:
                pass
    assert device.id not in house.sink.online
    async with house.online(device):
        pass  # it may come back


async def test_tell_reaches_the_device_and_names_its_event(house: House) -> None:
    device = await house.add(DeviceType.CAMERA)
    message = Outgoing(device.id, "access_granted", {"visitorId": "v"}, None)
    await house.mqtt.gateway.tell(message)  # nobody there: nothing happens
    async with house.online(device) as client:
        await house.mqtt.gateway.tell(message)
        assert await next_command(client) == {"command": "access_granted", "visitorId": "v"}


async def test_topics_of_nobody_are_counted(house: House) -> None:
    link = house.mqtt._uplink.link
    assert link is not None
    await link.publish(status_topic("not-an-id"), b'{"status": "online"}', qos=1)
    await eventually(lambda: house.mqtt.gateway.refused == 1, "it was refused")


async def test_a_foreign_device_of_the_same_broker_is_unknown(house: House) -> None:
    with pytest.raises(NotConnected):
        device = a_device()
        await house.mqtt.gateway.send_command(a_command(device), device, now())


async def test_no_command_is_retained(house: House) -> None:
    device = await house.add()
    async with house.online(device) as client:
        await house.mqtt.gateway.send_command(a_command(device), device, now())
        await next_command(client)
    async with house.client(device) as client:
        await client.subscribe(command_topic(device.id), qos=1)
        house.sink.said.clear()
        await say_status(client, device, "online")
        await eventually(lambda: bool(house.sink.reports(device)), "it is there")
        marker = a_command(device)
        await house.mqtt.gateway.send_command(marker, device, now())
        assert (await next_command(client))["commandId"] == marker.id


async def test_a_hop_does_not_wait_for_nagle(house: House) -> None:
    link = house.mqtt._uplink.link
    assert link is not None
    assert link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_large_event_passes(house: House) -> None:
    camera = await house.add(DeviceType.CAMERA)
    async with house.online(camera) as client:
        await say(client, camera, "snapshot", image="A" * 4_000_000)
        await eventually(lambda: len(house.sink.reports(camera)) == 2, "the picture is there")


async def test_stopping_ends_the_sessions(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        device = await house.add()
        async with house.online(device):
            await house.mqtt.gateway.stop()
            assert house.sink.reasons(device) == ["the daemon stops"]

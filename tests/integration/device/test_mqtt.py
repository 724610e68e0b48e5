"""A device over MQTT, against a real Mosquitto; and over both transports at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

import aiomqtt

from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from tests.integration.device.conftest import DEVICE_ID, Broker, Daemon, eventually, make_command

Maker = Callable[..., DeviceSpec]


def unlocks(device: Device, command_id: str) -> int:
    return sum(a["commandId"] == command_id and a["action"] == "unlock" for a in device.actuations)


async def test_an_unlock_over_mqtt(broker: Broker, make_spec: Maker) -> None:
    command = make_command()
    async with Device(make_spec(mqtt_url=broker.url)) as device:
        await device.connected("mqtt")
        await broker.send(command)
        await eventually(lambda: "executed" in broker.acks(command["commandId"]))
        assert unlocks(device, command["commandId"]) == 1
    assert broker.acks(command["commandId"]) == ["received", "executing", "executed"]
    states = [d["status"] for d in broker.events("door_status_changed")]
    assert states == ["locked", "unlocking", "unlocked", "locking", "locked"]
    assert broker.events("device_register")[0]["espId"] == "ESP32-REF"
    assert broker.events("device_heartbeat")[0]["deviceId"] == DEVICE_ID


async def test_online_goodbye_and_last_will(broker: Broker, make_spec: Maker) -> None:
    async with Device(make_spec(mqtt_url=broker.url)) as device:
        await eventually(lambda: broker.statuses() == ["online"])
        device.cut("mqtt")
        await eventually(lambda: broker.statuses() == ["online", "offline"])
        device.restore("mqtt")
        await eventually(lambda: broker.statuses()[2:] == ["online"])
    await eventually(lambda: broker.statuses()[3:] == ["offline"])
    async with aiomqtt.Client("127.0.0.1", broker.port, username="daemon", password="d") as late:
        await late.subscribe(f"iot/status/{DEVICE_ID}", qos=1)
        async with asyncio.timeout(5):
            message = await anext(late.messages)
    assert message.retain
    assert b'"offline"' in bytes(message.payload)


async def test_what_waited_at_the_broker_does_not_open(broker: Broker, make_spec: Maker) -> None:
    late, fresh = make_command(seconds=0.05), make_command()
    async with Device(make_spec(mqtt_url=broker.url, persistent_session=True)) as device:
        await device.connected("mqtt")
        device.cut("mqtt")
        await eventually(lambda: broker.statuses() == ["online", "offline"])
        await broker.send(late)
        await broker.send(fresh)
        await eventually(lambda: device.now().isoformat() > late["expiresAt"])
        device.restore("mqtt")
        await eventually(lambda: "executed" in broker.acks(fresh["commandId"]))
        assert broker.acks(late["commandId"]) == ["failed"]
        assert unlocks(device, late["commandId"]) == 0
        assert unlocks(device, fresh["commandId"]) == 1


async def test_without_a_persistent_session_nothing_waits(broker: Broker, make_spec: Maker) -> None:
    missed = make_command()
    async with Device(make_spec(mqtt_url=broker.url)) as device:
        await device.connected("mqtt")
        device.cut("mqtt")
        await eventually(lambda: broker.statuses() == ["online", "offline"])
        await broker.send(missed)
        device.restore("mqtt")
        await device.connected("mqtt")
        probe = make_command("lock_door")
        await broker.send(probe)
        await eventually(lambda: "executed" in broker.acks(probe["commandId"]))
        assert device.outcome(missed["commandId"]) is None


async def test_a_retained_command_is_ignored(broker: Broker, make_spec: Maker) -> None:
    retained, probe = make_command(), make_command("lock_door")
    await broker.send(retained, retain=True)
    async with Device(make_spec(mqtt_url=broker.url)) as device:
        await device.connected("mqtt")
        await broker.send(probe)
        await eventually(lambda: "executed" in broker.acks(probe["commandId"]))
        assert device.outcome(retained["commandId"]) is None


async def test_a_wrong_token_is_not_tried_again_hot(
    broker: Broker, make_spec: Maker, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, "doorlock.device")
    async with Device(make_spec(mqtt_url=broker.url, token="wrong")):
        await eventually(lambda: "refuses this device" in caplog.text)
    assert caplog.text.count("refuses this device") == 1


async def test_nagle_is_off(broker: Broker, make_spec: Maker) -> None:
    async with Device(make_spec(mqtt_url=broker.url)) as device:
        await device.connected("mqtt")
        link: Any = device._links[device.transports[0]]
        bare = link._client._client.socket()
        assert bare.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_one_id_over_both_transports_acts_once(
    daemon: Daemon, broker: Broker, make_spec: Maker
) -> None:
    command = make_command()
    async with Device(make_spec(url=daemon.url, mqtt_url=broker.url)) as device:
        await device.connected("mqtt")
        await device.connected("websocket")
        await daemon.send(command)
        await broker.send(command)
        await device.until(lambda: device.outcome(command["commandId"]) == "executed")
        everywhere = lambda: daemon.acks(command["commandId"]) + broker.acks(command["commandId"])  # noqa: E731
        await eventually(lambda: "executed" in everywhere())
        assert unlocks(device, command["commandId"]) == 1


async def test_the_outcome_takes_the_other_way_when_one_is_cut(
    daemon: Daemon, broker: Broker, make_spec: Maker
) -> None:
    for gone, left in (("websocket", broker), ("mqtt", daemon)):
        origin: Any = daemon if gone == "websocket" else broker
        command = make_command()
        async with Device(make_spec(url=daemon.url, mqtt_url=broker.url)) as device:
            await device.connected("mqtt")
            await device.connected("websocket")
            await origin.send(command)
            await device.until(lambda d=device: d.lock_value == "unlocked")
            device.cut(gone)
            await eventually(lambda e=left, c=command: "executed" in e.acks(c["commandId"]))
            assert unlocks(device, command["commandId"]) == 1


async def test_an_outcome_nobody_confirms_takes_the_other_way(
    daemon: Daemon, broker: Broker, make_spec: Maker
) -> None:
    command = make_command("lock_door")
    async with Device(make_spec(url=daemon.url, mqtt_url=broker.url)) as device:
        await device.connected("mqtt")
        await device.connected("websocket")
        await eventually(lambda: daemon.all("device_heartbeat"))
        daemon.deaf = True
        await daemon.send(command)
        await eventually(lambda: "executed" in broker.acks(command["commandId"]))


async def test_an_older_broker_gets_3_1_1(make_spec: Maker) -> None:
    levels: list[int] = []

    async def old_broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\x00\x04MQTT")
            [level] = await reader.readexactly(1)
            levels.append(level)
            writer.write(bytes([0x20, 2, 0, 0 if level == 4 else 1]))
            await writer.drain()
            await reader.read(65536)
        writer.close()

    server = await asyncio.start_server(old_broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Device(make_spec(mqtt_url=f"mqtt://127.0.0.1:{port}")):
        await eventually(lambda: 4 in levels)
    server.close()
    assert levels[0] == 5

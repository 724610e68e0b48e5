from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from structlog.testing import CapturingLogger

from doorlock.daemon.config import MqttSection
from doorlock.daemon.gateways import (
    dynsec,
    dynsec_file,
    mosquitto,
    mqtt,
    mqtt_part,
    mqtt_uplink,
)
from doorlock.daemon.gateways.dynsec import LEGACY_ROLE
from doorlock.daemon.gateways.mosquitto import Mosquitto, find_mosquitto
from doorlock.daemon.gateways.mqtt_part import Mqtt
from doorlock.errors import BadConfig
from tests.support.mosquitto import House, Sink, a_house, eventually, needs_mosquitto

pytestmark = needs_mosquitto

DAEMON = """
import asyncio, os, sys
from pathlib import Path
from doorlock.daemon.gateways.mosquitto import Mosquitto, find_mosquitto

async def main():
    found = find_mosquitto(os.environ["PATH"])
    broker = Mosquitto(found, Path(sys.argv[1]), "127.0.0.1", 0, legacy=False)
    await broker.start()
    await broker.address()
    print("pid", broker.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def broker_of(house: House) -> Mosquitto:
    assert house.mqtt._broker is not None
    return house.mqtt._broker


async def test_what_it_writes_is_for_the_daemon_alone(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await house.add()
        folder = tmp_path / "mosquitto"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        text = (folder / "dynsec.json").read_text() + (folder / "mosquitto.conf").read_text()
        secrets = [*house.tokens.values(), broker_of(house)._password]
        assert not [secret for secret in secrets if secret in text]


async def test_the_child_is_restarted_and_devices_still_know_their_tokens(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        device = await house.add()
        port = house.port
        process = broker_of(house)._process
        assert process is not None
        process.kill()
        await eventually(lambda: not house.mqtt.connected, "the connection is lost")
        await eventually(lambda: house.mqtt.connected, "it is back")
        assert house.port == port
        assert broker_of(house).restarts == 1
        async with house.online(device):
            pass


async def test_it_ends_with_the_daemon(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        pid = broker_of(house).pid
        assert pid is not None and runs(pid)
    assert not runs(pid)


async def test_a_later_daemon_takes_over_the_users(tmp_path: Path) -> None:
    async with a_house(tmp_path) as first:
        device = await first.add()
    async with a_house(tmp_path) as second:
        second.sink.add(device)
        second.tokens = first.tokens
        async with second.online(device):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs linux: parent death signal")
async def test_it_dies_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    try:
        line = b""
        while not line.startswith(b"pid "):
            line = await daemon.stdout.readline()
            assert line, "the daemon ended"
        pid = int(line.split()[1])
        assert runs(pid)
    finally:
        daemon.kill()
        await daemon.wait()
    await eventually(lambda: not runs(pid), "the broker is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="needs linux: /proc")
async def test_an_orphan_is_ended_before_a_new_one_starts(tmp_path: Path) -> None:
    installed = find_mosquitto(os.environ["PATH"])
    assert installed is not None
    async with a_house(tmp_path) as house:
        port = house.port
    folder = tmp_path / "mosquitto"
    orphan = await asyncio.create_subprocess_exec(
        str(installed.program),
        "-c",
        str(folder / "mosquitto.conf"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    (folder / "mosquitto.pid").write_text(str(orphan.pid))
    try:
        async with a_house(tmp_path, port=port) as again:
            assert again.port == port
            assert not runs(orphan.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            orphan.kill()
        await orphan.wait()


async def test_a_pid_file_that_names_somebody_else_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    (folder / "mosquitto.pid").write_text(str(bystander.pid))
    try:
        async with a_house(tmp_path):
            assert runs(bystander.pid)
    finally:
        bystander.send_signal(signal.SIGKILL)
        await bystander.wait()


async def test_a_port_that_is_taken_is_a_note_not_an_end_and_nobody_gets_our_password(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        house = House(tmp_path, port=taken.getsockname()[1])
        taken.setblocking(False)
        starting = asyncio.create_task(house.mqtt.start(house.sink))
        try:
            await eventually(lambda: "in use" in house.mqtt.health().message, "it says why")
            health = house.mqtt.health()
            assert health.status == "down"
            assert health.hint is not None and "mqtt.port" in health.hint
            with pytest.raises(BlockingIOError):
                taken.accept()
            taken.close()
            await eventually(lambda: house.mqtt.connected, "the port is free: it runs")
        finally:
            await starting
            await house.mqtt.stop()


async def test_off_for_want_of_mosquitto_it_says_how_to_get_it(tmp_path: Path) -> None:
    house = House(tmp_path)
    mqtt = Mqtt(MqttSection(), tmp_path, "127.0.0.1", None)
    mqtt_off = Mqtt(MqttSection(embedded="off"), tmp_path, "127.0.0.1", os.environ["PATH"])
    assert mqtt.mode == "embedded"  # found where daemons are kept, whatever the PATH
    assert (mqtt_off.mode, mqtt_off.health().status, mqtt_off.url) == ("off", "off", None)
    assert not mqtt_off.managed
    await mqtt_off.start(Sink())
    await mqtt_off.credentials.grant("a" * 24, "t")
    await mqtt_off.stop()
    assert house.mqtt.managed
    assert not (tmp_path / "mosquitto").exists()


async def test_without_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doorlock.daemon.gateways.mosquitto._MORE_PATH", ())
    with pytest.raises(BadConfig) as caught:
        Mqtt(MqttSection(embedded="on"), tmp_path, "127.0.0.1", str(tmp_path))
    assert caught.value.hint is not None and "apt install mosquitto" in caught.value.hint
    off = Mqtt(MqttSection(), tmp_path, "127.0.0.1", str(tmp_path))
    assert off.health().status == "off"
    assert "apt install mosquitto" in (off.health().hint or "")
    token, device_id = "f" * 64, "a" * 24
    await off.credentials.grant(device_id, token)
    await off.credentials.grant("b" * 24, token)
    await off.credentials.withdraw("b" * 24)
    monkeypatch.undo()
    async with a_house(tmp_path) as house:  # Mosquitto is installed later
        assert set(await house.mqtt.dynsec.known()) == {device_id}


async def test_a_broken_file_of_users_is_put_aside(tmp_path: Path) -> None:
    users = tmp_path / "mosquitto" / "dynsec.json"
    users.parent.mkdir()
    users.write_text('{"clients": [')
    async with a_house(tmp_path) as house:
        device = await house.add()
        async with house.online(device):
            pass
    assert users.with_suffix(".broken").read_text() == '{"clients": ['
    assert json.loads(users.read_text())["clients"]


async def test_health_counts(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        device = await house.add()
        async with house.online(device):
            health = house.mqtt.health()
        assert health.status == "ok"
        assert health.figures["sessions"] == 1
        assert health.figures["mqtt5"] is True
        assert health.figures["brokerPid"] == broker_of(house).pid
        assert health.figures["messagesIn"] >= 1
    assert house.mqtt.health().status == "down"


async def test_a_token_that_was_replaced_while_the_broker_was_off_no_longer_works(
    tmp_path: Path,
) -> None:
    async with a_house(tmp_path) as first:
        kept, replaced, revoked = [await first.add() for _ in range(3)]
    house = House(tmp_path)
    house.tokens = {kept.id: first.tokens[kept.id], replaced.id: "0" * 64}
    try:
        await house.start(house.hashes)
        await eventually(lambda: bool(house.mqtt.unprovisioned), "it has compared")
        assert set(await house.mqtt.dynsec.known()) == {kept.id}
        assert house.mqtt.unprovisioned == {replaced.id}
        assert "1 device" in house.mqtt.health().message
        house.tokens = first.tokens
        for device in (replaced, revoked):
            with pytest.raises(aiomqtt.MqttCodeError):
                async with house.client(device):
                    pass
        await house.mqtt.credentials.grant(replaced.id, house.tokens[replaced.id])
        assert not house.mqtt.unprovisioned
    finally:
        await house.mqtt.stop()


async def test_the_older_topics_open_and_close_with_the_setting(tmp_path: Path) -> None:
    async with a_house(tmp_path, legacy_topics=True) as house:
        device = await house.add()
        async with house.client(device) as client:
            body = {"deviceId": device.id, "status": "online"}
            await client.publish("/door/lock/status", json.dumps(body), 1)
            await eventually(lambda: device.id in house.sink.online, "it is online")
    users = json.loads((tmp_path / "mosquitto" / "dynsec.json").read_text())
    assert _topics(users, LEGACY_ROLE)
    async with a_house(tmp_path):
        users = json.loads((tmp_path / "mosquitto" / "dynsec.json").read_text())
    assert not _topics(users, LEGACY_ROLE)


def _topics(users: Any, role: str) -> list[str]:
    acls = next(r.get("acls", []) for r in users["roles"] if r["rolename"] == role)
    return [acl["topic"] for acl in acls]


async def test_no_secret_reaches_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CapturingLogger()
    for module in (mosquitto, mqtt, mqtt_part, mqtt_uplink, dynsec, dynsec_file):
        monkeypatch.setattr(module, "log", log)
    async with a_house(tmp_path) as house:
        device = await house.add()
        async with house.online(device):
            await house.mqtt.gateway.drop(device.id, "over")
        with pytest.raises(aiomqtt.MqttCodeError):
            async with house.client(device, password="not the secret"):
                pass
        await house.mqtt.credentials.withdraw(device.id)
        secrets = [house.tokens[device.id], broker_of(house)._password, "not the secret"]
    said = repr(log.calls)
    assert "dynsec" in said and "the embedded broker listens" in said
    assert not [secret for secret in secrets if secret in said]

"""A broker that the daemon did not start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from doorlock.daemon.gateways import mqtt as gateway_module
from doorlock.daemon.gateways.dynsec_file import DAEMON_NAME
from doorlock.daemon.gateways.mosquitto import find_mosquitto
from doorlock.daemon.gateways.mosquitto_conf import _commands, mosquitto_conf
from doorlock.errors import BadConfig, Unavailable
from doorlock.protocol import command_topic, response_topic
from tests.support.mosquitto import (
    PERSISTENT,
    House,
    Proxy,
    a_broker,
    a_command,
    a_device,
    cut,
    eventually,
    needs_mosquitto,
    next_command,
    own_broker_house,
    say,
    say_status,
)

pytestmark = needs_mosquitto

OPEN = ("allow_anonymous true", "set_tcp_nodelay true")


@contextlib.asynccontextmanager
async def connected(folder: Path, port: int, **settings: Any) -> AsyncIterator[House]:
    house = await own_broker_house(folder, f"mqtt://127.0.0.1:{port}", **settings)
    try:
        await eventually(lambda: house.mqtt.connected, "the daemon is connected")
        yield house
    finally:
        await house.mqtt.stop()


async def test_a_broker_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    house = await own_broker_house(tmp_path, f"mqtt://127.0.0.1:{port}")
    try:
        await eventually(lambda: "refused" in house.mqtt.health().message, "it says why")
        assert house.mqtt.health().status == "down"
        with pytest.raises(Unavailable):
            await house.mqtt.credentials.withdraw("a" * 24)
    finally:
        await house.mqtt.stop()


async def test_without_the_plugin_its_users_are_left_alone(tmp_path: Path) -> None:
    async with a_broker(tmp_path, *OPEN) as port, connected(tmp_path, port) as house:
        await eventually(lambda: house.mqtt.has_plugin is False, "it was asked in vain")
        assert not house.mqtt.managed
        device = await house.add()  # grants nothing, and says nothing
        assert house.mqtt.health().status == "ok"
        assert "not managed" in house.mqtt.health().message
        async with house.online(device) as client:
            command = a_command(device)
            await house.mqtt.gateway.send_command(command, device, datetime.now(UTC))
            assert (await next_command(client))["commandId"] == command.id
            await house.mqtt.gateway.drop(device.id, "over")


async def test_without_the_plugin_but_bound_to_provision_it_complains(tmp_path: Path) -> None:
    async with (
        a_broker(tmp_path, *OPEN) as port,
        connected(tmp_path, port, provision="on") as house,
    ):
        await eventually(lambda: house.mqtt.has_plugin is False, "it was asked in vain")
        assert house.mqtt.managed
        assert house.mqtt.health().status == "degraded"


async def test_a_wrong_password_is_said_and_a_mended_file_is_enough(tmp_path: Path) -> None:
    users, password = tmp_path / "users", tmp_path / "password"
    await run("mosquitto_passwd", "-b", "-c", str(users), "doorlockd", "right")
    password.write_text("wrong\n")
    lines = ("allow_anonymous false", f"password_file {users}")
    async with a_broker(tmp_path, *lines) as port:
        url = f"mqtt://127.0.0.1:{port}"
        house = await own_broker_house(
            tmp_path, url, username="doorlockd", password_file=password, provision="off"
        )
        try:
            await eventually(lambda: "not authorized" in house.mqtt.health().message, "it says so")
            assert "password_file" in (house.mqtt.health().hint or "")
            password.write_text("right\n")
            await eventually(lambda: house.mqtt.connected, "the right password works")
        finally:
            await house.mqtt.stop()


async def test_an_older_broker_gets_mqtt_3_and_keeps_nothing_for_the_absent(
    tmp_path: Path,
) -> None:
    """Such a broker cannot let a message expire, so it must not be given one to keep."""
    async with a_broker(tmp_path, *OPEN) as port, Proxy(port, refuse5=True) as proxy:  # noqa: SIM117
        async with connected(tmp_path, proxy.port, provision="off") as house:
            assert proxy.refusals == 1
            assert house.mqtt.health().figures["mqtt5"] is False
            device = await house.add()
            with contextlib.suppress(aiomqtt.MqttError):
                async with house.online(device, **PERSISTENT["mqtt3"]) as client:
                    heard = a_command(device)
                    await house.mqtt.gateway.send_command(heard, device, datetime.now(UTC))
                    assert (await next_command(client))["commandId"] == heard.id
                    cut(client)
                    async for _ in client.messages:
                        pass
            await house.mqtt.gateway.send_command(a_command(device), device, datetime.now(UTC))
            async with house.client(device, **PERSISTENT["mqtt3"]) as client:
                await say_status(client, device, "online")
                fresh = a_command(device)
                await house.mqtt.gateway.send_command(fresh, device, datetime.now(UTC))
                assert (await next_command(client))["commandId"] == fresh.id


async def test_a_retained_status_is_not_speech_where_the_broker_cannot_withhold_it(
    tmp_path: Path,
) -> None:
    async with a_broker(tmp_path, *OPEN) as port, Proxy(port, refuse5=True) as proxy:
        house = House(
            tmp_path, embedded="auto", url=f"mqtt://127.0.0.1:{proxy.port}", provision="off"
        )
        device, other = (house.sink.add(a_device()) for _ in range(2))
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await say_status(client, device, "online")
            try:
                await house.start(None)
                await eventually(lambda: house.mqtt.gateway.received == 1, "the old one came")
                await say_status(client, other, "online")
                await eventually(lambda: other.id in house.sink.online, "the live one counts")
                assert house.sink.online == {other.id}
            finally:
                await house.mqtt.stop()


async def test_a_broker_that_does_not_confirm_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the command went through is unknown then, so it is not called undelivered."""
    monkeypatch.setattr(gateway_module, "CONFIRM_SECONDS", 0.2)
    async with a_broker(tmp_path, *OPEN) as port, Proxy(port) as proxy:  # noqa: SIM117
        async with connected(tmp_path, proxy.port, provision="off") as house:
            device = house.sink.add(a_device())
            async with aiomqtt.Client("127.0.0.1", port) as client:
                await client.subscribe(command_topic(device.id), qos=1)
                await say_status(client, device, "online")
                await eventually(lambda: device.id in house.sink.online, "it is online")
                proxy.deaf = True
                await house.mqtt.gateway.send_command(a_command(device), device, datetime.now(UTC))
                await eventually(lambda: device.id not in house.sink.online, "all ended")
                proxy.deaf = False
                await eventually(lambda: house.mqtt._uplink.connects == 2, "it is back")


async def test_tls_is_checked(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: makes the certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", str(key), "-out", str(cert)]
    await run("openssl", "req", "-x509", *kind, *files, *subject)
    lines = (*OPEN, f"certfile {cert}", f"keyfile {key}")
    async with a_broker(tmp_path, *lines) as port:
        await refuses(tmp_path, f"mqtts://localhost:{port}")
        await refuses(tmp_path, f"mqtts://127.0.0.1:{port}", tls_ca=cert)
        await accepts(tmp_path, f"mqtts://127.0.0.1:{port}", tls_ca=cert, tls_insecure=True)
        await accepts(tmp_path, f"mqtts://localhost:{port}", tls_ca=cert)
    with pytest.raises(BadConfig):
        House(tmp_path, embedded="auto", url="mqtts://x", tls_ca=tmp_path / "none.pem")


async def refuses(folder: Path, url: str, **settings: Any) -> None:
    house = await own_broker_house(folder, url, provision="off", **settings)
    try:
        await eventually(lambda: "certificate" in house.mqtt.health().message, "it says why")
    finally:
        await house.mqtt.stop()


async def accepts(folder: Path, url: str, **settings: Any) -> None:
    house = await own_broker_house(folder, url, provision="off", **settings)
    try:
        await eventually(lambda: house.mqtt.connected, "it is connected")
        link = house.mqtt._uplink.link
        assert link is not None
        payload = b"x" * 300_000  # more than one TLS record
        await link.publish(response_topic("a" * 24), payload, qos=1)
        await eventually(lambda: house.mqtt.gateway.received == 1, "the large message came back")
    finally:
        await house.mqtt.stop()


async def test_the_printed_configuration_makes_a_broker_that_the_daemon_manages(
    tmp_path: Path,
) -> None:
    if shutil.which("mosquitto_ctrl") is None:
        pytest.skip("needs mosquitto_ctrl: administers the broker")
    installed = find_mosquitto(None)
    assert installed is not None
    users = tmp_path / "dynamic-security.json"
    await run("mosquitto_ctrl", "dynsec", "init", str(users), "admin", says="pw\npw\n")
    tls = ("listener", "cafile", "certfile", "keyfile", "#")
    text = mosquitto_conf(installed.plugin, tmp_path)
    lines = [line for line in text.splitlines() if not line.startswith(tls)]
    async with a_broker(tmp_path, *lines) as port:
        password = tmp_path / "password"
        password.write_text(secrets.token_hex(16))
        for line in _commands().splitlines():
            words = line.replace("'", "").split("dynsec ", 1)[1].split()
            if words[0] == "createClient":
                words += ["-p", password.read_text()]
            where = ["-h", "127.0.0.1", "-p", str(port), "-u", "admin", "-P", "pw"]
            await run("mosquitto_ctrl", *where, "dynsec", *words)
        settings = {"username": DAEMON_NAME, "password_file": password, "provision": "on"}
        async with connected(tmp_path, port, **settings) as house:
            device = await house.add()
            async with house.online(device) as client:
                ack = {"commandId": "c", "status": "received"}
                await client.publish(response_topic(device.id), json.dumps(ack), 1)
                await eventually(lambda: len(house.sink.reports(device)) == 2, "it is heard")
                await house.mqtt.gateway.drop(device.id, "over")
            assert house.mqtt.health().status == "ok"


async def run(*command: str, says: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(says.encode())
    assert process.returncode == 0, output.decode()
    assert b"rror" not in output, output.decode()


async def test_legacy_topics_carry_a_command_and_its_ack(tmp_path: Path) -> None:
    async with (
        a_broker(tmp_path, *OPEN) as port,
        connected(tmp_path, port, provision="off", legacy_topics=True) as house,
    ):
        old, new = house.sink.add(a_device()), await house.add()
        async with aiomqtt.Client("127.0.0.1", port) as client, house.online(new) as modern:
            await client.subscribe("/door/lock/control", qos=1)
            await tell_old(client, "response", old.id, commandId="x", status="executed")
            await tell_old(client, "status", old.id, status="online")
            await eventually(lambda: old.id in house.sink.online, "the old one is online")
            assert len(house.sink.reports(old)) == 1  # the ack came before it was known
            command = a_command(old)
            await house.mqtt.gateway.send_command(command, old, datetime.now(UTC))
            heard = await next_command(client)
            assert (heard["commandId"], heard["deviceId"]) == (command.id, old.id)
            await tell_old(client, "response", old.id, commandId=command.id, status="executed")
            await eventually(lambda: len(house.sink.reports(old)) == 2, "its ack is reported")
            # nothing on the shared topics counts against one that has topics of its own
            await tell_old(client, "response", new.id, commandId="x", status="executed")
            await tell_old(client, "status", new.id, status="offline")
            await tell_old(client, "status", old.id, status="offline")
            await eventually(lambda: old.id not in house.sink.online, "the old one is gone")
            await say(modern, new, "motion_detected")
            await eventually(lambda: len(house.sink.reports(new)) == 2, "the new one is heard")
            assert house.sink.reasons(new) == []


async def tell_old(client: aiomqtt.Client, kind: str, device_id: str, **body: Any) -> None:
    await client.publish(f"/door/lock/{kind}", json.dumps({"deviceId": device_id, **body}), 1)

"""A Mosquitto of one's own, set up word for word as `doorlock broker mosquitto-conf` says."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import aiomqtt
import pytest

from doorlock.daemon.gateways.mosquitto import find_mosquitto
from tests.support.daemon import DOORLOCK, Daemon, Enrolled, steady_port
from tests.support.devices import MQTT, BareMqtt, online, unlocked
from tests.support.mosquitto import needs_mosquitto
from tests.support.waiting import until_now

CTRL, OPENSSL = shutil.which("mosquitto_ctrl"), shutil.which("openssl")
pytestmark = [
    needs_mosquitto,
    pytest.mark.skipif(CTRL is None, reason="needs mosquitto_ctrl: it comes with mosquitto"),
    pytest.mark.skipif(OPENSSL is None, reason="needs openssl: for a certificate"),
]
ADMIN, DAEMON = "the administrator's password", "the daemon's password"


class Broker:
    """Mosquitto under a printed configuration that was moved into a throw-away folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, steady_port()
        self.ca = folder / "certs" / "ca.crt"
        printed = subprocess.run(
            [DOORLOCK, "broker", "mosquitto-conf"], capture_output=True, text=True, check=True
        ).stdout
        moved = printed.replace("/etc/mosquitto", str(folder)).replace("8883", str(self.port))
        self.steps = [line.strip("# ") for line in moved.splitlines() if "mosquitto_ctrl" in line]
        self.config = folder / "mosquitto.conf"
        # as root it would become a user who cannot read this folder
        as_root = "user root\n" if os.geteuid() == 0 else ""
        self.config.write_text(as_root + moved)

    def set_up(self) -> None:
        self._make_certificate()
        first, *others = self.steps
        self._run(f"{first} {shlex.quote(ADMIN)}")
        self.start()
        for step in others:
            words = step.replace("BROKER", "127.0.0.1").replace("CA", str(self.ca), 1)
            words = words.replace("-u admin", f"-u admin -P {shlex.quote(ADMIN)}")
            if "createClient" in words:
                words += f" -p {shlex.quote(DAEMON)}"
            self._run(words)
        self.password_file = self.folder / "password"
        self.password_file.write_text(DAEMON + "\n")
        self.password_file.chmod(0o600)

    def _make_certificate(self) -> None:
        certs = self.ca.parent
        certs.mkdir()
        key, certificate = certs / "server.key", certs / "server.crt"
        self._run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            f"-subj /CN=broker -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
        )
        shutil.copy(certificate, self.ca)

    def _run(self, words: str) -> None:
        done = subprocess.run(shlex.split(words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done)
        assert "rror" not in done.stderr, (words, done)

    def start(self) -> None:
        installed = find_mosquitto(os.environ.get("PATH"))
        assert installed is not None
        command = [str(installed.program), "-c", str(self.config)]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until_now(self._listens, "the broker listens")

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.set_up()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def house(broker: Broker, new_daemon: Callable[..., Daemon]) -> Daemon:
    return new_daemon(
        mqtt_url=f"mqtts://127.0.0.1:{broker.port}",
        mqtt_embedded="auto",
        mqtt_username="doorlockd",
        mqtt_password_file=broker.password_file,
        mqtt_tls_ca=broker.ca,
        mqtt_provision="on",
    ).start()


async def refused(house: Daemon, broker: Broker, door: Enrolled) -> None:
    with pytest.raises(aiomqtt.MqttCodeError):
        async with BareMqtt(house, door, tls_context=broker.trust):
            pass


async def test_doors_on_a_broker_of_ones_own(broker: Broker, house: Daemon, tmp_path: Path) -> None:
    house.secrets += [ADMIN, DAEMON]
    door, other = await house.register("front"), await house.register("other")
    stranger = Enrolled(door.id, door.name, door.esp_id, "0" * 64)
    await refused(house, broker, stranger)
    async with online(house, door, tmp_path, MQTT, tls=broker.trust, heartbeat=0.3) as device:
        done = await house.cli("unlock", "front", "--for", "1s")
        assert done.code == 0, done
        assert len(unlocked(device)) == 1

        async with BareMqtt(house, other, tls_context=broker.trust) as eavesdropper:
            await eavesdropper.client.subscribe("iot/#", qos=1)
            assert (await house.cli("lock", "front")).code == 0
            await house.connections(other, MQTT)
            telling = asyncio.ensure_future(house.cli("lock", "other"))
            heard = await eavesdropper.command()
            assert heard["deviceId"] == other.id
            await eavesdropper.ack(heard["commandId"], "executed")
            assert (await telling).code == 0

        await asyncio.to_thread(broker.kill)
        await house.connections(door)
        assert (await house.cli("unlock", "front")).code == 7
        await asyncio.to_thread(broker.start)
        await house.connections(door, MQTT)
        assert (await house.cli("lock", "front")).code == 0

        rotated = await house.cli("token", "rotate", "front", "-y", "-q")
        house.secrets.append(rotated.out.strip())
        await house.connections(door)
    await refused(house, broker, door)
    assert (await house.cli("rm", "other", "-y")).code == 0
    await refused(house, broker, other)
    assert house.mqtt_url == f"mqtts://127.0.0.1:{broker.port}"

"""MQTT as one part of the daemon: a broker of one's own, the embedded one, or none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import structlog

from doorlock.daemon.config import MqttSection
from doorlock.daemon.gateways.dynsec import RESPONSE_TOPIC, Dynsec, Tokens
from doorlock.daemon.gateways.dynsec_file import DynsecFile
from doorlock.daemon.gateways.mosquitto import HOW_TO_GET, Mosquitto, find_mosquitto, local
from doorlock.daemon.gateways.mqtt import LEGACY_TOPICS, TOPICS, MqttGateway
from doorlock.daemon.gateways.mqtt_address import own_broker, with_password
from doorlock.daemon.gateways.mqtt_link import Address, Incoming, Link, LinkDown
from doorlock.daemon.gateways.mqtt_uplink import Uplink
from doorlock.daemon.ports import Credentials, PartHealth, ReportSink
from doorlock.errors import BadConfig, Unavailable
from doorlock.protocol import status_topic
from doorlock.times import iso_or_none

log = structlog.get_logger("doorlock.mqtt")

FIRST_CONNECTION_SECONDS = 5.0
_RETRY_SECONDS = 5.0

Mode = Literal["url", "embedded", "off"]


class Mqtt:
    """Builds what `settings` ask for, and runs it.

    `gateway` and `credentials` can be used in every mode: with MQTT off the one reaches nobody, and
    the other keeps the embedded broker's users for the day it is on. Raises BadConfig.
    """

    def __init__(
        self, settings: MqttSection, state_dir: Path, listen_host: str, search: str | None
    ) -> None:
        """`search` is the PATH to look for Mosquitto on."""
        self._settings = settings
        folder = state_dir / "mosquitto"
        self._broker: Mosquitto | None = None
        self.mode: Mode = "url" if settings.url else "off"
        if self.mode == "off" and settings.embedded != "off":
            self._embed(folder, settings.host or listen_host, search)
        self._where = own_broker(settings) if settings.url else None
        self.gateway = MqttGateway(legacy=settings.legacy_topics)
        self.dynsec = Dynsec(self._control, legacy=settings.legacy_topics)
        self.credentials = _Provisioning(self, DynsecFile(folder / "dynsec.json"))
        self.has_plugin: bool | None = None
        self.unprovisioned: frozenset[str] = frozenset()
        self._tokens: Tokens | None = None
        self._uplink = Uplink(self._address, self._topics(), self)
        self._tasks: list[asyncio.Task[None]] = []
        self._tending: asyncio.Task[None] | None = None

    def _embed(self, folder: Path, host: str, search: str | None) -> None:
        installed = find_mosquitto(search)
        if installed is None:
            if self._settings.embedded == "on":
                raise BadConfig("mqtt.embedded is on, but Mosquitto is missing", hint=HOW_TO_GET)
            return
        legacy = self._settings.legacy_topics
        self._broker = Mosquitto(installed, folder, host, self._settings.port, legacy=legacy)
        self.mode = "embedded"

    def _topics(self) -> Sequence[str]:
        legacy = LEGACY_TOPICS if self._settings.legacy_topics else ()
        return (*TOPICS, *legacy, *((RESPONSE_TOPIC,) if self.may_provision else ()))

    @property
    def may_provision(self) -> bool:
        """Whether the daemon is to see to the broker's users where it can."""
        return self.mode == "embedded" or self._settings.provision != "off"

    @property
    def managed(self) -> bool:
        """Whether the daemon decides who may be on the broker. With `mqtt.provision = "auto"` on a
        broker of one's own that is known once it has been asked."""
        sure = self.mode == "embedded" or self._settings.provision == "on"
        return self.mode != "off" and self.may_provision and (sure or self.has_plugin is True)

    @property
    def awaits_mosquitto(self) -> bool:
        """MQTT is off only because Mosquitto is not installed."""
        return self.mode == "off" and self._settings.embedded != "off"

    @property
    def connected(self) -> bool:
        return self._uplink.link is not None

    @property
    def url(self) -> str | None:
        """What a device on this machine connects to; None when MQTT is off."""
        if self._broker is not None:
            return f"mqtt://{local(self._broker.host)}:{self._broker.port}"
        return str(self._where[0]) if self._where else None

    # running

    async def start(self, sink: ReportSink, tokens: Tokens | None = None) -> None:
        """Begin; a broker that cannot be reached is tried for ever, and is no failure here.

        `tokens` gives every device's token hash: with it, at each connection, whoever should no
        longer be on the broker is taken off.
        """
        self._tokens = tokens
        self.gateway.report_to(sink)
        self.gateway.kick_with(self._kick if self.may_provision else None)
        if self._broker is not None:
            await self._broker.start()
        if self.mode == "off":
            return
        self._tasks.append(asyncio.create_task(self._uplink.run(), name="mqtt"))
        if self._broker is not None:
            await self._uplink.connected(FIRST_CONNECTION_SECONDS)

    async def stop(self) -> None:
        await self.gateway.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._broker is not None:
            await self._broker.stop()

    async def _address(self) -> Address:
        if self._broker is not None:
            return await self._broker.address()
        assert self._where is not None
        address, password_file = self._where
        return address if password_file is None else with_password(address, password_file)

    # as the party on the connection

    def heard(self, link: Link, message: Incoming) -> None:
        if message.topic == RESPONSE_TOPIC:
            link.acknowledge(message)
            self.dynsec.hear(message.payload)
        else:
            self.gateway.heard(link, message)

    async def up(self, link: Link, refused: Sequence[str]) -> None:
        for topic in set(refused) - {RESPONSE_TOPIC}:
            log.error("the broker refuses a subscription", topic=topic)
        await self.gateway.up(link, refused)
        if self.may_provision:
            self._tending = asyncio.create_task(self._tend(), name="mqtt-users")

    async def down(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
        self.dynsec.lost()
        await self.gateway.down()

    async def _tend(self) -> None:
        """Bring the broker's users in line, however often that has to be tried."""
        while True:
            self.has_plugin = await self.dynsec.answers()
            if not self.has_plugin and self._settings.provision == "auto" and not self._broker:
                log.warning("the broker has no dynamic security plugin: its users are yours")
                return
            try:
                await self.dynsec.prepare()
                if self._tokens is not None:
                    self.unprovisioned = await self.dynsec.reconcile(self._tokens)
                return
            except Exception as error:
                log.warning("the broker's users could not be brought in line", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    # what the broker's users are told through

    def _control(self, topic: str, payload: bytes) -> None:
        try:
            if self._uplink.link is None:
                raise LinkDown("no connection")
            self._uplink.link.publish(topic, payload, qos=1)
        except LinkDown as error:
            raise Unavailable(
                "the MQTT broker cannot be reached", hint="See `doorlock status`, then try again."
            ) from error

    async def _kick(self, device_id: str) -> None:
        if self.managed:
            await self.dynsec.kick(device_id)

    def forget_status(self, device_id: str) -> None:
        """Take the device's last retained status off the broker."""
        if self._uplink.link is not None:
            with contextlib.suppress(LinkDown):
                self._uplink.link.publish(status_topic(device_id), b"", qos=1, retain=True)

    # how it is

    def health(self) -> PartHealth:
        if self.mode == "off":
            return _off(wanted=not self.awaits_mosquitto)
        status, message, hint = self._condition()
        return PartHealth("mqtt", status, message, hint, self._figures())

    def _condition(self) -> tuple[str, str, str | None]:
        if self.connected:
            return self._connected_condition()
        broker = self._broker
        if broker is not None and not broker.is_ready:
            error = broker.last_error or "it is starting"
            return "down", f"the embedded broker does not run: {error}", _hint(error, broker.port)
        error = self._uplink.last_error or "connecting"
        hint = "Check mqtt.username and mqtt.password_file." if self._uplink.refused else None
        return "down", f"no connection to {self.url}: {error}", hint

    def _connected_condition(self) -> tuple[str, str, str | None]:
        message = f"connected to {self.url}"
        if self.may_provision and self.has_plugin is False:
            hint = "`doorlock broker mosquitto-conf` prints what it needs; or set mqtt.provision."
            wanted = self.managed
            return "degraded" if wanted else "ok", f"{message}, whose users are not managed", hint
        if self.unprovisioned:
            hint = "`doorlock token rotate` gives a device a token that the broker knows."
            return "ok", f"{message}; {len(self.unprovisioned)} device(s) cannot use it yet", hint
        return "ok", message, None

    def _figures(self) -> dict[str, Any]:
        link, broker = self._uplink.link, self._broker
        return {
            "mode": self.mode,
            "url": self.url,
            "connectedSince": iso_or_none(self._uplink.since),
            "reconnects": max(0, self._uplink.connects - 1),
            "lastError": self._uplink.last_error,
            "mqtt5": link.modern if link else None,
            "brokerRestarts": broker.restarts if broker else None,
            "brokerPid": broker.pid if broker else None,
            "sessions": self.gateway.sessions,
            "messagesIn": self.gateway.received,
            "messagesOut": self.gateway.sent,
            "refused": self.gateway.refused,
            "dropped": self.gateway.dropped,
            "managed": self.managed,
            "unprovisioned": len(self.unprovisioned),
        }


class _Provisioning:
    """`Credentials`, wherever the devices' users are kept just now."""

    def __init__(self, part: Mqtt, file: DynsecFile) -> None:
        self._part, self._file = part, file

    async def grant(self, device_id: str, token: str) -> None:
        part = self._part
        await self._where_kept(lambda users: users.grant(device_id, token))
        part.unprovisioned -= {device_id}

    async def withdraw(self, device_id: str) -> None:
        part = self._part
        await self._where_kept(lambda users: users.withdraw(device_id))
        part.unprovisioned -= {device_id}
        part.forget_status(device_id)

    async def _where_kept(self, change: Callable[[Credentials], Awaitable[None]]) -> None:
        part = self._part
        if part.awaits_mosquitto:
            await change(self._file)
        elif part.managed:
            await change(part.dynsec)
        elif part.mode == "url" and part.may_provision and part.has_plugin is None:
            try:
                await change(part.dynsec)
            except Unavailable:
                if part.has_plugin is not False:  # else it was found meanwhile that none is there
                    raise


def _off(*, wanted: bool) -> PartHealth:
    if wanted:
        return PartHealth(
            "mqtt", "off", "MQTT is off: mqtt.embedded is off and mqtt.url is not set"
        )
    return PartHealth("mqtt", "off", "MQTT is off: Mosquitto is not installed", HOW_TO_GET)


def _hint(error: str, port: int) -> str | None:
    if "in use" not in error:
        return None
    return (
        f"Set mqtt.port to a free one, or free {port}: Debian's own Mosquitto is stopped by "
        "`systemctl disable --now mosquitto`."
    )

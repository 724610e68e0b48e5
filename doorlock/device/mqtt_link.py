"""The device's MQTT link: WIRE section 3, MQTT 5 where the broker speaks it, else 3.1.1."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from doorlock.device.link import AuthRefused, Credentials, Link, LinkDown, LinkEvents, log
from doorlock.device.spec import DeviceSpec
from doorlock.errors import BadInput
from doorlock.protocol import (
    Transport,
    command_topic,
    event_topic,
    response_topic,
    status_topic,
)

_UNSUPPORTED_VERSION = 132
_REFUSALS = frozenset({134, 135, 138})
_SESSION_SECONDS = 3600
_NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)


class MqttLink(Link):
    """One MQTT connection; the device's id is both its user name and its client id.

    With `persistent` the broker keeps what was sent while the device was away: it is for the
    device's own rules to refuse what has become too late.
    """

    transport = Transport.MQTT

    def __init__(
        self, spec: DeviceSpec, credentials: Credentials, events: LinkEvents, dice: random.Random
    ) -> None:
        super().__init__(credentials, events, spec.backoff, dice)
        self._host, self._port, is_tls = parse_mqtt_url(spec.mqtt_url or "")
        self._tls = (spec.tls or ssl.create_default_context()) if is_tls else None
        self._persistent = spec.persistent_session
        self._keepalive = spec.mqtt_keepalive
        self._confirm_seconds = spec.confirm_seconds
        self._version = aiomqtt.ProtocolVersion.V5
        self._client: aiomqtt.Client | None = None

    @property
    def version(self) -> aiomqtt.ProtocolVersion:
        """The protocol in use, 5 until a broker has said that it is too new."""
        return self._version

    async def session(self) -> None:
        client = self._make_client()
        try:
            async with client:
                await self._serve(client)
        except aiomqtt.MqttCodeError as error:
            self._judge(getattr(error.rc, "value", error.rc))
            raise

    async def _serve(self, client: aiomqtt.Client) -> None:
        self._client = client
        try:
            await client.subscribe(command_topic(self._id), qos=1)
            await self._say_status(client, "online")
            self.up()
            async for message in client.messages:
                self._take(message)
        finally:
            self.down()
            self._client = None
            # A goodbye suppresses the last will, so it has to be said by hand
            with contextlib.suppress(aiomqtt.MqttError):
                await self._say_status(client, "offline")

    async def send(self, event: str, data: Mapping[str, Any], *, confirm: bool) -> None:
        client = self._client
        if not self.live or client is None:
            raise LinkDown
        if event == "command_ack":
            topic, body = response_topic(self._id), data
        else:
            topic, body = event_topic(self._id), {"event": event, "data": data}
        try:
            await client.publish(topic, json.dumps(body), qos=1, timeout=self._confirm_seconds)
        except aiomqtt.MqttError as error:
            self.suspect = True
            raise LinkDown from error

    def drop(self) -> None:
        """Shut the TCP connection down underneath: the broker publishes the last will."""
        bare = self._client and self._client._client.socket()
        if isinstance(bare, socket.socket):
            with contextlib.suppress(OSError):
                bare.shutdown(socket.SHUT_RDWR)

    @property
    def _id(self) -> str:
        return self.credentials.identity.device_id

    def _make_client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            self._host,
            self._port,
            username=self._id,
            password=self.credentials.token,
            identifier=self._id,
            protocol=self._version,
            will=aiomqtt.Will(status_topic(self._id), self._status("offline"), 1, True),
            tls_context=self._tls,
            socket_options=_NO_DELAY,
            keepalive=self._keepalive,
            timeout=self._confirm_seconds,
            **self._session_options(),
        )

    def _session_options(self) -> dict[str, Any]:
        if self._version is not aiomqtt.ProtocolVersion.V5:
            return {"clean_session": not self._persistent}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_SECONDS if self._persistent else 0
        return {"clean_start": not self._persistent, "properties": properties}

    def _judge(self, code: object) -> None:
        if code in _REFUSALS:
            raise AuthRefused("the broker does not accept its user name and password")
        if code == _UNSUPPORTED_VERSION and self._version is aiomqtt.ProtocolVersion.V5:
            log.info("%s: the broker does not speak MQTT 5, going on with 3.1.1", self._name)
            self._version = aiomqtt.ProtocolVersion.V311

    def _take(self, message: aiomqtt.Message) -> None:
        if message.retain:
            log.warning("%s: ignored a retained command", self._name)
            return
        with contextlib.suppress(ValueError, TypeError):
            data = json.loads(message.payload)
            if isinstance(data, dict):
                self.hear(str(data.get("command")), data)
                return
        log.warning("%s: ignored a command that is not a JSON object", self._name)

    def _status(self, status: str) -> str:
        identity = self.credentials.identity
        return json.dumps(
            {
                "status": status,
                "deviceId": identity.device_id,
                "espId": identity.esp_id,
                "metadata": {},
            }
        )

    async def _say_status(self, client: aiomqtt.Client, status: str) -> None:
        await client.publish(status_topic(self._id), self._status(status), qos=1, retain=True)


def parse_mqtt_url(url: str) -> tuple[str, int, bool]:
    """Host, port and whether it is TLS. Raises BadInput."""
    hint = "Write mqtt://host:1883, or mqtts://host:8883 for TLS; the token comes from its file."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput("that is not an MQTT address", hint=hint) from error
    is_tls = parts.scheme in ("mqtts", "ssl")
    if parts.scheme not in ("mqtt", "tcp", "mqtts", "ssl") or not parts.hostname or parts.username:
        raise BadInput("that is not an MQTT address", hint=hint)
    return parts.hostname, port or (8883 if is_tls else 1883), is_tls

"""One connection to an MQTT broker, on the event loop: paho does the protocol.

Made for one use: when it is lost, everything that it still held is forgotten with it, so nothing
that was not sent can go out later over a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import (
    MQTT_CLEAN_START_FIRST_ONLY,
    MQTT_ERR_SUCCESS,
    Client,
    MQTTMessage,
)
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

CONNECT_SECONDS = 10.0
KEEPALIVE_SECONDS = 20
RECEIVE_MAXIMUM = 1000
NOBODY_SUBSCRIBES = 0x10
_LAST_READS = 1000
_UNSUPPORTED_VERSION = 0x84
_REFUSED = 0x80


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is, and who we are there."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str = ""
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{'mqtt' if self.tls is None else 'mqtts'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came in; `mid` is what `Link.acknowledge` wants."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int


class LinkDown(Exception):
    """No connection, or no longer: nothing was sent."""


class LinkRefused(LinkDown):
    """The broker said no."""


class VersionRefused(LinkRefused):
    """The broker does not speak this version of MQTT, or hung up on hearing it."""


class Link:
    """A connection. `lost` is done when it is gone; every method belongs to the event loop.

    Messages go to `hear` as they arrive; those of QoS 1 are confirmed by `acknowledge`, in the
    order of their arrival, and a broker sends no more than RECEIVE_MAXIMUM ahead of that.
    """

    def __init__(self, address: Address, *, modern: bool, hear: Callable[[Incoming], None]) -> None:
        self.address, self.modern, self._hear = address, modern, hear
        self.may_send = RECEIVE_MAXIMUM
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._published: dict[int, asyncio.Future[int | None]] = {}
        self._socket: Any = None
        self._upkeep: asyncio.TimerHandle | None = None
        self._client = self._make_client()

    def _make_client(self) -> Client:
        version = MQTTProtocolVersion.MQTTv5 if self.modern else MQTTProtocolVersion.MQTTv311
        client = Client(
            CallbackAPIVersion.VERSION2,
            self.address.client_id,
            protocol=version,
            clean_session=None if self.modern else True,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.username = self.address.username
        client.password = self.address.password
        client.connect_timeout = CONNECT_SECONDS / 2
        client.max_inflight_messages = 0  # ours to limit: paho would keep the rest for later
        if self.address.tls is not None:
            client.tls_set_context(self.address.tls)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = self._on_socket_open
        return client

    # opening and closing

    async def open(self) -> None:
        """Connect. Raises LinkRefused, VersionRefused or LinkDown, and has cleaned up then."""
        connecting = self._loop.run_in_executor(None, self._connect)
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(self._let_go)
            raise
        except (OSError, ValueError) as error:
            raise LinkDown(_why(error)) from error
        self._listen()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._accepted
        except TimeoutError as error:
            raise LinkDown("the broker does not answer") from error
        finally:
            if not self.is_open:
                self.abort("the broker did not take the connection")

    @property
    def is_open(self) -> bool:
        taken = self._accepted.done() and not self._accepted.cancelled()
        return taken and self._accepted.exception() is None and not self.lost.done()

    def _connect(self) -> None:
        """In a thread: looking up the name, connecting and the TLS handshake all block."""
        self._client.connect(
            self.address.host,
            self.address.port,
            KEEPALIVE_SECONDS,
            clean_start=True if self.modern else MQTT_CLEAN_START_FIRST_ONLY,
            properties=_properties(PacketTypes.CONNECT, ReceiveMaximum=RECEIVE_MAXIMUM)
            if self.modern
            else None,
        )

    def _let_go(self, connecting: asyncio.Future[None]) -> None:
        if not connecting.cancelled() and connecting.exception() is None:
            self._client.disconnect()

    def _on_socket_open(self, client: Client, userdata: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _listen(self) -> None:
        client = self._client
        self._socket = client.socket()
        if self._socket is None:
            self._end("the broker hung up")
            return
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_wrote
        self._loop.add_reader(self._socket.fileno(), self._read)
        client.loop_write()
        self._keep_up()

    def _on_socket_close(self, client: Client, userdata: object, sock: Any) -> None:
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        self._socket = None

    def _on_want_write(self, client: Client, userdata: object, sock: Any) -> None:
        self._loop.add_writer(sock.fileno(), self._client.loop_write)

    def _on_wrote(self, client: Client, userdata: object, sock: Any) -> None:
        self._loop.remove_writer(sock.fileno())

    def _read(self) -> None:
        while True:
            self._client.loop_read()
            # TLS may have decrypted more than the selector can see
            pending = getattr(self._socket, "pending", None)
            if pending is None or not pending():
                return

    def _keep_up(self) -> None:
        self._client.loop_misc()
        if not self.lost.done():
            self._upkeep = self._loop.call_later(1.0, self._keep_up)

    def abort(self, reason: str) -> None:
        """Cut the connection; what the system has not sent by now is thrown away."""
        self._end(reason)
        if self._socket is None:
            return
        self._loop.remove_writer(self._socket.fileno())
        with contextlib.suppress(OSError):
            discard = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, discard)
            self._socket.shutdown(socket.SHUT_RDWR)
        for _ in range(_LAST_READS):  # at the end of what had come in already paho lets go
            if self._socket is None or self._client.loop_read() != MQTT_ERR_SUCCESS:
                break

    def close(self) -> None:
        """Say goodbye and end; harmless when it is lost already."""
        self._end("closed")
        self._client.disconnect()
        self._client.loop_write()
        self.abort("closed")

    def _on_disconnect(self, client: Client, userdata: object, *more: Any) -> None:
        self._end(str(more[1]).lower())

    def _end(self, reason: str) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
        if self.lost.done():
            return
        self.lost.set_result(reason)
        if not self._accepted.done():
            self._accepted.set_exception(
                (VersionRefused if self.modern else LinkDown)("the broker hung up")
            )
        for subscribed in self._subscribed.values():
            if not subscribed.done():
                subscribed.set_exception(LinkDown("the connection is lost"))
        for published in self._published.values():
            if not published.done():
                published.set_result(None)
        self._published.clear()

    # what comes in

    def _on_connect(
        self, client: Client, userdata: object, flags: object, code: ReasonCode, properties: Any
    ) -> None:
        if self._accepted.done():
            return
        if code.value == _UNSUPPORTED_VERSION:
            self._accepted.set_exception(VersionRefused("the broker refuses this MQTT version"))
        elif code.is_failure:
            self._accepted.set_exception(LinkRefused(f"the broker refuses us: {code}".lower()))
        else:
            offered = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)
            self.may_send = min(RECEIVE_MAXIMUM, offered)
            self._accepted.set_result(None)

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        if self.lost.done():
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._hear(
            Incoming(topic, bytes(message.payload), message.qos, message.retain, message.mid)
        )

    def acknowledge(self, message: Incoming) -> None:
        if message.qos and not self.lost.done():
            self._client.ack(message.mid, message.qos)

    # what goes out

    async def subscribe(self, topics: Sequence[str]) -> Sequence[str]:
        """Subscribe at QoS 1, to live messages only where the broker can; which it refused.

        Raises LinkDown.
        """
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        wanted: Any = [(topic, options if self.modern else 1) for topic in topics]
        _, mid = self._client.subscribe(wanted)
        if mid is None:
            raise LinkDown("the connection is lost")
        answer = self._subscribed[mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                codes = await answer
        except TimeoutError as error:
            raise LinkDown("the broker did not answer a subscription") from error
        finally:
            del self._subscribed[mid]
        return [t for t, code in zip(topics, codes, strict=False) if code.value >= _REFUSED]

    def _on_subscribe(
        self, client: Client, userdata: object, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        if (answer := self._subscribed.get(mid)) and not answer.done():
            answer.set_result(codes)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool = False,
        expiry: int | None = None,
    ) -> asyncio.Future[int | None]:
        """Hand a message to the system at once. Raises LinkDown when nothing of it can have left.

        The future gives the broker's reason code, or None when the connection was lost first and
        nobody knows whether the broker has the message. QoS 0 is 0 at once.
        """
        properties = None
        if self.modern and expiry is not None:
            properties = _properties(PacketTypes.PUBLISH, MessageExpiryInterval=expiry)
        if self.lost.done():
            raise LinkDown("the connection is lost")
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc != MQTT_ERR_SUCCESS:
            raise LinkDown("the connection is lost")
        confirmed: asyncio.Future[int | None] = self._loop.create_future()
        if qos == 0:
            confirmed.set_result(0)
        else:
            self._published[info.mid] = confirmed
        self._client.loop_write()
        return confirmed

    def _on_publish(
        self, client: Client, userdata: object, mid: int, code: ReasonCode, properties: Any
    ) -> None:
        confirmed = self._published.pop(mid, None)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(code.value)


def _properties(packet: int, **values: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection failed" if not isinstance(error, TimeoutError) else "it does not answer"

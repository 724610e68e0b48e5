"""Devices over MQTT: their sessions, what they say, and what they are told. WIRE section 3.

The broker checks who a device is and which topics are its own, so the topic tells who speaks. MQTT
does not tell who is connected: a device has a session from its first live message until it, or its
last will, says `offline`, or the daemon's own connection to the broker is lost. A retained status
is old news, and opens nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.reports import CommandAck, Heartbeat
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.gateways.codec import (
    LEGACY_CONTROL,
    LEGACY_RESPONSE,
    LEGACY_STATUS,
    Malformed,
    Spoken,
    decode_mqtt,
    encode_command,
    encode_mqtt,
    mqtt_sender,
)
from doorlock.daemon.gateways.mqtt_inbox import Inbox
from doorlock.daemon.gateways.mqtt_link import NOBODY_SUBSCRIBES, Incoming, Link, LinkDown
from doorlock.daemon.ports import AuthRefused, NotConnected, Outgoing, ReportSink
from doorlock.errors import DoorlockError, NotAllowed
from doorlock.protocol import Transport, command_topic
from doorlock.times import utc_now

log = structlog.get_logger("doorlock.mqtt")

TOPICS = ("iot/responses/+", "iot/status/+", "iot/events/+")
LEGACY_TOPICS = (LEGACY_RESPONSE, LEGACY_STATUS)
CONFIRM_SECONDS = 5.0
SETTLE_SECONDS = 2.0
LOST = "broker connection lost"
_REFUSED = 0x80
_QUIET = timedelta(seconds=10)  # between two entries in the log about strangers
_WHERE = {"source": Transport.MQTT.value}

Kick = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Peer:
    """A device with a session. `legacy`: it was only ever heard on the older, shared topics."""

    session: Session
    legacy: bool


class MqttGateway:
    """`DeviceGateway` over MQTT, and the `Party` that hears what devices say."""

    def __init__(self, *, legacy: bool = False, now: Callable[[], datetime] = utc_now) -> None:
        self._legacy, self._now = legacy, now
        self._inbox = Inbox(self._handle)
        self._peers: dict[str, _Peer] = {}
        self._drops = 0
        self._sink: ReportSink | None = None
        self._kick: Kick | None = None
        self._link: Link | None = None
        self._slots = asyncio.Semaphore()
        self._closing = False
        self._quiet_until = now()
        self.received = self.sent = self.refused = 0

    @property
    def transport(self) -> Transport:
        return Transport.MQTT

    @property
    def sessions(self) -> int:
        return len(self._peers)

    @property
    def dropped(self) -> int:
        return self._inbox.dropped

    def report_to(self, sink: ReportSink) -> None:
        """Whom it tells; to be called before the first message."""
        self._sink = sink

    def kick_with(self, kick: Kick | None) -> None:
        """How a device is put off the broker; None where the daemon cannot do that."""
        self._kick = kick

    # the connection

    def heard(self, link: Link, message: Incoming) -> None:
        self.received += 1
        if self._closing:
            return
        try:
            device_id = self._sender(message)
        except Malformed:
            self.refused += 1
        else:
            if device_id is not None:
                self._inbox.put(device_id, link, message)
                return
        link.acknowledge(message)

    def _sender(self, message: Incoming) -> str | None:
        """Whose turn the message is; None for what says nothing."""
        if message.retain or not message.payload:
            return None
        if message.topic in LEGACY_TOPICS:
            return decode_mqtt(message.topic, message.payload).device_id if self._legacy else None
        return mqtt_sender(message.topic)[0]

    async def up(self, link: Link, refused: Iterable[str]) -> None:
        self._slots = asyncio.Semaphore(link.may_send)
        self._link = link

    async def down(self) -> None:
        """What had been heard is still handled; then every session ends."""
        self._link = None
        await self._inbox.settle(SETTLE_SECONDS)
        await self._end_all(LOST)

    async def stop(self) -> None:
        """End every session; what comes in from now on is not heard."""
        self._link, self._closing = None, True
        await self._inbox.stop()
        await self._end_all("the daemon stops")

    async def _end_all(self, reason: str) -> None:
        await asyncio.gather(*(self._end(device_id, reason) for device_id in list(self._peers)))

    # upwards

    async def _handle(self, device_id: str, message: Incoming) -> None:
        try:
            await self._take(device_id, message)
        except NotAllowed:
            pass  # recorded by whoever refused it
        except DoorlockError as error:
            log.warning("a message could not be taken", id=device_id, error=error.message)
        except Exception:
            log.exception("a message could not be taken", id=device_id)

    async def _take(self, device_id: str, message: Incoming) -> None:
        assert self._sink is not None
        try:
            spoken = decode_mqtt(message.topic, message.payload)
        except Malformed as error:
            await self._malformed(device_id, message.topic, error.reason)
            return
        if spoken.legacy and not self._believes(spoken):
            self.refused += 1
            return
        if _says_goodbye(spoken):
            await self._end(device_id, "said offline")
            return
        peer = await self._open(device_id, legacy=spoken.legacy)
        if peer is not None:
            await self._sink.report(peer.session, spoken.report)

    async def _malformed(self, device_id: str, topic: str, reason: str) -> None:
        assert self._sink is not None
        peer = self._peers.get(device_id)
        if peer is None:
            self.refused += 1
            return
        await self._sink.rejected(peer.session, topic.split("/")[1], reason)

    def _believes(self, spoken: Spoken) -> bool:
        """On a shared topic anybody may claim to be anybody: that is never taken against a device
        that has its own topics, and an ack only from one that was told over the shared topic."""
        peer = self._peers.get(spoken.device_id)
        if peer is None:
            return not isinstance(spoken.report, CommandAck)
        return peer.legacy

    async def _open(self, device_id: str, *, legacy: bool) -> _Peer | None:
        """The device's session, opened if need be; None when the device may not have one."""
        peer = self._peers.get(device_id)
        if peer is not None and (legacy or not peer.legacy):
            return peer
        if not await self._is_welcome(device_id, legacy=legacy):
            return None
        session = Session(f"mqtt:{device_id}", device_id, Transport.MQTT)
        peer = self._peers[device_id] = _Peer(session, legacy)
        return peer if await self._announce(peer) else None

    async def _is_welcome(self, device_id: str, *, legacy: bool) -> bool:
        assert self._sink is not None
        where = {"source": Transport.MQTT.value, "legacy": True} if legacy else _WHERE
        while True:
            before = self._drops
            try:
                await self._sink.vouched(device_id, where)
            except AuthRefused as error:
                self._refuse(device_id, str(error))
                return False
            if before == self._drops:  # else it may be this one that was thrown out meanwhile
                return True

    def _refuse(self, device_id: str, reason: str) -> None:
        self.refused += 1
        if self._quiet_until <= self._now():
            self._quiet_until = self._now() + _QUIET
            log.info("refused over MQTT", id=device_id, reason=reason, so_far=self.refused)

    async def _announce(self, peer: _Peer) -> bool:
        assert self._sink is not None
        device_id = peer.session.device_id
        try:
            await self._sink.connected(peer.session)
        except BaseException:
            self._peers.pop(device_id, None)
            raise
        if self._peers.get(device_id) is peer:
            return True
        await self._sink.disconnected(peer.session, "it was dropped")
        return False

    async def _end(self, device_id: str, reason: str) -> None:
        peer = self._peers.pop(device_id, None)
        if peer is None or self._sink is None:
            return
        try:
            await self._sink.disconnected(peer.session, reason)
        except Exception:
            log.exception("the end of a session was not recorded", id=device_id)

    # downwards

    async def send_command(self, command: Command, device: Device, now: datetime) -> None:
        """As the port says. Nobody subscribed to the device's commands counts as not connected;
        a broker that does not answer in time is cut off, and what became of it is unknown."""
        peer = self._peers.get(device.id)
        if peer is None:
            raise NotConnected
        event, data = encode_command(command, device, now)[0]
        left = (command.expires_at - now).total_seconds()
        await self._publish(peer, encode_mqtt(event, data), left)

    async def tell(self, message: Outgoing) -> None:
        """The event's name stands in `command`, as a command's does: MQTT has no other place."""
        peer = self._peers.get(message.device_id)
        if peer is None:
            return
        left = None
        if message.expires_at is not None:
            left = (message.expires_at - self._now()).total_seconds()
        try:
            await self._publish(peer, encode_mqtt(message.event, message.data), left)
        except NotConnected:
            log.debug("a message found no device", id=message.device_id, event_name=message.event)

    async def _publish(self, peer: _Peer, payload: bytes, left: float | None) -> None:
        link = self._link
        if link is None or (left is not None and left <= 0):
            raise NotConnected
        loop, slots = asyncio.get_running_loop(), self._slots
        deadline = None if left is None else loop.time() + left
        topic = LEGACY_CONTROL if peer.legacy else command_topic(peer.session.device_id)
        try:
            async with asyncio.timeout_at(deadline):
                await slots.acquire()
        except TimeoutError:
            raise NotConnected from None
        try:
            remaining = None if deadline is None else deadline - loop.time()
            await self._hand_over(link, topic, payload, remaining)
        finally:
            slots.release()

    async def _hand_over(self, link: Link, topic: str, payload: bytes, left: float | None) -> None:
        # A broker without expiry would keep QoS 1 for a device that is away: there it gets QoS 0.
        qos = 1 if link.modern or left is None else 0
        try:
            confirmed = link.publish(topic, payload, qos=qos, expiry=_expiry(left))
        except LinkDown:
            raise NotConnected from None
        self.sent += 1
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                code = await confirmed
        except TimeoutError:
            log.warning("the broker did not confirm a message: cutting the connection")
            link.abort("the broker did not confirm a message")
            return
        if code is not None and (code == NOBODY_SUBSCRIBES or code >= _REFUSED):
            raise NotConnected

    async def drop(self, device_id: str, reason: str) -> None:
        """As the port says; a broker that cannot be asked does not keep it from ending here."""
        self._drops += 1
        await self._end(device_id, reason)
        if self._kick is not None:
            try:
                await self._kick(device_id)
            except DoorlockError as error:
                log.warning("a device may still be on the broker", id=device_id, error=str(error))
        # The broker has answered after everything that the device had said before its end
        self._inbox.forget(device_id)
        await self._end(device_id, reason)


def _says_goodbye(spoken: Spoken) -> bool:
    report = spoken.report
    return spoken.kind == "status" and isinstance(report, Heartbeat) and report.status == "offline"


def _expiry(left: float | None) -> int | None:
    """For how long the broker may keep it: in whole seconds, less the time that it may take to
    reach the broker."""
    return None if left is None else max(1, int(left - min(CONFIRM_SECONDS, left / 2)))

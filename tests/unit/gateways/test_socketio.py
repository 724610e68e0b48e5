"""The Socket.IO gateway between the handshake and the first message, and how it lets go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError as Refused

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.reports import Report
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.gateways.socketio import SocketIoGateway, credentials
from doorlock.daemon.ports import AuthRefused, NotConnected
from doorlock.errors import NotAllowed, Unavailable
from doorlock.protocol import CommandName
from tests.support.clock import START

DEVICE = Device("d" * 24, "front", "ESP-1", "o" * 24, START, START)
AUTH = {"clientType": "device", "deviceId": DEVICE.id, "token": "t"}


class Sink:
    """Keeps what it is told; `refusal` is what authentication raises."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.failing: Exception | None = None
        self.said: list[tuple[str, str]] = []

    async def authenticate(self, device_id: str, token: str, where: Mapping[str, Any]) -> Device:
        if self.refusal:
            raise self.refusal
        return DEVICE

    async def connected(self, session: Session) -> None:
        self.said.append(("connected", session.id))

    async def disconnected(self, session: Session, reason: str) -> None:
        self.said.append(("disconnected", session.id))

    async def report(self, session: Session, report: Report) -> None:
        self.said.append((report.event, session.id))
        if self.failing:
            raise self.failing

    async def rejected(self, session: Session, event: str, reason: str) -> None:
        self.said.append(("rejected", reason))

    def alive(self, session: Session) -> None:
        self.said.append(("alive", session.id))


class Server:
    """What the gateway asks of python-socketio, without a network."""

    def __init__(self) -> None:
        self.connected: set[str] = set()
        self.sent: list[tuple[str, str]] = []
        self.manager = self

    def is_connected(self, sid: str, namespace: str) -> bool:
        return sid in self.connected

    async def emit(self, event: str, data: Any, to: str) -> None:
        self.sent.append((event, to))

    async def disconnect(self, sid: str) -> None:
        self.connected.discard(sid)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def gateway(sink: Sink, server: Server) -> SocketIoGateway:
    made = SocketIoGateway(sink, [])  # type: ignore[arg-type]
    made._sio = server
    return made


def command() -> Command:
    return Command("c", DEVICE.id, CommandName.LOCK_DOOR, "u", START, START)


async def shakes_hands(gateway: SocketIoGateway, server: Server, sid: str) -> None:
    await gateway._connect(sid, {}, AUTH)
    server.connected.add(sid)  # as the library does when the handler has returned


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def opened(gateway: SocketIoGateway, server: Server, *sids: str) -> None:
    for sid in sids:
        await shakes_hands(gateway, server, sid)
    await settled()


async def test_a_command_goes_to_the_socket_that_beats(
    gateway: SocketIoGateway, server: Server
) -> None:
    await opened(gateway, server, "a", "b", "c")
    await gateway._message("device_heartbeat", "a", {"deviceId": DEVICE.id})
    await gateway.send_command(command(), DEVICE, START)
    assert server.sent == [("lock_door", "a")]


async def test_a_command_finds_nobody_before_the_device_was_told_that_it_is_connected(
    gateway: SocketIoGateway, server: Server
) -> None:
    await shakes_hands(gateway, server, "a")
    with pytest.raises(NotConnected):
        await gateway.send_command(command(), DEVICE, START)
    await settled()
    await gateway.send_command(command(), DEVICE, START)
    assert server.sent == [("lock_door", "a")]


async def test_dropping_a_device_ends_every_socket(
    gateway: SocketIoGateway, server: Server, sink: Sink
) -> None:
    await opened(gateway, server, "a", "b")
    await gateway.drop(DEVICE.id, "token replaced")
    assert server.connected == set()
    assert sink.said[-2:] == [("disconnected", "a"), ("disconnected", "b")]
    with pytest.raises(NotConnected):
        await gateway.send_command(command(), DEVICE, START)
    answer = await gateway._message("device_heartbeat", "a", {"deviceId": DEVICE.id})
    assert answer["success"] is False and sink.said[-1] == ("disconnected", "b")


async def test_dropping_a_device_ends_a_socket_that_is_just_being_opened(
    gateway: SocketIoGateway, server: Server, sink: Sink
) -> None:
    await shakes_hands(gateway, server, "a")
    await gateway.drop(DEVICE.id, "token replaced")
    server.connected.add("a")
    await settled()
    assert server.connected == set()
    assert ("connected", "a") not in sink.said
    with pytest.raises(NotConnected):
        await gateway.send_command(command(), DEVICE, START)


async def test_a_socket_that_left_while_it_was_checked_is_not_kept(
    gateway: SocketIoGateway, server: Server, sink: Sink
) -> None:
    await gateway._connect("a", {}, AUTH)
    await settled()
    assert sink.said == [] and gateway.health().figures == {"sockets": 0}


async def test_the_last_socket_takes_the_way_down_with_it(
    gateway: SocketIoGateway, server: Server, sink: Sink
) -> None:
    await opened(gateway, server, "a", "b")
    await gateway._disconnect("b")
    await gateway.send_command(command(), DEVICE, START)
    await gateway._disconnect("a")
    with pytest.raises(NotConnected):
        await gateway.send_command(command(), DEVICE, START)
    assert server.sent == [("lock_door", "a")]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (AuthRefused("Invalid device token"), "Invalid device token"),
        (AuthRefused("Device not activated"), "Device not activated"),
        (Unavailable("disk full at /var/lib"), "Service unavailable"),
    ],
)
async def test_a_refusal_is_told_in_the_words_that_clients_compare(
    gateway: SocketIoGateway, sink: Sink, refusal: Exception, told: str
) -> None:
    sink.refusal = refusal
    with pytest.raises(Refused) as refused:
        await gateway._connect("a", {}, AUTH)
    assert refused.value.error_args == {"message": told}


async def test_who_proves_nothing_is_asked_to(gateway: SocketIoGateway) -> None:
    with pytest.raises(Refused) as refused:
        await gateway._connect("a", {}, {"clientType": "device", "deviceId": DEVICE.id})
    assert refused.value.error_args == {"message": "Authentication required"}


@pytest.mark.parametrize(
    ("failing", "told"),
    [
        (NotAllowed("deviceId does not match this connection"), "deviceId does not match"),
        (RuntimeError("the password is hunter2"), "the message could not be handled"),
    ],
)
async def test_what_goes_wrong_with_a_message_is_told_and_ends_nothing(
    gateway: SocketIoGateway, server: Server, sink: Sink, failing: Exception, told: str
) -> None:
    await opened(gateway, server, "a")
    sink.failing = failing
    answer = await gateway._message("device_heartbeat", "a", {})
    assert answer["success"] is False and answer["message"].startswith(told)
    assert ("error", "a") in server.sent
    sink.failing = None
    assert (await gateway._message("device_heartbeat", "a", {}))["success"] is True


@pytest.mark.parametrize("data", [(), (None,), ("text",), ([],), ({"commandId": 5},)])
async def test_a_malformed_message_is_rejected_and_acknowledged_so(
    gateway: SocketIoGateway, server: Server, sink: Sink, data: tuple[Any, ...]
) -> None:
    await opened(gateway, server, "a")
    answer = await gateway._message("command_ack", "a", *data)
    assert answer["success"] is False and sink.said[-1][0] == "rejected"


HEADERS = {"HTTP_AUTHORIZATION": "Bearer t", "HTTP_X_DEVICE_ID": "d"}


@pytest.mark.parametrize(
    ("environ", "auth", "found"),
    [
        ({}, {"clientType": "device", "deviceId": "d", "token": "t"}, ("d", "t")),
        ({"QUERY_STRING": "clientType=device&deviceId=d&token=t&EIO=4"}, None, ("d", "t")),
        (HEADERS, None, ("d", "t")),
        (HEADERS, {"clientType": "device", "deviceId": "a", "token": "b"}, ("a", "b")),
        ({"HTTP_AUTHORIZATION": "Bearer t"}, None, None),
        ({"HTTP_AUTHORIZATION": "Basic t", "HTTP_X_DEVICE_ID": "d"}, None, None),
        ({}, {"deviceId": "d", "token": "t"}, None),
        ({}, {"clientType": "dashboard", "token": "t"}, None),
        ({}, {"clientType": "device", "deviceId": 5, "token": "t"}, None),
        ({}, {"clientType": "device", "deviceId": "d", "token": ""}, None),
        ({}, "text", None),
        ({}, ["device"], None),
    ],
)
def test_a_device_proves_itself_in_one_of_three_places(
    environ: dict[str, Any], auth: object, found: tuple[str, str] | None
) -> None:
    assert credentials(environ, auth) == found

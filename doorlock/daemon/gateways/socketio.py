"""Devices over Socket.IO, WIRE sections 1 and 2, and the server that dashboards use too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import orjson
import socketio
import structlog
from socketio.exceptions import ConnectionRefusedError as Refused

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.gateways.codec import MAX_MESSAGE_BYTES, Malformed, decode, encode_command
from doorlock.daemon.gateways.dashboards import Dashboards
from doorlock.daemon.gateways.socketio_server import Server
from doorlock.daemon.ports import AuthRefused, NotConnected, Outgoing, PartHealth, ReportSink
from doorlock.errors import DoorlockError
from doorlock.protocol import Transport
from doorlock.times import iso, utc_now

log = structlog.get_logger("doorlock.socketio")

_PONGS_EVERY = 10.0
_AT_ONCE = 500
_PREFERRED = ("device_register", "device_heartbeat")


class _Json:
    """orjson with the two calls that Socket.IO's packets make."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        return orjson.loads(text)


class SocketIoGateway:
    """`DeviceGateway` over WebSocket or polling, and what devices say there."""

    transport = Transport.WEBSOCKET

    def __init__(
        self,
        sink: ReportSink,
        cors_origins: Sequence[str],
        dashboards: Dashboards | None = None,
    ) -> None:
        self._sink = sink
        self._dashboards = dashboards
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[str, list[str]] = {}  # per device, the one for commands last
        self._opening: set[asyncio.Task[None]] = set()
        self._starting: dict[str, Session] = {}  # checked, and not told so yet
        self._sio = Server(
            self._unreadable,
            async_handlers=False,
            json=_Json,
            cors_allowed_origins=list(cors_origins) or None,
            max_http_buffer_size=MAX_MESSAGE_BYTES,
            http_compression=False,
            ping_interval=25,
            ping_timeout=20,
        )
        if dashboards is not None:
            dashboards.attach(self._sio)
        self._sio.on("connect", self._connect)
        self._sio.on("disconnect", self._disconnect)
        self._sio.on("*", self._message)

    def app(self, other: Any) -> Any:
        """The ASGI application: `/socket.io` here, everything else to `other`."""
        return socketio.ASGIApp(self._sio, other, socketio_path="socket.io")

    # the way down

    async def send_command(self, command: Command, device: Device, now: datetime) -> None:
        sockets = self._sockets.get(device.id)
        if not sockets:
            raise NotConnected
        for event, data in encode_command(command, device, now):
            await self._sio.emit(event, data, to=sockets[-1])

    async def tell(self, message: Outgoing) -> None:
        for sid in list(self._sockets.get(message.device_id, ())):
            await self._sio.emit(message.event, dict(message.data), to=sid)

    async def drop(self, device_id: str, reason: str) -> None:
        starting = [sid for sid, one in self._starting.items() if one.device_id == device_id]
        for sid in [*self._sockets.get(device_id, ()), *starting]:
            log.info("ending a session", device=device_id, reason=reason)
            await self._end(sid, reason)
            await self._sio.disconnect(sid)

    def health(self) -> PartHealth:
        figures = {"sockets": len(self._sessions)}
        if self._dashboards is not None:
            figures["dashboards"] = len(self._dashboards)
        return PartHealth("socketio", "ok", "listening", figures=figures)

    async def run(self) -> None:
        """Until cancelled: tell the sink whose connection answers pings."""
        while True:
            await asyncio.sleep(_PONGS_EVERY)
            for number, (sid, session) in enumerate(list(self._sessions.items()), 1):
                if self._answers(sid):
                    self._sink.alive(session)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)  # a fleet takes long enough to hold a command up

    def _answers(self, sid: str) -> bool:
        engine_id = self._sio.manager.eio_sid_from_sid(sid, "/")
        connection = self._sio.eio.sockets.get(engine_id)
        # Engine.IO keeps when it sent a ping until the pong has come
        return connection is not None and not connection.closed and connection.last_ping is None

    # the way up

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        who = None if says_dashboard(auth) else credentials(environ, auth)
        if who is None and self._dashboards is not None:
            await self._dashboards.connect(sid, environ, auth)
            return
        if who is None:
            raise Refused("Authentication required")
        session = Session(
            sid,
            who[0],
            Transport.WEBSOCKET,
            _address(environ),
            str(environ.get("HTTP_USER_AGENT", ""))[:200] or None,
        )
        try:
            await self._sink.authenticate(*who, session.metadata())
        except AuthRefused as refused:
            raise Refused(str(refused)) from refused
        except DoorlockError as error:
            log.warning("a device could not be checked", error=error.message)
            raise Refused("Service unavailable") from error
        self._sessions[sid] = self._starting[sid] = session
        # the library keeps a class of its own in here for each connection: 2.5 KiB a device
        environ.pop("wsgi.input", None)
        # the client is told that it is connected after this returns: nothing may be sent before
        task = asyncio.ensure_future(self._opened(session))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _opened(self, session: Session) -> None:
        await asyncio.sleep(0)
        self._starting.pop(session.id, None)
        if session.id not in self._sessions:  # its device was dropped while it was being checked
            await self._sio.disconnect(session.id)
            return
        if not self._sio.manager.is_connected(session.id, "/"):
            self._sessions.pop(session.id, None)  # it left while it was being checked
            return
        self._sockets.setdefault(session.device_id, []).append(session.id)
        await self._told(self._sink.connected(session))

    async def _disconnect(self, sid: str, reason: object = None) -> None:
        if self._dashboards is not None:
            await self._dashboards.disconnect(sid)
        await self._end(sid, str(reason or "disconnected"))

    async def _end(self, sid: str, reason: str) -> None:
        session = self._sessions.pop(sid, None)
        if session is None:
            return
        left = self._sockets.get(session.device_id, [])
        if sid in left:
            left.remove(sid)
        if not left:
            self._sockets.pop(session.device_id, None)
        await self._told(self._sink.disconnected(session, reason))

    async def _message(self, event: str, sid: str, *data: Any) -> dict[str, Any]:
        """Handle one message; what it returns is the acknowledgement, where one is asked for."""
        if self._dashboards is not None and sid in self._dashboards:
            return await self._dashboards.message(event, sid, data[0] if data else None)
        session = self._sessions.get(sid)
        if session is None:
            return await self._complain(sid, "the connection is not ready")
        try:
            report = decode(event, data[0] if data else None)
        except Malformed as malformed:
            await self._told(self._sink.rejected(session, event, malformed.reason))
            return await self._complain(sid, malformed.reason)
        self._prefer(session, event)
        try:
            await self._sink.report(session, report)
        except DoorlockError as error:
            return await self._complain(sid, error.message)
        except Exception:
            log.exception("a message could not be handled", event_name=report.event)
            return await self._complain(sid, "the message could not be handled")
        return {"success": True, "timestamp": iso(utc_now())}

    async def _unreadable(self, sid: str) -> dict[str, Any]:
        reason = "the message cannot be read"
        if (session := self._sessions.get(sid)) is not None:
            await self._told(self._sink.rejected(session, "unreadable", reason))
        return await self._complain(sid, reason)

    async def _complain(self, sid: str, message: str) -> dict[str, Any]:
        await self._sio.emit("error", {"message": message}, to=sid)
        return {"success": False, "message": message}

    def _prefer(self, session: Session, event: str) -> None:
        """Commands go to the socket on which the device said who it is, or beats."""
        sockets = self._sockets.get(session.device_id, [])
        if event in _PREFERRED and session.id in sockets[:-1]:
            sockets.remove(session.id)
            sockets.append(session.id)

    async def _told(self, telling: Any) -> None:
        try:
            await telling
        except DoorlockError as error:
            log.warning("something a device did could not be recorded", error=error.message)


def says_dashboard(auth: object) -> bool:
    return isinstance(auth, dict) and auth.get("clientType") == "dashboard"


def credentials(environ: dict[str, Any], auth: object) -> tuple[str, str] | None:
    """The device id and token of a handshake: from `auth`, the query, or the headers."""
    query = {key: found[-1] for key, found in parse_qs(environ.get("QUERY_STRING", "")).items()}
    bearer = str(environ.get("HTTP_AUTHORIZATION", ""))
    headers = {
        "clientType": "device",
        "deviceId": environ.get("HTTP_X_DEVICE_ID"),
        "token": bearer[7:].strip() if bearer.lower().startswith("bearer ") else None,
    }
    for offered in (auth, query, headers):
        if not isinstance(offered, dict) or offered.get("clientType") != "device":
            continue
        device_id, token = offered.get("deviceId"), offered.get("token")
        if isinstance(device_id, str) and isinstance(token, str) and device_id and token:
            return device_id, token
    return None


def _address(environ: dict[str, Any]) -> str | None:
    # the library reports 127.0.0.1 for every peer: the scope knows better
    client = environ.get("asgi.scope", {}).get("client")
    return str(client[0]) if client else None

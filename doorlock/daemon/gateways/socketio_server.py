"""The library's server, hardened against packets that no Socket.IO client sends.

By itself it logs a traceback for each and tells the client nothing, gathers binary attachments
without a bound, calls the handlers of `connect` and `disconnect` for events of those names, and
leaves a connection standing whose WebSocket said what Engine.IO does not know.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import socketio
import structlog
from engineio.async_drivers import asgi
from socketio import packet
from socketio.exceptions import ConnectionRefusedError as Refused

log = structlog.get_logger("doorlock.socketio")

Unreadable = Callable[[str], Awaitable[dict[str, Any]]]

_RESERVED = frozenset({"connect", "disconnect"})
_BINARY = ("5", "6")
_ENGINE_PACKETS = tuple("0123456")
_ASKS = re.compile(r"2(\d{1,15})\[")


class Server(socketio.AsyncServer):  # type: ignore[misc]
    """`unreadable` hears the sid of a client each time that a packet of its was dropped, and says
    what to answer where the packet asked for an acknowledgement."""

    def __init__(self, unreadable: Unreadable, **options: Any) -> None:
        # what the library says of a bad packet, anybody who reaches the port could have it say
        quiet = logging.getLogger("doorlock.socketio.library")
        quiet.setLevel(logging.CRITICAL)
        super().__init__(async_mode="asgi", logger=quiet, engineio_logger=quiet, **options)
        self.eio._async = {**self.eio._async, "websocket": _WebSocket}
        self._unreadable = unreadable

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            if not isinstance(data, str) or data.startswith(_BINARY):
                raise ValueError("binary data has no place in any message")
            await super()._handle_eio_message(eio_sid, data)
        except Exception as error:
            log.debug("a packet could not be read", error=type(error).__name__)
            await self._drop_packet(eio_sid, data if isinstance(data, str) else "")

    async def _drop_packet(self, eio_sid: str, data: str) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, "/")
        if sid is None or not self.manager.is_connected(sid, "/"):
            await self.eio.disconnect(eio_sid)
            return
        answer = await self._unreadable(sid)
        if asks := _ASKS.match(data):
            ack = self.packet_class(packet.ACK, namespace="/", id=int(asks[1]), data=[answer])
            await self._send_packet(eio_sid, ack)

    async def _handle_event(self, eio_sid: str, namespace: str, id: Any, data: Any) -> None:
        if not isinstance(data[0], str) or data[0] in _RESERVED:
            raise ValueError("that is not the name of an event")
        await super()._handle_event(eio_sid, namespace, id, data)

    async def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        """Our own handlers: what they raise is a fault here, not an unreadable packet."""
        try:
            return await super()._trigger_event(event, namespace, *args)
        except Refused:
            raise
        except Exception as error:
            log.exception("a connection could not be handled", event_name=event)
            if event == "connect":
                raise Refused("Service unavailable") from error
            return None


class _WebSocket(asgi.WebSocket):  # type: ignore[misc]
    """Ends the connection at what is no Engine.IO packet."""

    async def wait(self) -> Any:
        message = await super().wait()
        if not isinstance(message, str) or not message.startswith(_ENGINE_PACKETS):
            raise OSError
        return message

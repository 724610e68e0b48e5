"""Clients that cost next to nothing, so that the daemon is what is measured.

Written by hand on asyncio's protocols: HTTP/1.1 over a Unix socket, WebSocket, and a device that
speaks Socket.IO over that.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import orjson

_LENGTH = b"content-length:"
_BEAT = 30.0


class Http(asyncio.Protocol):
    """One connection that is kept, one request at a time on it."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def over(cls, socket: Path) -> Http:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(cls, str(socket))
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    async def get(self, path: str) -> Any:
        """The answer's `data`. Raises RuntimeError for anything but a success."""
        return await self._ask(b"GET %b HTTP/1.1\r\nHost: local\r\n\r\n" % path.encode())

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """As `get`."""
        sent = orjson.dumps(body)
        head = (
            b"POST %b HTTP/1.1\r\nHost: local\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n"
        )
        return await self._ask(head % (path.encode(), len(sent)) + sent)

    def close(self) -> None:
        self._transport.close()

    async def _ask(self, request: bytes) -> Any:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        status, body = await self._answer
        if not 200 <= status < 300:
            raise RuntimeError(f"the daemon answered {status}: {body.decode(errors='replace')}")
        return orjson.loads(body)["data"]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().index(_LENGTH) + len(_LENGTH)
        if len(body) < int(head[at:].split(b"\r\n", 1)[0]):
            return
        self._buffer = b""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())


class WebSocket(asyncio.Protocol):
    """Text frames both ways; subclasses say what to do with one."""

    _transport: asyncio.Transport

    def __init__(self, host: str, port: int, path: str) -> None:
        self._address = (host, port)
        self._path = path
        self._buffer = bytearray()
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect and shake hands."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, *self._address)
        await self.opened

    def text_received(self, text: bytes) -> None:
        raise NotImplementedError

    def send(self, text: bytes) -> None:
        # A mask of zeros is a mask: the frame is as the protocol wants it, and costs nothing.
        size = len(text)
        head = bytes((0x81, 0x80 | size)) if size < 126 else struct.pack(">BBH", 0x81, 0xFE, size)
        self._transport.write(head + b"\0\0\0\0" + text)

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._address[0]}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("refused"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open and not self._shaken():
            return
        while (frame := self._frame()) is not None:
            self.text_received(frame)

    def _shaken(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(bytes(head[:80]).decode(errors="replace"))
        self._buffer = rest
        self._is_open = True
        self.shaken()
        return True

    def shaken(self) -> None:
        """The handshake is done; `opened` is to be resolved now or by what follows."""
        self.opened.set_result(None)

    def _frame(self) -> bytes | None:
        """The next text, or None when it is not all there yet."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, begin = buffer[1] & 0x7F, 2
        if size == 126:
            if len(buffer) < 4:
                return None
            size, begin = struct.unpack_from(">H", buffer, 2)[0], 4
        if size == 127 or buffer[0] != 0x81:
            raise ConnectionError("a frame that no benchmark expects")
        if len(buffer) < begin + size:
            return None
        text = bytes(buffer[begin : begin + size])
        del buffer[: begin + size]
        return text


class Device(WebSocket):
    """A door that acknowledges every command at once, in each of `steps`."""

    def __init__(
        self, url: str, device_id: str, token: str, steps: Sequence[str] = ("executed",)
    ) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        super().__init__(host, int(port), "/socket.io/?EIO=4&transport=websocket")
        self.id = device_id
        self.steps = tuple(steps)
        self._auth = {"clientType": "device", "deviceId": device_id, "token": token}
        self._beat: asyncio.TimerHandle | None = None

    def shaken(self) -> None:
        pass  # open once Socket.IO says so

    def text_received(self, text: bytes) -> None:
        match text[:1], text[1:2]:
            case b"2", b"":
                self.send(b"3")
            case b"0", _:
                self.send(b"40" + orjson.dumps(self._auth))
            case b"4", b"0":
                self.opened.set_result(None)
            case b"4", b"2":
                self._told(*orjson.loads(text[2:]))
            case _:
                self._refused(text)

    def beat_from(self, first: float) -> None:
        """A heartbeat after `first` seconds, and each 30 from then on."""
        self._beat = asyncio.get_running_loop().call_later(first, self._beats)

    def close(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        super().close()

    def _beats(self) -> None:
        self._say("device_heartbeat", {"batteryLevel": 87, "status": "online"})
        self.beat_from(_BEAT)

    def _told(self, event: str, data: Mapping[str, Any]) -> None:
        if event == "error":
            raise RuntimeError(f"the daemon complains: {data}")
        for step in self.steps:
            self._say("command_ack", {"commandId": data["commandId"], "status": step})

    def _say(self, event: str, data: Mapping[str, Any]) -> None:
        self.send(b"42" + orjson.dumps([event, {"deviceId": self.id, **data}]))

    def _refused(self, text: bytes) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(text.decode(errors="replace")))

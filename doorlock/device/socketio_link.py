"""The device's Socket.IO link: WebSocket only, credentials in the handshake's `auth`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Mapping
from os import dup
from typing import Any

import aiohttp
import socketio
from socketio.exceptions import SocketIOError

from doorlock.device.link import (
    KNOWN_REFUSALS,
    AuthRefused,
    Credentials,
    Link,
    LinkDown,
    LinkEvents,
)
from doorlock.device.spec import DeviceSpec
from doorlock.protocol import Transport

_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0


class SocketIoLink(Link):
    """One Socket.IO connection. aiohttp sets TCP_NODELAY on it by itself."""

    transport = Transport.WEBSOCKET

    def __init__(
        self, spec: DeviceSpec, credentials: Credentials, events: LinkEvents, dice: random.Random
    ) -> None:
        super().__init__(credentials, events, spec.backoff, dice)
        self._url = spec.url or ""
        self._tls = spec.tls
        self._confirm_seconds = spec.confirm_seconds
        self._client: socketio.AsyncClient | None = None
        self._gone: asyncio.Future[None] | None = None
        self._refusal: str | None = None

    async def session(self) -> None:
        self._gone = asyncio.get_running_loop().create_future()
        self._refusal = None
        connector = aiohttp.TCPConnector(ssl=True if self._tls is None else self._tls)
        async with aiohttp.ClientSession(connector=connector) as http:
            client = self._client = self._make_client(http)
            try:
                await self._connect(client)
                self.up()
                await self._gone
            finally:
                self.down()
                self._client = None
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await client.disconnect()

    async def send(self, event: str, data: Mapping[str, Any], *, confirm: bool) -> None:
        client, gone = self._client, self._gone
        if not self.live or client is None or gone is None:
            raise LinkDown
        answered = asyncio.get_running_loop().create_future()

        def answer(*_: object) -> None:
            if not answered.done():
                answered.set_result(None)

        try:
            await client.emit(event, dict(data), callback=answer if confirm else None)
        except (SocketIOError, OSError, RuntimeError) as error:
            raise LinkDown from error
        if confirm:
            await asyncio.wait(
                (answered, gone),
                timeout=self._confirm_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not answered.done():
                self.suspect = True
                raise LinkDown

    def drop(self) -> None:
        """Shut the TCP connection down underneath, so that nobody says goodbye."""
        websocket = self._client and self._client.eio.ws
        bare = websocket and websocket.get_extra_info("socket")
        if bare:
            with contextlib.suppress(OSError), socket.socket(fileno=dup(bare.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    def _make_client(self, http: aiohttp.ClientSession) -> socketio.AsyncClient:
        client = socketio.AsyncClient(
            reconnection=False, handle_sigint=False, http_session=http, logger=False
        )
        client.on("connect_error", self._note_refusal)
        client.on("disconnect", self._note_end)
        client.on("*", self._note_event)
        return client

    async def _connect(self, client: socketio.AsyncClient) -> None:
        proof = {
            "clientType": "device",
            "deviceId": self.credentials.identity.device_id,
            "token": self.credentials.token,
        }
        try:
            await client.connect(
                self._url, auth=proof, transports=["websocket"], wait_timeout=_CONNECT_SECONDS
            )
        except SocketIOError as error:
            if self._refusal in KNOWN_REFUSALS:
                raise AuthRefused(self._refusal) from error
            raise

    def _note_refusal(self, data: Any = None) -> None:
        message = data.get("message") if isinstance(data, Mapping) else data
        self._refusal = message if isinstance(message, str) else None

    def _note_end(self, *_: object) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _note_event(self, event: str, data: Any = None, *_: object) -> None:
        self.hear(event, data)

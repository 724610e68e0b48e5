"""Calls an ASGI application in this process, as one peer of a socket or as somebody on TCP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from doorlock.daemon.api.callers import Peer, with_peer

TCP_PEER = ("203.0.113.7", 40000)


@dataclass
class Answer:
    """A whole response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]


@dataclass(frozen=True)
class Frame:
    """One server-sent event; a comment has no event."""

    event: str | None
    data: Any
    id: int | None


class Stream:
    """An answer that goes on; `frames` gives its events as they come."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.started = asyncio.Event()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._rest = b""
        self.running: asyncio.Task[None] | None = None

    async def finished(self) -> None:
        """Until the application has returned; raises what it raised after its answer."""
        assert self.running is not None
        await self.running

    def take(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            self.started.set()
        elif chunk := message.get("body", b""):
            self.answer.body += chunk
            self._chunks.put_nowait(chunk)

    async def frame(self) -> Frame:
        """The next event; comments are passed over."""
        async with asyncio.timeout(10):
            while True:
                while b"\n\n" not in self._rest:
                    self._rest += await self._chunks.get()
                text, self._rest = self._rest.split(b"\n\n", 1)
                found = _frame(text.decode())
                if found.event is not None:
                    return found

    async def frames(self, count: int) -> list[Frame]:
        return [await self.frame() for _ in range(count)]


def _frame(text: str) -> Frame:
    fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(":"))
    number = fields.get("id")
    data = json.loads(fields["data"]) if "data" in fields else None
    return Frame(fields.get("event"), data, int(number) if number else None)


class Client:
    """Asks `app`; with `uid` as that Unix account over the socket, without one over TCP."""

    def __init__(self, app: Any, uid: int | None = None, **headers: str) -> None:
        self._app, self._uid = app, uid
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.ask("POST", path, body, headers=headers)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: Sequence[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body` goes out as JSON, `raw` as it is, in pieces of which no length is told."""
        stream = Stream()
        chunks = list(raw) if raw is not None else [b"" if body is None else _json(body)]
        scope = self._scope(method, path, headers or {}, None if raw is not None else chunks[0])

        async def send(message: Mapping[str, Any]) -> None:
            stream.take(message)

        await self._app(scope, _receiver(chunks, asyncio.Event()), send)
        return stream.answer

    @asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator[Stream]:
        """A GET whose answer goes on until the block is left."""
        stream, gone = Stream(), asyncio.Event()

        async def send(message: Mapping[str, Any]) -> None:
            stream.take(message)

        scope = self._scope("GET", path, headers, b"")
        running = asyncio.create_task(self._app(scope, _receiver([b""], gone), send))
        stream.running = running
        try:
            async with asyncio.timeout(10):
                await stream.started.wait()
            yield stream
        finally:
            gone.set()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _scope(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> dict[str, Any]:
        plain, _, query = path.partition("?")
        sent = {"host": "doorlock", **self._headers}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None or body:
            sent.setdefault("content-type", "application/json")
        if body:
            sent.setdefault("content-length", str(len(body)))
        peer = None if self._uid is None else Peer(1, self._uid, self._uid)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(plain),
            "raw_path": plain.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in sent.items()],
            "client": TCP_PEER if peer is None else None,
            "server": ("doorlock", 80),
            "state": with_peer({}, peer),
        }


def _json(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _receiver(chunks: Sequence[bytes], gone: asyncio.Event) -> Any:
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive

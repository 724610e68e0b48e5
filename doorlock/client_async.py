"""The same calls as `doorlock.client`, to await: for the dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from doorlock import client_wire as wire
from doorlock.client import PAGE
from doorlock.client_wire import Answer, ConnectionLost, Query, R, Script, ServerEvent


class AsyncConnection:
    """One request and its response over one connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.patience = patience
        self.response = wire.Response()

    async def send(self, request: bytes) -> None:
        try:
            self._writer.write(request)
            await self._writer.drain()
        except OSError:
            raise ConnectionLost from None
        await self.run(self.response.read_head())

    async def run(self, script: Script[R]) -> R:
        """Drive a script to its end."""
        try:
            want = next(script)
            while True:
                want = script.send(await self._read(want))
        except StopIteration as end:
            result: R = end.value
            return result

    async def _read(self, want: int) -> bytes:
        reading = self._reader.readexactly(want) if want else self._reader.readuntil(b"\n")
        try:
            return await asyncio.wait_for(reading, self.patience)
        except TimeoutError:
            raise wire.TooSlow(self.patience) from None
        except asyncio.LimitOverrunError:
            raise wire.unreadable() from None
        except (OSError, asyncio.IncompleteReadError):
            raise ConnectionLost from None

    def close(self) -> None:
        self._writer.close()


class AsyncClient:
    """As `doorlock.client.Client`. Cancelling a call closes its connection."""

    def __init__(
        self,
        sockets: Sequence[Path],
        *,
        as_user: str | None = None,
        patience: float = 10.0,
        tokens: Mapping[Path, str] | None = None,
    ) -> None:
        self.sockets = list(sockets)
        self.as_user = as_user
        self.patience = patience
        self.tokens = dict(tokens or {})

    async def get(self, path: str, query: Query | None = None) -> Answer:
        return await self.call("GET", path, query=query)

    async def post(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await self.call("POST", path, body=body, headers=headers)

    async def put(self, path: str, body: Any) -> Answer:
        return await self.call("PUT", path, body=body)

    async def delete(self, path: str) -> Answer:
        return await self.call("DELETE", path)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, one answer."""
        fields = {**wire.as_user_header(self.as_user), **(headers or {})}
        request = wire.Request(method, path, query, fields, body)
        async with self._open(request) as connection:
            response = connection.response
            content = await connection.run(response.read_body())
            return wire.parse_answer(response.status, content, response.headers)

    async def items(self, path: str, query: Query | None = None) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list, over as many pages as it has."""
        page = 1
        while True:
            answer = await self.get(path, {"limit": PAGE, **(query or {}), "page": page})
            for item in answer.data:
                yield item
            if not (answer.envelope.get("pagination") or {}).get("hasNextPage"):
                return
            page += 1

    async def stream(
        self, query: Query | None = None, *, after: int | str | None = None
    ) -> AsyncIterator[ServerEvent]:
        """One connection's worth of the event stream; ConnectionLost or Unavailable when it broke.

        Go on with the last frame's `id`, or with the position that `hello` told.
        """
        parser = wire.EventParser()
        headers = wire.as_user_header(self.as_user)
        query = {**(query or {}), "after": after}
        request = wire.Request("GET", "/api/events/stream", query, headers)
        async with self._open(request) as connection:
            connection.patience = wire.IDLE_LIMIT
            response = connection.response
            if response.status >= 400:
                body = await connection.run(response.read_body())
                wire.parse_answer(response.status, body, response.headers)
            while chunk := await connection.run(response.read_chunk()):
                for event in parser.feed(chunk):
                    yield event
        raise ConnectionLost

    @asynccontextmanager
    async def _open(self, request: wire.Request) -> AsyncIterator[AsyncConnection]:
        connection, path = await self._connect()
        try:
            await connection.send(request.render(self.tokens.get(path)))
            yield connection
        finally:
            connection.close()

    async def _connect(self) -> tuple[AsyncConnection, Path]:
        failures = []
        for path in self.sockets:
            opening = asyncio.open_unix_connection(str(path), limit=wire.MAX_LINE)
            try:
                reader, writer = await asyncio.wait_for(opening, self.patience)
            except OSError as error:
                failures.append((path, error))
            else:
                return AsyncConnection(reader, writer, self.patience), path
        raise wire.unreachable(failures)

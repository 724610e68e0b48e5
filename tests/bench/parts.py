"""The bare parts that a command is made of, each measured alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from doorlock.daemon.stores.sqlite import SqliteStore
from tests.bench.daemon import Daemon
from tests.bench.echo import echo_port
from tests.bench.events import event
from tests.bench.wire import Http, WebSocket


class Echoed(WebSocket):
    """Knows when what it sent has come back."""

    back: asyncio.Future[None]

    async def round_trip(self) -> None:
        self.back = asyncio.get_running_loop().create_future()
        self.send(b'42["unlock_door",{"commandId":"0190d5a2-0000-7000-8000-000000000000"}]')
        await self.back

    def text_received(self, text: bytes) -> None:
        self.back.set_result(None)


@dataclass
class Parts:
    """Seconds that each part took, sample by sample."""

    _http: Http
    _store: SqliteStore
    _socket: Echoed
    http: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    websocket: list[float] = field(default_factory=list)

    async def measure(self, times: int) -> None:
        """Add as many samples of each."""
        for _ in range(times):
            begin = perf_counter()
            await self._http.get("/api/health")
            self.http.append(perf_counter() - begin)
        for number in range(times):
            begin = perf_counter()
            await self._store.append([event(number)])
            await self._store.append([event(number)])
            self.commits.append(perf_counter() - begin)
        for _ in range(times):
            begin = perf_counter()
            await self._socket.round_trip()
            self.websocket.append(perf_counter() - begin)


@asynccontextmanager
async def bare_parts(running: Daemon) -> AsyncIterator[Parts]:
    """HTTP of the daemon itself, a store beside the daemon's, an echo in another process."""
    with tempfile.TemporaryDirectory(prefix="dl") as folder:
        store = SqliteStore(Path(folder) / "bench.db")
        await store.open()
        try:
            async with echo_port() as port:
                socket = Echoed("127.0.0.1", port, "/")
                await socket.open()
                with closing(await Http.over(running.socket)) as http, closing(socket):
                    yield Parts(http, store, socket)
        finally:
            await store.close()

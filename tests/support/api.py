"""The routes of the daemon over real sockets, on the services of `tests.support.house`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from doorlock.daemon.api import app as http
from doorlock.daemon.api.server import HttpServer, tcp_listener, unix_listener
from doorlock.daemon.api.state import Services
from doorlock.daemon.gateways.socketio import SocketIoGateway
from tests.support.house import House


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `body` is the envelope."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def data(self) -> Any:
        return self.body["data"]


class Api:
    """Calls over TCP, or with `local=True` over the Unix socket."""

    def __init__(
        self, url: str, remote: aiohttp.ClientSession, local: aiohttp.ClientSession
    ) -> None:
        self.url = url
        self._remote, self._local = remote, local

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        local: bool = False,
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        session = self._local if local else self._remote
        async with session.request(method, self.url + path, json=body, headers=sent) as answer:
            return Answer(answer.status, await answer.json(), answer.headers)

    async def get(self, path: str, token: str | None = None, **more: Any) -> Answer:
        return await self.call("GET", path, token=token, **more)

    async def post(
        self, path: str, body: Any = None, token: str | None = None, **more: Any
    ) -> Answer:
        return await self.call("POST", path, body, token=token, **more)

    async def put(
        self, path: str, body: Any = None, token: str | None = None, **more: Any
    ) -> Answer:
        return await self.call("PUT", path, body, token=token, **more)

    async def delete(self, path: str, token: str | None = None, **more: Any) -> Answer:
        return await self.call("DELETE", path, token=token, **more)

    def stream(self, path: str, token: str) -> Any:
        """A response that goes on; `async with` it."""
        return self._remote.get(self.url + path, headers={"Authorization": f"Bearer {token}"})


def services_of(house: House) -> Services:
    return Services(
        clock=house.clock,
        accounts=house.accounts,
        sessions=house.sessions,
        signin=house.signin,
        access_tokens=house.access_tokens,
        guard=house.guard,
        registry=house.registry,
        sharing=house.sharing,
        transfers=house.transfers,
        explain=house.explain,
        submit=house.submit,
        lifecycle=house.lifecycle,
        queries=house.queries,
        ingest=house.ingest,
        visitors=house.visitors,
        visitor_log=house.visitor_log,
        pictures=house.pictures,
        live_view=house.live_view,
        health=house.health,
        overview=house.overview,
        clearing=house.clearing,
        metrics=house.metrics,
        settings=dict,
        public_url=lambda: "http://doors.test",
        listen_url=lambda: None,
        mqtt_url=lambda: None,
    )


@asynccontextmanager
async def serving(house: House) -> AsyncIterator[Api]:
    """`house` on a TCP port and on a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="dl"))
    routes = http.build(services_of(house))
    sockets = SocketIoGateway(house.ingest, (), house.dashboards)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        listener = tcp_listener("127.0.0.1", 0)
        port = listener.getsockname()[1]
        for server in (
            HttpServer(sockets.app(http.for_tcp(routes, ())), listener),
            HttpServer(http.for_socket(routes), unix_listener(folder / "s")),
        ):
            stack.push_async_callback(server.stop)
            await server.start()
        remote = await stack.enter_async_context(aiohttp.ClientSession())
        path = aiohttp.UnixConnector(str(folder / "s"))
        local = await stack.enter_async_context(aiohttp.ClientSession(connector=path))
        yield Api(f"http://127.0.0.1:{port}", remote, local)

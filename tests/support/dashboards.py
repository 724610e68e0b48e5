"""People's dashboards over Socket.IO: `heard` is every event, `ask` waits for the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import socketio
from socketio.exceptions import ConnectionError as Refused

from tests.support.waiting import until


class DashboardSocket:
    """`async with` it to be connected."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self.auth: dict[str, Any] = {"clientType": "dashboard", "token": token}
        self.heard: list[tuple[str, Any]] = []
        self.ended = asyncio.Event()
        self.sio = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self.sio.on("*", self._note)
        self.sio.on("disconnect", self._gone)

    async def __aenter__(self) -> DashboardSocket:
        await self.sio.connect(self._url, auth=self.auth, transports=["websocket"], wait_timeout=15)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sio.disconnect()

    async def refusal(self) -> str:
        """Why it may not connect."""
        told: list[Any] = []
        self.sio.on("connect_error", told.append)
        try:
            async with self:
                raise AssertionError("it was let in")
        except Refused:
            await until(lambda: told, "the reason is told")
        return str(told[0]["message"] if isinstance(told[0], dict) else told[0])

    async def ask(self, event: str, data: Any = None) -> Any:
        return await self.sio.call(event, data, timeout=15)

    def all(self, event: str) -> list[Any]:
        return [data for name, data in self.heard if name == event]

    async def hears(self, event: str, **fields: Any) -> Any:
        """The first message of this name that has these fields."""

        def there() -> Any:
            found = (data for data in self.all(event) if fields.items() <= data.items())
            return next(found, None)

        return await until(there, f"a {event} with {fields} comes, after {self.heard}")

    async def has_ended(self) -> None:
        await asyncio.wait_for(self.ended.wait(), 15)

    async def _note(self, event: str, data: Any = None, *_: object) -> None:
        self.heard.append((event, data))

    async def _gone(self, *_: object) -> None:
        self.ended.set()

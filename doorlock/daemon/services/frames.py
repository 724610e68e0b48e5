"""Live view: a camera sends frames while somebody watches, and they go to whoever does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

from doorlock.daemon.domain.pictures import JPEG, BadPicture, from_text, media_type, stripped
from doorlock.daemon.ports import Clock, Outgoing
from doorlock.daemon.services.telling import Telling
from doorlock.times import iso

_TOLD_WITHIN = timedelta(seconds=30)
_QUEUED = 2  # whoever is too slow sees fewer frames, not older ones


class Watch:
    """The frames of one camera for one who watches."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)

    def put(self, frame: bytes) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(frame)

    async def next(self) -> bytes:
        """The next frame, a JPEG."""
        return await self._queue.get()


class Frames:
    """Who watches which camera."""

    def __init__(self, clock: Clock, telling: Telling) -> None:
        self._clock, self._telling = clock, telling
        self._watching: dict[str, set[Watch]] = {}
        self._asked: set[str] = set()  # the cameras that were told to send
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def watch(self, device_id: str) -> AsyncIterator[Watch]:
        """Frames of `device_id` as long as this lasts. Who may watch is asked before."""
        watch = Watch()
        self._watching.setdefault(device_id, set()).add(watch)
        try:
            await self._ask(device_id)
            yield watch
        finally:
            self._leave(device_id, watch)
            # it must be told even when whoever watched was cancelled
            await asyncio.shield(asyncio.ensure_future(self._ask(device_id)))

    def watched(self, device_id: str) -> bool:
        return device_id in self._watching

    def publish(self, device_id: str, image: str) -> None:
        """A frame as the camera sent it. Raises BadPicture, TooLarge; nobody watching, nothing."""
        if not self.watched(device_id):
            return
        frame = stripped(from_text(image))
        if media_type(frame) != JPEG:
            raise BadPicture("a frame is a JPEG")
        for watch in self._watching[device_id]:
            watch.put(frame)

    async def device_is_back(self, device_id: str) -> None:
        """It has connected: it may have forgotten that it is watched."""
        if self.watched(device_id):
            self._asked.discard(device_id)
            await self._ask(device_id)

    def _leave(self, device_id: str, watch: Watch) -> None:
        watching = self._watching[device_id]
        watching.discard(watch)
        if not watching:
            del self._watching[device_id]

    async def _ask(self, device_id: str) -> None:
        """Tell the camera what is wanted of it, where it has not been told."""
        turn = self._turns.setdefault(device_id, asyncio.Lock())
        async with turn:
            wanted = self.watched(device_id)
            if wanted is (device_id in self._asked):
                return
            (self._asked.add if wanted else self._asked.discard)(device_id)
            now = self._clock.now()
            data: dict[str, Any] = {
                "command": "start_stream" if wanted else "stop_stream",
                "parameters": {},
                "deviceId": device_id,
                "timestamp": iso(now),
            }
            await self._telling.tell(
                Outgoing(device_id, "backend-command", data, now + _TOLD_WITHIN)
            )

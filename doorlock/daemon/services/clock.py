"""The real clock, and the agenda: what must happen at a moment, in one task."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog

from doorlock.daemon.ports import Clock
from doorlock.times import utc_now

log = structlog.get_logger("doorlock.agenda")

Action = Callable[[], Awaitable[None]]


def _always() -> bool:
    return True


class SystemClock:
    """`Clock` by the machine's own."""

    def now(self) -> datetime:
        return utc_now()

    async def sleep_until(self, moment: datetime) -> None:
        # short naps: the wall clock may be set while we sleep, and a deadline follows it
        while (left := (moment - utc_now()).total_seconds()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, 60.0))


class Agenda:
    """Runs actions at or after their moment, earliest first, each in a task of its own.

    An action that was put in twice runs twice: each looks for itself whether there is still
    something to do. `still` says whether there can be: an action without it is passed over, and
    never wakes the agenda once it has come to the front.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[datetime, int, Action, Callable[[], bool]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def at(self, moment: datetime, action: Action, still: Callable[[], bool] = _always) -> None:
        entry = (moment, next(self._order), action, still)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._start_due()
                self._changed.clear()
                await self._next_moment()
        finally:
            for task in self._running:
                task.cancel()

    async def _next_moment(self) -> None:
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._changed.wait())]
        if self._heap:
            waiting.append(asyncio.ensure_future(self._clock.sleep_until(self._heap[0][0])))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()

    def _start_due(self) -> None:
        now = self._clock.now()
        while self._heap and (self._heap[0][0] <= now or not self._heap[0][3]()):
            *_, action, still = heapq.heappop(self._heap)
            if still():
                task = asyncio.ensure_future(self._guarded(action))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _guarded(self, action: Action) -> None:
        try:
            await action()
        except Exception:
            log.exception("a scheduled action failed")

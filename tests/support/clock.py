"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


async def no_other_work() -> None:
    """Nothing besides the event loop does anything."""


class FakeClock:
    """`ports.Clock`, driven by `advance`.

    `other_work` waits until whatever runs outside the event loop (a store's thread) has come to
    rest: time moves on only when everything that was due has been done.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.other_work: Callable[[], Awaitable[object]] = no_other_work

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, moment: datetime) -> None:
        if moment <= self._now:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (moment, next(self._order), woken))
        await woken

    async def advance(self, span: timedelta | float) -> None:
        """Let `span` (or so many seconds) pass; each sleeper wakes at its own moment, in order."""
        target = self._now + (span if isinstance(span, timedelta) else timedelta(seconds=span))
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            moment, _, woken = heapq.heappop(self._sleepers)
            if woken.done():  # whoever slept was cancelled
                continue
            self._now = max(self._now, moment)
            woken.set_result(None)
            await self.settle()
        self._now = target
        await self.settle()

    def jump(self, span: timedelta | float) -> None:
        """Set the clock without waking anybody, as when the machine was suspended."""
        self._now += span if isinstance(span, timedelta) else timedelta(seconds=span)

    async def settle(self) -> None:
        """Let everything that can run do so, until all of it waits for time or for the test."""
        for _ in range(2):
            for _ in range(15):
                await asyncio.sleep(0)
            await self.other_work()

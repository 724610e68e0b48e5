"""The live end of the event log: who follows it misses nothing and hears nothing twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from doorlock.daemon.domain.events import Event
from doorlock.daemon.ports import EventFilter, Store

_RECENT = 5000
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Gap:
    """`requested` is no position to go on from: pruned, or beyond the log. `first` comes next."""

    requested: int
    first: int


class Feed:
    """Keeps the newest events at hand, and wakes whoever follows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._waiting: set[asyncio.Event] = set()
        self._last = 0
        store.listen(self._arrived)

    async def start(self) -> None:
        """Take up the log where it stands."""
        self._last = max(self._last, (await self._store.bounds()).last)

    @property
    def position(self) -> int:
        """The position of the newest event."""
        return self._last

    def _arrived(self, events: Sequence[Event]) -> None:
        self._recent.extend(events)
        self._last = events[-1].seq
        for wake in self._waiting:
            wake.set()

    async def follow(self, after: int) -> AsyncGenerator[Event | Gap, None]:
        """Every event after position `after`, in order, for ever; a Gap where some were pruned."""
        with self._woken() as wake:
            at = after
            bounds = await self._store.bounds()
            if at + 1 < bounds.first:
                yield Gap(at, bounds.first)
                at = bounds.first - 1
            elif at > bounds.last:  # from before a backup was restored: start where the log is
                yield Gap(at, bounds.last + 1)
                at = bounds.last
            while True:
                wake.clear()
                for event in await self._after(at):
                    if event.seq > at + 1:
                        yield Gap(at, event.seq)
                    at = event.seq
                    yield event
                if at >= self._last:
                    await wake.wait()

    async def _after(self, at: int) -> Sequence[Event]:
        if at >= self._last:
            return ()
        if self._recent and self._recent[0].seq <= at + 1:
            skip = at + 1 - self._recent[0].seq
            return list(itertools.islice(self._recent, skip, skip + _BATCH))
        return await self._store.list_events(EventFilter(after=at), limit=_BATCH)

    @contextmanager
    def _woken(self) -> Iterator[asyncio.Event]:
        wake = asyncio.Event()
        self._waiting.add(wake)
        try:
            yield wake
        finally:
            self._waiting.discard(wake)

"""Old events go, in small steps, and the log says which."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.ports import Clock, Pruned, Store
from doorlock.daemon.services.lifecycle import SYSTEM
from doorlock.errors import Unavailable

log = structlog.get_logger("doorlock.retention")

_EVERY = timedelta(hours=1)
_STEP = 500


class Retention:
    """Prunes what is older than `keep`."""

    def __init__(self, store: Store, clock: Clock, keep: timedelta) -> None:
        self._store, self._clock, self._keep = store, clock, keep

    async def run(self) -> None:
        """Until cancelled: once now, then every hour."""
        while True:
            try:
                await self.prune()
            except Unavailable as error:
                log.warning("old events could not be pruned", error=error.message)
            await self._clock.sleep_until(self._clock.now() + _EVERY)

    async def prune(self) -> int:
        """Take out everything that is too old; returns how many events went."""
        before, total = self._clock.now() - self._keep, 0
        while (step := await self._store.prune(before, _STEP, self._note)) is not None:
            total += step.count
            await asyncio.sleep(0)  # devices come first
        return total

    def _note(self, pruned: Pruned) -> NewEvent:
        return NewEvent(
            EventType.LOG_PRUNED,
            self._clock.now(),
            payload={
                "count": pruned.count,
                "fromSeq": pruned.from_seq,
                "toSeq": pruned.to_seq,
                "lastHash": pruned.last_hash,
            },
            metadata=SYSTEM,
        )

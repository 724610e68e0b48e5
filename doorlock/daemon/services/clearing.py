"""Clearing the log: for whoever asks, and for their pages alone. Nothing is deleted, so that what
happened to a door can be read by everybody else, and the chain of hashes holds."""

from __future__ import annotations

from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.users import Caller, Scope
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.feed import Feed
from doorlock.daemon.services.guard import metadata_of, require_scope


class Clearing:
    def __init__(self, store: Store, clock: Clock, feed: Feed) -> None:
        self._store, self._clock, self._feed = store, clock, feed

    async def clear(self, caller: Caller) -> int:
        """From now on the caller's pages begin after the position that is returned; that they were
        cleared stands there first. Raises NotAllowed."""
        require_scope(caller, Scope.ADMIN, "clear the log")
        position = self._feed.position
        event = NewEvent(
            EventType.SETTINGS_UPDATED,
            self._clock.now(),
            user_id=caller.user.id,
            payload={"changes": {"logClearedTo": position}},
            metadata=metadata_of(caller),
        )
        await self._store.update_user(caller.user.id, {"log_cleared_to": position}, [event])
        return position

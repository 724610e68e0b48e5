"""What the device still has to say, oldest first, bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doorlock.protocol import Transport

_DISPENSABLE = (frozenset({"motion_detected", "frame"}), frozenset({"snapshot", "snapshot_ready"}))


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message. `outcome_of` names the command whose outcome it carries: never dropped."""

    event: str
    data: Mapping[str, Any]
    via: Transport | None = None
    outcome_of: str | None = None
    is_progress: bool = False
    attempts: int = 0


class Outbox:
    """A queue that makes room by dropping the oldest motion, then pictures, then other events.

    Outcomes of commands stay whatever happens: they are as few as the commands remembered.
    """

    def __init__(self, limit: int = 500) -> None:
        self._limit = limit
        self._items: list[Outgoing] = []

    def __len__(self) -> int:
        return len(self._items)

    def push(self, item: Outgoing) -> Outgoing | None:
        """Add at the end; returns what was dropped for it, if anything was."""
        self._items.append(item)
        if len(self._items) <= self._limit:
            return None
        dropped = self._least_wanted()
        if dropped is not None:
            self._items.remove(dropped)
        return dropped

    def head(self) -> Outgoing | None:
        return self._items[0] if self._items else None

    def discard(self, item: Outgoing) -> None:
        """Take it out, if it is still in."""
        if item in self._items:
            self._items.remove(item)

    def _least_wanted(self) -> Outgoing | None:
        for names in _DISPENSABLE:
            if found := next((i for i in self._items if i.event in names), None):
                return found
        return next((i for i in self._items if i.outcome_of is None), None)

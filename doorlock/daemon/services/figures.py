"""Figures since the daemon began, counted as things happen: what `/metrics` is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.events import Event, EventType
from doorlock.daemon.ports import Store
from doorlock.daemon.services.lifecycle import Lifecycle

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the classes that durations are counted in, in seconds."""


class Histogram:
    """How many durations were at most so long."""

    def __init__(self) -> None:
        self._classes = [0] * len(BOUNDS)
        self.count, self.sum = 0, 0.0

    def observe(self, span: timedelta) -> None:
        seconds = max(0.0, span.total_seconds())
        self.count += 1
        self.sum += seconds
        for number, bound in enumerate(BOUNDS):
            self._classes[number] += seconds <= bound

    @property
    def classes(self) -> Sequence[tuple[float, int]]:
        """Each bound, and how many did not exceed it."""
        return list(zip(BOUNDS, self._classes, strict=True))


class Figures:
    """Listens to the store and to the commands; never waits."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self.events: Counter[EventType] = Counter()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.answered, self.finished = Histogram(), Histogram()
        self._timed: set[str] = set()
        store.listen(self._arrived)
        lifecycle.on_change(self._changed)

    def _arrived(self, events: Sequence[Event]) -> None:
        self.events.update(event.new.type for event in events)

    def _changed(self, command: Command) -> None:
        if command.acknowledged_at is not None and command.id not in self._timed:
            self._timed.add(command.id)
            self.answered.observe(command.acknowledged_at - command.issued_at)
        if command.is_finished:
            self._timed.discard(command.id)
            self.outcomes[command.name.value, command.status.value] += 1
            if command.finished_at is not None:
                self.finished.observe(command.finished_at - command.issued_at)

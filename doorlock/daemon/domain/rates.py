"""A token bucket: so many at once, and so many a second after that."""

from __future__ import annotations

from datetime import datetime


class Bucket:
    """Holds up to `size`, refilled by `per_second`; not shared between threads."""

    __slots__ = ("_left", "_per_second", "_since", "_size")

    def __init__(self, size: float, per_second: float, now: datetime) -> None:
        self._size, self._per_second = size, per_second
        self._left, self._since = size, now

    def take(self, now: datetime) -> bool:
        """Whether one more is within the limit at `now`; it counts if so."""
        passed = max(0.0, (now - self._since).total_seconds())
        self._left = min(self._size, self._left + passed * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """What was taken last was no use of it."""
        self._left = min(self._size, self._left + 1)

    def wait(self, now: datetime) -> float:
        """Seconds from `now` until one more is within the limit."""
        passed = max(0.0, (now - self._since).total_seconds())
        return max(0.0, (1 - self._left) / self._per_second - passed)

    def is_full(self, now: datetime) -> bool:
        passed = max(0.0, (now - self._since).total_seconds())
        return self._left + passed * self._per_second >= self._size


class Buckets:
    """A bucket for every key, all of one size. Keys that nobody uses any more cost nothing."""

    def __init__(self, size: float, per_second: float) -> None:
        self._size, self._per_second = size, per_second
        self._buckets: dict[str, Bucket] = {}
        self._sweep_at = 1000

    def of(self, key: str, now: datetime) -> Bucket:
        if len(self._buckets) >= self._sweep_at:
            self._buckets = {k: b for k, b in self._buckets.items() if not b.is_full(now)}
            self._sweep_at = 2 * len(self._buckets) + 1000
        return self._buckets.setdefault(key, Bucket(self._size, self._per_second, now))

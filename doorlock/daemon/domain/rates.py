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

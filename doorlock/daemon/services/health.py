"""How the daemon is: each part's word, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from doorlock import __version__
from doorlock.daemon.ports import Clock, PartHealth
from doorlock.daemon.services.feed import Feed
from doorlock.daemon.services.presence import Presence
from doorlock.times import iso

Probe = Callable[[], PartHealth]

_BROKEN = frozenset({"down", "degraded"})


class Health:
    """Asks every part; `probes` are cheap and never wait."""

    def __init__(
        self, clock: Clock, presence: Presence, feed: Feed, probes: Sequence[Probe]
    ) -> None:
        self._clock, self._presence, self._feed = clock, presence, feed
        self._probes = probes
        self._started = clock.now()

    def parts(self) -> list[PartHealth]:
        return [probe() for probe in self._probes]

    @property
    def is_degraded(self) -> bool:
        return any(part.status in _BROKEN for part in self.parts())

    def brief(self) -> dict[str, Any]:
        """For anybody who asks."""
        now = self._clock.now()
        return {
            "status": "degraded" if self.is_degraded else "healthy",
            "timestamp": iso(now),
            "uptime": round((now - self._started).total_seconds(), 3),
        }

    def detailed(self, device_ids: Iterable[str] | None = None) -> dict[str, Any]:
        """For a user: with the connections of their devices, or of all (None)."""
        parts = self.parts()
        return {
            **self.brief(),
            "version": __version__,
            "position": self._feed.position,
            "services": {
                part.name: {"status": part.status, "message": part.message, **part.figures}
                for part in parts
            },
            "connections": dict(self._presence.counts(device_ids)),
            "memory": {"residentBytes": _resident_bytes()},
            "checks": [
                {
                    "name": part.name,
                    "status": _verdict(part),
                    "message": part.message,
                    "hint": part.hint,
                }
                for part in parts
            ],
        }


def _verdict(part: PartHealth) -> str:
    if part.status in _BROKEN:
        return "error"
    return "warning" if part.hint else "ok"


def _resident_bytes() -> int | None:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            return int(statm.read().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return None

"""How the daemon is: each part's word, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from doorlock import __version__
from doorlock.daemon.ports import Clock, PartHealth
from doorlock.daemon.services.feed import Feed
from doorlock.daemon.services.presence import Presence
from doorlock.times import iso

Probe = Callable[[], PartHealth]


class Health:
    """Asks every part; `probes` are cheap and never wait."""

    def __init__(
        self, clock: Clock, presence: Presence, feed: Feed, probes: Sequence[Probe]
    ) -> None:
        self._clock, self._presence, self._feed = clock, presence, feed
        self._probes = probes
        self._started = clock.now()
        self._last_errors: dict[str, dict[str, str]] = {}

    def parts(self) -> list[PartHealth]:
        found = [probe() for probe in self._probes]
        for part in found:
            if part.is_broken:
                at = iso(self._clock.now())
                self._last_errors[part.name] = {"message": part.message, "timestamp": at}
        return found

    @property
    def last_errors(self) -> Mapping[str, Mapping[str, str]]:
        """What each part that was found broken said last, and when."""
        return self._last_errors

    @property
    def is_degraded(self) -> bool:
        return any(part.is_broken for part in self.parts())

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
            "lastErrors": dict(self.last_errors),
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
    if part.is_broken:
        return "error"
    return "warning" if part.hint else "ok"


def _resident_bytes() -> int | None:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            return int(statm.read().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return None

"""The daemon in figures, all tenants together, as families of samples that a monitor reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from doorlock import __version__
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.feed import Feed
from doorlock.daemon.services.figures import Figures, Histogram
from doorlock.daemon.services.health import Health
from doorlock.daemon.services.overview import has_low_battery
from doorlock.daemon.services.presence import Presence
from doorlock.protocol import LockValue

_STATUSES = ("online", "offline", "maintenance")


@dataclass(frozen=True, slots=True)
class Sample:
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name; `kind` is `gauge`, `counter` or `histogram`."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


class Metrics:
    """Gathers them when asked. No name of a device or a user is among them."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        figures: Figures,
        presence: Presence,
        health: Health,
        feed: Feed,
        dashboards: Callable[[], int],
        rejected: Callable[[], int],
    ) -> None:
        self._store, self._clock, self._figures = store, clock, figures
        self._presence, self._health, self._feed = presence, health, feed
        self._dashboards, self._rejected = dashboards, rejected

    async def families(self) -> list[Family]:
        waiting = len(await self._store.pending_visitors())
        return [
            *self._of_the_daemon(),
            *await self._of_devices(),
            gauge("visitors_pending", "Visitors that nobody has decided on.", waiting),
            *self._of_what_happened(),
        ]

    def _of_the_daemon(self) -> Iterable[Family]:
        health = self._health.detailed()
        parts = {part.name: not part.is_broken for part in self._health.parts()}
        memory = health["memory"]["residentBytes"]
        yield Family(
            "doorlock_build_info", "gauge", "The version.", [Sample(1, {"version": __version__})]
        )
        yield gauge("uptime_seconds", "How long the daemon has run.", health["uptime"])
        yield gauge("healthy", "Whether every part works.", health["status"] == "healthy")
        yield labelled("part_up", "gauge", "Whether a part works.", "part", parts)
        yield gauge("resident_memory_bytes", "Memory that is held.", memory or 0)
        yield gauge("event_log_position", "The newest event's position.", self._feed.position)
        yield gauge("dashboards", "Dashboards that are open.", self._dashboards())

    async def _of_devices(self) -> Iterable[Family]:
        now, devices = self._clock.now(), await self._store.list_devices()
        counts = self._presence.counts()
        statuses = Counter(
            ("maintenance" if device.maintenance else "online")
            if self._presence.online(device.id)
            else "offline"
            for device in devices
        )
        doors = Counter(device.lock_state.seen_at(now).value.value for device in devices)
        ways = {
            "websocket": counts["websocketConnections"],
            "mqtt": counts["mqttConnections"],
            "both": counts["dualConnections"],
        }
        low = sum(map(has_low_battery, devices))
        by_status = {status: statuses[status] for status in _STATUSES}
        by_state = {state.value: doors[state.value] for state in LockValue}
        return [
            labelled("devices", "gauge", "Devices by their status.", "status", by_status),
            labelled("doors", "gauge", "Devices by their lock's state.", "state", by_state),
            labelled("connections", "gauge", "Connected devices.", "transport", ways),
            gauge("devices_low_battery", "Devices whose battery is low.", low),
        ]

    def _of_what_happened(self) -> Iterable[Family]:
        figures = self._figures
        events = {kind.value: count for kind, count in sorted(figures.events.items())}
        outcomes = [
            Sample(count, {"command": command, "status": status})
            for (command, status), count in sorted(figures.outcomes.items())
        ]
        yield labelled("events_total", "counter", "Events written.", "type", events)
        yield Family("doorlock_commands_total", "counter", "Commands that ended.", outcomes)
        yield histogram("command_answer_seconds", "Until the first answer.", figures.answered)
        yield histogram("command_duration_seconds", "Until the outcome.", figures.finished)
        rejected = [Sample(self._rejected())]
        yield Family(
            "doorlock_messages_rejected_total", "counter", "Messages not understood.", rejected
        )


def gauge(name: str, text: str, value: float) -> Family:
    return Family(f"doorlock_{name}", "gauge", text, [Sample(value)])


def labelled(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    samples = [Sample(value, {label: key}) for key, value in values.items()]
    return Family(f"doorlock_{name}", kind, text, samples)


def histogram(name: str, text: str, observed: Histogram) -> Family:
    samples = [Sample(count, {"le": f"{bound:g}"}, "_bucket") for bound, count in observed.classes]
    samples += [
        Sample(observed.count, {"le": "+Inf"}, "_bucket"),
        Sample(observed.sum, suffix="_sum"),
        Sample(observed.count, suffix="_count"),
    ]
    return Family(f"doorlock_{name}", "histogram", text, samples)

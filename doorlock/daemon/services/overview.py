"""What a dashboard shows at a glance: counts, alerts, devices, and how well things run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from doorlock.daemon.domain.activity import ALERTING, Alert, alert_of
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import Clock, CommandFilter, EventFilter, Store
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.presence import Presence
from doorlock.daemon.services.queries import Queries, Wanted
from doorlock.daemon.services.visitor_log import VisitorLog
from doorlock.protocol import CommandStatus, LockValue, Transport
from doorlock.times import iso

_E = EventType

LOW_BATTERY = 20
"""A battery that is not above so many per cent is low."""

_DAY = timedelta(days=1)
_STEP, _SEARCHED = 500, 5000
_SAMPLES = 500
_COMMANDS = {
    "queued": frozenset({_E.COMMAND_QUEUED}),
    "executed": frozenset({_E.COMMAND_EXECUTED, _E.COMMAND_EXECUTED_LATE}),
    "failed": frozenset({_E.COMMAND_FAILED}),
    "timedOut": frozenset({_E.COMMAND_TIMED_OUT}),
    "expired": frozenset({_E.COMMAND_EXPIRED, _E.COMMAND_CANCELLED}),
}
_RATES = {
    "events": frozenset[EventType](),
    **{f"commands{name[0].upper()}{name[1:]}": types for name, types in _COMMANDS.items()},
    "visitors": frozenset({_E.VISITOR_ARRIVED}),
    "motion": frozenset({_E.MOTION_DETECTED}),
    "connects": frozenset({_E.DEVICE_CONNECTED}),
    "disconnects": frozenset({_E.DEVICE_DISCONNECTED}),
    "refusals": frozenset({_E.ACCESS_REFUSED}),
    "rejectedMessages": frozenset({_E.MESSAGE_REJECTED}),
}
_DEVICE_FIELDS = (
    "_id",
    "id",
    "name",
    "espId",
    "deviceType",
    "type",
    "room",
    "location",
    "status",
    "online",
    "isActive",
    "lockState",
    "locked",
    "lockStateSource",
    "battery",
    "batteryLevel",
    "lastSeen",
    "connections",
    "firmwareVersion",
)


class Overview:
    """Reads only; everything is of what the caller may see."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        guard: Guard,
        presence: Presence,
        queries: Queries,
        visitor_log: VisitorLog,
    ) -> None:
        self._store, self._clock, self._guard = store, clock, guard
        self._presence, self._queries, self._visitor_log = presence, queries, visitor_log

    async def stats(self, caller: Caller) -> dict[str, Any]:
        """Everything counted; `commands` and `events` are those of today."""
        midnight = self._clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        today = await self._scope(caller, midnight)
        return {
            "devices": {**await self._queries.stats(caller), **await self._doors(caller)},
            "visitors": await self._visitor_log.stats(caller),
            "commands": await self._counted(today, _COMMANDS),
            "events": {"today": await self._store.count_events(today)},
            "alerts": sum(alert["active"] for alert in await self.alerts(caller)),
        }

    async def _doors(self, caller: Caller) -> dict[str, int]:
        now = self._clock.now()
        devices = [seen.device for seen in await self._guard.visible(caller.user)]
        states = Counter(device.lock_state.seen_at(now).value for device in devices)
        return {
            "locked": states[LockValue.LOCKED],
            "unlocked": states[LockValue.UNLOCKED],
            "jammed": states[LockValue.JAMMED],
            "lowBattery": sum(map(has_low_battery, devices)),
        }

    async def devices(self, caller: Caller) -> list[dict[str, Any]]:
        """The devices, in short, by name."""
        return [_in_short(view) for view in await self._queries.devices(caller)]

    async def alerts(
        self, caller: Caller, since: datetime | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """What deserved one since then (a day ago), newest first; `active` is what still holds."""
        scope = await self._scope(caller, since or self._clock.now() - _DAY)
        scope = replace(scope, types=ALERTING, users=None)
        found: list[tuple[Event, Alert]] = []
        for begin in range(0, _SEARCHED, _STEP):
            step = await self._store.list_events(
                scope, limit=_STEP, newest_first=True, offset=begin
            )
            found += [(event, alert) for event in step if (alert := alert_of(event.new, None))]
            if len(step) < _STEP or len(found) >= limit:
                break
        return await self._alert_views(found[:limit])

    async def _alert_views(self, found: Sequence[tuple[Event, Alert]]) -> list[dict[str, Any]]:
        ids = {event.new.device_id for event, _ in found if event.new.device_id}
        devices = {device.id: device for device in await self._store.list_devices(ids)}
        newest: set[tuple[str, EventType]] = set()
        views = []
        for event, alert in found:
            device = devices.get(event.new.device_id or "")
            about = (event.new.device_id or "", event.new.type)
            first = about not in newest
            newest.add(about)
            views.append(self._alert_view(event, alert, device, first))
        return views

    def _alert_view(
        self, event: Event, alert: Alert, device: Device | None, newest: bool
    ) -> dict[str, Any]:
        named = alert_of(event.new, device.name if device else None) or alert
        return {
            "_id": event.new.id,
            "id": event.new.id,
            "eventType": event.new.type.value,
            "level": alert.level,
            "severity": alert.level,
            "message": named.message,
            "deviceId": event.new.device_id,
            "deviceName": device.name if device else None,
            "active": newest and device is not None and self._holds(event, device),
            "timestamp": iso(event.new.at),
        }

    def _holds(self, event: Event, device: Device) -> bool:
        """Whether what the alert says is so still; of what is over at once, never."""
        match event.new.type:
            case _E.DEVICE_DISCONNECTED:
                return not self._presence.online(device.id)
            case _E.LOW_BATTERY:
                return has_low_battery(device)
            case _E.STATUS_CHANGED:
                return event.new.payload.get("status") == device.lock_state.value.value
            case _:
                return False

    # health

    async def device_health(self, caller: Caller) -> dict[str, Any]:
        """Each device as far as its health goes, and how many there are."""
        found = await self._queries.devices(caller)
        views = [{**_in_short(view), "rssi": view["metadata"].get("rssi")} for view in found]
        counts = {**await self._queries.stats(caller), **await self._doors(caller)}
        return {**counts, "devices": views}

    async def connections(self, caller: Caller) -> dict[str, int]:
        """How the caller's devices are connected."""
        seen = await self._guard.visible(caller.user)
        ways = [set(self._presence.transports(one.device.id)) for one in seen]
        return {
            "totalConnected": sum(map(bool, ways)),
            "websocketConnections": sum(Transport.WEBSOCKET in way for way in ways),
            "mqttConnections": sum(Transport.MQTT in way for way in ways),
            "dualConnections": sum(len(way) == 2 for way in ways),
        }

    async def metrics(self, caller: Caller) -> dict[str, Any]:
        """How much happened, how quickly, and how well it went."""
        now = self._clock.now()
        hour = await self._scope(caller, now - timedelta(hours=1))
        day = await self._scope(caller, now - _DAY)
        return {
            "timestamp": iso(now),
            "perHour": await self._counted(hour, _RATES),
            "perDay": await self._counted(day, _RATES),
            "latency": await self._latency(day, now - _DAY),
        }

    async def _latency(self, scope: EventFilter, since: datetime) -> dict[str, Any]:
        """From asking to the device's first answer, in milliseconds, of the last day's commands."""
        wanted = CommandFilter(scope.devices, statuses=frozenset({CommandStatus.EXECUTED}))
        commands, _ = await self._store.list_commands(wanted, limit=_SAMPLES)
        spans = sorted(
            (command.acknowledged_at - command.issued_at) / timedelta(milliseconds=1)
            for command in commands
            if command.acknowledged_at is not None and command.issued_at >= since
        )
        parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
        return {
            "samples": len(spans),
            **{name: _quantile(spans, part) for name, part in parts.items()},
        }

    async def _scope(self, caller: Caller, since: datetime) -> EventFilter:
        return await self._queries.scope(caller, Wanted(base=EventFilter(since=since)))

    async def _counted(
        self, scope: EventFilter, kinds: dict[str, frozenset[EventType]]
    ) -> dict[str, int]:
        return {
            name: await self._store.count_events(replace(scope, types=types))
            for name, types in kinds.items()
        }


def has_low_battery(device: Device) -> bool:
    return device.battery_level is not None and device.battery_level <= LOW_BATTERY


def _in_short(view: Mapping[str, Any]) -> dict[str, Any]:
    return {field: view[field] for field in _DEVICE_FIELDS}


def _quantile(ordered: Sequence[float], part: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3)

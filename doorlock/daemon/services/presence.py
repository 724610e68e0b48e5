"""Who is online, and over what: kept in memory alone, so that after a restart nobody is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.ports import Clock, Store
from doorlock.errors import Unavailable
from doorlock.protocol import Transport

log = structlog.get_logger("doorlock.presence")

_BEST_FIRST = (Transport.WEBSOCKET, Transport.MQTT)
_FLUSH_EVERY = timedelta(seconds=10)
_FLUSHED_AT_ONCE = 200


@dataclass(slots=True)
class _Live:
    """A session, when it last spoke, and whether it is held to its heartbeat."""

    session: Session
    heard: datetime
    beats: bool = False
    silent: bool = False


OnStale = Callable[[Session], Awaitable[None]]


class Presence:
    """Sessions of devices. A device is online while one of its sessions is live.

    A session is live until its connection closes, the device says `offline`, or nothing was heard
    on its transport for `heartbeat * missed`. An answered ping counts as heard only for a session
    that never sent a heartbeat: whoever beats is held to it.
    """

    def __init__(self, store: Store, clock: Clock, heartbeat: timedelta, missed: int) -> None:
        self._store, self._clock = store, clock
        self._patience = heartbeat * missed
        self._sweep_every = min(timedelta(seconds=1), self._patience / 4)
        self._live: dict[str, dict[str, _Live]] = {}
        self._seen: dict[str, datetime] = {}

    def opened(self, session: Session) -> bool:
        """Note a session; whether it is the device's first live one on its transport."""
        known = self._live.setdefault(session.device_id, {})
        if session.id in known and not known[session.id].silent:
            self.heard(session)
            return False
        first = session.transport not in self.transports(session.device_id)
        known[session.id] = _Live(session, self._clock.now())
        self._seen[session.device_id] = known[session.id].heard
        return first

    def knows(self, session: Session) -> bool:
        live = self._live.get(session.device_id, {}).get(session.id)
        return live is not None and not live.silent

    def closed(self, session: Session) -> bool:
        """Forget a session; whether the device went offline with it."""
        was_online = self.online(session.device_id)
        known = self._live.get(session.device_id, {})
        known.pop(session.id, None)
        if not known:
            self._live.pop(session.device_id, None)
        return was_online and not self.online(session.device_id)

    def silenced(self, session: Session) -> bool:
        """The device says that it goes, its connection still open; whether it went offline."""
        was_online = self.online(session.device_id)
        if live := self._live.get(session.device_id, {}).get(session.id):
            live.silent = True
        return was_online and not self.online(session.device_id)

    def heard(self, session: Session, *, beat: bool = False) -> None:
        if live := self._live.get(session.device_id, {}).get(session.id):
            live.heard = self._seen[session.device_id] = self._clock.now()
            live.beats = live.beats or beat

    def pinged(self, session: Session) -> None:
        live = self._live.get(session.device_id, {}).get(session.id)
        if live and not live.beats and not live.silent:
            live.heard = self._seen[session.device_id] = self._clock.now()

    def online(self, device_id: str) -> bool:
        return any(not live.silent for live in self._live.get(device_id, {}).values())

    def transports(self, device_id: str) -> Sequence[Transport]:
        """Those with a live session, the best first."""
        found = {
            live.session.transport
            for live in self._live.get(device_id, {}).values()
            if not live.silent
        }
        return [transport for transport in _BEST_FIRST if transport in found]

    def last_heard(self, device_id: str) -> datetime | None:
        return max((live.heard for live in self._live.get(device_id, {}).values()), default=None)

    def counts(self, device_ids: Iterable[str] | None = None) -> Mapping[str, int]:
        """Devices by how they are connected, of all or of those named; `sessions` counts every
        one."""
        ids = self._live if device_ids is None else self._live.keys() & set(device_ids)
        kinds = [set(self.transports(device_id)) for device_id in ids]
        return {
            "totalConnected": sum(bool(kind) for kind in kinds),
            "websocketConnections": sum(Transport.WEBSOCKET in kind for kind in kinds),
            "mqttConnections": sum(Transport.MQTT in kind for kind in kinds),
            "dualConnections": sum(len(kind) == 2 for kind in kinds),
            "sessions": sum(len(self._live[device_id]) for device_id in ids),
        }

    def sessions(self, device_id: str | None = None) -> Sequence[Session]:
        groups = self._live.values() if device_id is None else [self._live.get(device_id, {})]
        return [live.session for known in groups for live in known.values()]

    async def run(self, on_stale: OnStale) -> None:
        """Until cancelled: end what went silent, and keep `last_seen` roughly true."""
        flush_at = self._clock.now() + _FLUSH_EVERY
        while True:
            await self._clock.sleep_until(self._clock.now() + self._sweep_every)
            for session in self.stale():
                try:
                    await on_stale(session)
                except Unavailable as error:
                    log.warning("a session's end could not be recorded", error=error.message)
            if self._clock.now() >= flush_at:
                flush_at = self._clock.now() + _FLUSH_EVERY
                await self.flush()

    def stale(self) -> Sequence[Session]:
        """Sessions on whose transport the device has said nothing for too long."""
        limit = self._clock.now() - self._patience
        found: list[Session] = []
        for known in self._live.values():
            for live in known.values():
                if live.heard < limit:  # seldom, and this is asked of a whole fleet each second
                    found += _stale_of(known.values(), limit)
                    break
        return found

    async def flush(self) -> None:
        """Write when devices were last heard of."""
        seen, self._seen = list(self._seen.items()), {}
        while seen:
            # a fleet at once would keep the commands waiting that come after it
            some, seen = dict(seen[:_FLUSHED_AT_ONCE]), seen[_FLUSHED_AT_ONCE:]
            try:
                await self._store.touch_devices(some)
            except Exception as error:
                self._seen = {**some, **dict(seen), **self._seen}
                log.warning("cannot note when devices were last seen", error=str(error))
                return


def _stale_of(known: Collection[_Live], limit: datetime) -> list[Session]:
    found = []
    for transport in _BEST_FIRST:
        group = [live for live in known if live.session.transport is transport]
        if group and max(live.heard for live in group) < limit:
            found += [live.session for live in group if not live.silent]
    return found

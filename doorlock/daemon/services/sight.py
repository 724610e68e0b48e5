"""Who may see a device at this moment, asked for every single thing that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from doorlock.daemon.domain import access
from doorlock.daemon.domain.access import Level, Share
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType
from doorlock.daemon.domain.users import User
from doorlock.daemon.ports import Clock, Store

_E = EventType

# Whatever is not listed here may change who sees a device: what is known of it is read anew.
_CHANGES_NOTHING = frozenset(
    {
        *(kind for kind in EventType if kind.name.startswith(("COMMAND_", "VISITOR_", "LOGIN_"))),
        _E.DEVICE_CONNECTED,
        _E.DEVICE_DISCONNECTED,
        _E.STATUS_CHANGED,
        _E.SNAPSHOT_CAPTURED,
        _E.MOTION_DETECTED,
        _E.LOW_BATTERY,
        _E.ERROR_OCCURRED,
        _E.ACCESS_REFUSED,
        _E.MESSAGE_REJECTED,
        _E.RATE_LIMITED,
        _E.LOG_PRUNED,
    }
)


@dataclass(frozen=True, slots=True)
class _Known:
    """What decides who sees a device; its other fields may be of the past."""

    device: Device
    shares: Mapping[str, Share]


class Sight:
    """Keeps owners and shares at hand. The store tells of every change before whoever made it is
    answered, and the times and schedules of shares are judged at each question: what is kept is
    never behind."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._known: dict[str, _Known] = {}
        self._changes = 0
        store.listen(self._arrived)

    async def sees(self, user: User, device_id: str) -> bool:
        """Whether `user`, who is not disabled, may see the device now. One that is gone is seen
        by operators alone."""
        known = await self._of(device_id)
        if known is None:
            return user.is_operator
        share = known.shares.get(user.id)
        return access.level(user, known.device, share, self._clock.now()) >= Level.VIEW

    async def _of(self, device_id: str) -> _Known | None:
        while (known := self._known.get(device_id)) is None:
            at = self._changes
            device = await self._store.get_device(device_id)
            if device is None:
                return None
            shares = await self._store.shares_of_device(device_id)
            if at == self._changes:  # else something changed while it was read
                by_user = {share.user_id: share for share in shares}
                self._known[device_id] = _Known(device, by_user)
        return known

    def _arrived(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.new.type not in _CHANGES_NOTHING:
                self._changes += 1
                if event.new.device_id is not None:
                    self._known.pop(event.new.device_id, None)

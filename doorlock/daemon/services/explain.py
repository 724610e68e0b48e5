"""Who could open a door at some time, and why: past times by the log, coming ones by the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from doorlock.daemon.domain import access, history
from doorlock.daemon.domain.access import Level, Share, Why
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.users import Caller, User
from doorlock.daemon.ports import Clock, EventFilter, Store
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.guard import Guard, Seen, match
from doorlock.daemon.services.views import terms_view
from doorlock.errors import BadInput, NotFound
from doorlock.times import iso, iso_or_none

_STEP = 1000
_FARTHEST = timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class _Scene:
    """The door as it was, is or will be at `at`; `events` is empty but for a time that is past."""

    device: Device
    at: datetime
    is_past: bool
    shares: Mapping[str, Share]
    events: Sequence[NewEvent]

    def share_of(self, user_id: str) -> Share | None:
        current = self.shares.get(user_id)
        if not self.is_past:
            return current
        return history.share_at(self.events, self.device.id, user_id, current, self.at)


class Explain:
    """Reads only. Whoever may share a device may ask of everybody, everybody of themselves."""

    def __init__(self, store: Store, clock: Clock, guard: Guard, accounts: Accounts) -> None:
        self._store, self._clock = store, clock
        self._guard, self._accounts = guard, accounts

    async def explain(
        self, caller: Caller, ref: str, user_ref: str | None, at: datetime | None
    ) -> dict[str, Any]:
        """Raises NotFound, NotAllowed, BadInput."""
        now = self._clock.now()
        at = at or now
        if abs(at - now) > _FARTHEST:
            raise BadInput("that is more than ten years away", hint="Ask for a time nearer to now.")
        only = None if user_ref is None else await self._store.find_user(user_ref)
        device = await self._device(caller, ref, only)
        if only is None and user_ref is not None:
            only = await self._accounts.find(user_ref)
        scene = await self._scene(device, at, now)
        people = [only] if only else await self._people(scene)
        lines = [await self._line(scene, user) for user in people]
        return {
            "deviceId": device.id,
            "deviceName": device.name,
            "timezone": scene.device.timezone,
            "at": iso(at),
            "from": "log" if scene.is_past else "rules",
            "notes": await self._notes(scene),
            "people": sorted(lines, key=lambda line: (not line["mayOpen"], line["username"])),
        }

    async def _device(self, caller: Caller, ref: str, only: User | None) -> Device:
        if only is None or only.id != caller.user.id:
            act = "see who may open"
            return (await self._guard.require(caller, ref, Level.ADMIN, act)).device
        try:
            return (await self._guard.find(caller, ref)).device
        except NotFound:
            # a share that does not run shows nothing of the door but its own terms
            shared = [
                Seen(one, Level.NONE)
                for one in await self._store.find_devices(ref)
                if await self._store.get_share(one.id, caller.user.id)
            ]
            if not shared:
                raise
            return match(ref, shared).device

    async def _scene(self, device: Device, at: datetime, now: datetime) -> _Scene:
        shares = {one.user_id: one for one in await self._store.shares_of_device(device.id)}
        if at >= now:
            return _Scene(device, at, False, shares, ())
        wanted = EventFilter(device=device.id, types=history.DOOR)
        events = await self._events(wanted)
        return _Scene(history.device_at(events, device, at), at, True, shares, events)

    async def _events(self, wanted: EventFilter) -> list[NewEvent]:
        found: list[NewEvent] = []
        while True:
            step = await self._store.list_events(wanted, limit=_STEP)
            found += [event.new for event in step]
            if len(step) < _STEP:
                return found
            wanted = replace(wanted, after=step[-1].seq)

    async def _people(self, scene: _Scene) -> list[User]:
        """The owner, the operators, and everybody who has or had a share."""
        ids = {scene.device.owner_id, *scene.shares, *history.people_in(scene.events)}
        users = await self._store.list_users()
        return [user for user in users if user.id in ids or user.is_operator]

    async def _line(self, scene: _Scene, user: User) -> dict[str, Any]:
        share, certain = scene.share_of(user.id), True
        if scene.is_past:
            user, certain = await self._user_at(user, scene.at)
        why = access.why(user, scene.device, share, scene.at)
        exists = scene.device.created_at <= scene.at and user.created_at <= scene.at
        level = access.level(user, scene.device, share, scene.at) if exists else Level.NONE
        granter = await self._store.get_user(share.granted_by) if share else None
        return {
            "userId": user.id,
            "username": user.username,
            "permission": level.name.lower(),
            "mayOpen": level >= Level.CONTROL,
            "why": why.value if exists else "not_there",
            "reason": _reason(why, share, granter, scene.device) if exists else "was not there yet",
            "certain": certain,
            "share": {**terms_view(share), "grantedByName": granter.username if granter else None}
            if share
            else None,
            "nextChange": _next_change(scene, why, share),
        }

    async def _user_at(self, user: User, at: datetime) -> tuple[User, bool]:
        """The user as they were at `at`, and whether that is certain."""
        wanted = EventFilter(user=user.id, types=frozenset({EventType.USER_DISABLED}))
        events = await self._events(wanted)
        active, certain = history.was_active(events, at, user.is_active)
        return replace(user, is_active=active), certain

    async def _notes(self, scene: _Scene) -> list[str]:
        notes = []
        if scene.at < scene.device.created_at:
            notes.append("the device was registered only later")
        if not scene.is_past and not scene.device.is_active:
            notes.append("the device is switched off: it obeys nobody")
        if scene.is_past and await self._begins_after(scene.at):
            notes.append("the log begins later: what was changed before that is not known")
        return notes

    async def _begins_after(self, at: datetime) -> bool:
        if (await self._store.bounds()).first <= 1:
            return False
        oldest = await self._store.list_events(EventFilter(), limit=1)
        return not oldest or oldest[0].new.at > at


def _next_change(scene: _Scene, why: Why, share: Share | None) -> str | None:
    rests_on_it = why in (Why.SHARE, Why.NOT_BEGUN, Why.OUTSIDE_SCHEDULE)
    if scene.is_past or share is None or not rests_on_it:
        return None
    return iso_or_none(share.next_change(scene.at, scene.device.timezone))


_PLAIN = {
    Why.DISABLED: "is disabled",
    Why.OPERATOR: "is an operator",
    Why.OWNER: "owns the device",
    Why.NOT_SHARED: "has no share",
}


def _reason(why: Why, share: Share | None, granter: User | None, device: Device) -> str:
    if share is None or why in _PLAIN:
        return _PLAIN.get(why, "has no share")
    terms = f"has a {share.permission} share"
    if granter is not None:
        terms += f" from {granter.username}"
    schedule = f"{share.schedule!r} ({device.timezone})" if share.schedule else ""
    match why:
        case Why.NOT_BEGUN:
            return f"{terms}, which begins on {iso_or_none(share.starts_at)}"
        case Why.EXPIRED:
            return f"{terms}, which ended on {iso_or_none(share.expires_at)}"
        case Why.OUTSIDE_SCHEDULE:
            return f"{terms}, which does not run then: {schedule}"
        case _:
            return f"{terms}{f', {schedule}' if schedule else ''}{_until(share)}"


def _until(share: Share) -> str:
    return f", until {iso(share.expires_at)}" if share.expires_at else ""

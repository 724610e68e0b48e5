"""One authorisation rule in one place: what somebody may do to a device, and what they may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doorlock.daemon.domain import access
from doorlock.daemon.domain.access import Level
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import is_id
from doorlock.daemon.domain.users import Caller, Scope, User
from doorlock.daemon.ports import Clock, Store
from doorlock.errors import Ambiguous, NotAllowed, NotFound


@dataclass(frozen=True, slots=True)
class Seen:
    """A device, and what the caller may do to it."""

    device: Device
    level: Level


class Guard:
    """Answers from the store each time: a share that was revoked a moment ago counts no more."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def level(self, user: User, device: Device) -> Level:
        share = None
        if not user.is_operator and device.owner_id != user.id:
            share = await self._store.get_share(device.id, user.id)
        return access.level(user, device, share, self._clock.now())

    async def visible(self, user: User, scope: Scope | None = None) -> Sequence[Seen]:
        """The devices that `user` may see, by name; their level is at most what `scope` gives."""
        if user.is_operator:
            most = capped(Level.OWNER, scope)
            return [Seen(device, most) for device in await self._store.list_devices()]
        if not user.is_active:
            return []
        shares = {share.device_id: share for share in await self._store.shares_of_user(user.id)}
        shared = await self._store.list_devices(shares)
        owned = await self._store.devices_of(user.id)
        now = self._clock.now()
        found = {device.id: device for device in (*owned, *shared)}
        seen = [
            Seen(device, capped(access.level(user, device, shares.get(device.id), now), scope))
            for device in found.values()
        ]
        visible = [one for one in seen if one.level >= Level.VIEW]
        return sorted(visible, key=lambda one: (one.device.name.casefold(), one.device.id))

    async def find(self, caller: Caller, ref: str) -> Seen:
        """The device named by id, ESP id or name among those the caller sees.

        Raises NotFound (whether it exists or not) and Ambiguous, which lists the matches.
        """
        candidates = [
            Seen(device, capped(await self.level(caller.user, device), caller.scope))
            for device in await self._meant(ref)
        ]
        return match(ref, [one for one in candidates if one.level >= Level.VIEW])

    async def _meant(self, ref: str) -> Sequence[Device]:
        if not is_id(ref):
            return await self._store.find_devices(ref)
        device = await self._store.get_device(ref)  # nobody's name passes for somebody's id
        return [device] if device else []

    async def require(self, caller: Caller, ref: str, least: Level, act: str) -> Seen:
        """As `find`; a caller who may see but not `act` is recorded, and NotAllowed raised."""
        seen = await self.find(caller, ref)
        if seen.level < least:
            await self.refuse(caller, seen.device, act, {"permission": seen.level.name.lower()})
            raise NotAllowed(
                f"you may not {act} {seen.device.name!r}",
                hint=f"This needs {least.name.lower()} permission; ask the owner for a share.",
            )
        return seen

    async def operating(self, caller: Caller, ref: str, act: str) -> Seen:
        """As `require` for `control`, but whoever sees no such device is refused too, in the same
        words whether there is one or not: a share that has just ended ends in a refusal, and that
        is recorded on the device that it was for."""
        try:
            return await self.require(caller, ref, Level.CONTROL, act)
        except NotFound:
            if caller.user.is_operator:
                raise
        for device in await self._meant(ref):
            if await self._store.get_share(device.id, caller.user.id):
                await self.refuse(caller, device, act, {"permission": "none"})
            elif device.id == ref:
                await self._refuse_unseen(caller, device, act)
        raise NotAllowed(
            f"you may not {act} {ref!r}: it is not shared with you, or no longer",
            hint="`doorlock ls` lists what you may use.",
        )

    async def _refuse_unseen(self, caller: Caller, device: Device, act: str) -> None:
        """Everybody may read the events that are theirs: this one is the device's alone, or it
        would tell them that there is one, and its name."""
        event = NewEvent(
            EventType.ACCESS_REFUSED,
            self._clock.now(),
            device_id=device.id,
            payload={"act": act, "permission": "none", "byUser": caller.user.id},
            metadata=metadata_of(caller),
        )
        await self._store.append([event])

    async def refuse(
        self, caller: Caller, device: Device, act: str, detail: Mapping[str, Any]
    ) -> None:
        """Record that permission refused somebody."""
        event = NewEvent(
            EventType.ACCESS_REFUSED,
            self._clock.now(),
            device_id=device.id,
            user_id=caller.user.id,
            payload={"act": act, **detail},
            metadata=metadata_of(caller),
        )
        await self._store.append([event])


def capped(level: Level, scope: Scope | None) -> Level:
    """`level`, as far as a token of that scope gives it."""
    return level if scope is None else min(level, Level[scope.name])


def metadata_of(caller: Caller) -> dict[str, Any]:
    """What an event says of who asked, and from where; an operator acting for another is named."""
    metadata: dict[str, Any] = {
        "source": caller.source,
        "ipAddress": caller.ip_address,
        "socketId": caller.socket_id,
        "userAgent": caller.user_agent,
    }
    if caller.operator is not None:
        metadata |= {"operatorId": caller.operator.id, "operator": caller.operator.username}
    return metadata


def match(ref: str, seen: Sequence[Seen]) -> Seen:
    """The best of what `ref` may mean: an id before an ESP id or a name, whose case counts only
    where it decides. No ESP id comes before a name: whoever shares a device has chosen it."""
    named = (
        [one for one in seen if one.device.id == ref]
        or [one for one in seen if ref in (one.device.esp_id, one.device.name)]
        or list(seen)
    )
    if not named:
        raise NotFound(
            f"there is no device {ref!r} that you may see", hint="`doorlock ls` lists them."
        )
    if len(named) > 1:
        matches = [
            {"id": one.device.id, "name": one.device.name, "espId": one.device.esp_id}
            for one in named
        ]
        listed = ", ".join(f"{match['espId']} ({match['id']})" for match in matches)
        raise Ambiguous(
            f"{len(named)} devices are called {ref!r}",
            hint=f"Use the ESP id or the id: {listed}.",
            details={"matches": matches},
        )
    return named[0]


def require_operator(caller: Caller, act: str) -> None:
    """Raises NotAllowed unless an operator asks."""
    if not caller.user.is_operator:
        raise NotAllowed(
            f"only an operator may {act}",
            hint="Ask whoever runs the daemon; root and the daemon's own account are operators.",
        )
    require_scope(caller, Scope.ADMIN, act)


def require_scope(caller: Caller, least: Scope, act: str) -> None:
    """Raises NotAllowed for a named token that gives less: for acts that are on no device."""
    if caller.scope is not None and Level[caller.scope.name] < Level[least.name]:
        raise NotAllowed(
            f"this token may not {act}",
            hint=f"Its scope is {caller.scope}; this takes {least}, or signing in.",
        )


def require_person(caller: Caller, act: str) -> None:
    """Raises NotAllowed for a named token, whatever its scope: one must not lead to more."""
    if caller.scope is not None:
        raise NotAllowed(f"a named token may not {act}", hint="Sign in with a password.")

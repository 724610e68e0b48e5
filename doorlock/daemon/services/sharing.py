"""Who else may use a door: shares, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from doorlock.daemon.domain.access import Level, Permission, Share
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.users import Caller, User
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.guard import Guard, metadata_of
from doorlock.errors import BadInput, NotAllowed, NotFound
from doorlock.times import iso_or_none


class Sharing:
    """Granting and revoking; an effect is immediate, since every check asks the store anew."""

    def __init__(self, store: Store, clock: Clock, guard: Guard, accounts: Accounts) -> None:
        self._store, self._clock = store, clock
        self._guard, self._accounts = guard, accounts

    async def grant(
        self,
        caller: Caller,
        ref: str,
        user_ref: str,
        permission: Permission,
        starts_at: datetime | None,
        expires_at: datetime | None,
    ) -> Share:
        """Share a device, or change what was shared. Raises NotFound, NotAllowed, BadInput."""
        seen = await self._guard.require(caller, ref, Level.ADMIN, "share")
        device, user = seen.device, await self._accounts.find(user_ref)
        if user.id == device.owner_id:
            raise BadInput(f"{user.username!r} owns {device.name!r} already")
        if user.id == caller.user.id and seen.level < Level.OWNER:
            await self._guard.refuse(caller, device, "share", {"reason": "one's own share"})
            raise NotAllowed(
                "you may not change your own share", hint="Ask the owner, or whoever gave it."
            )
        now = self._clock.now()
        _check_period(starts_at, expires_at, now)
        share = Share(device.id, user.id, permission, caller.user.id, now, starts_at, expires_at)
        before = await self._store.get_share(device.id, user.id)
        kind = EventType.SHARE_CHANGED if before else EventType.SHARE_GRANTED
        await self._store.put_share(share, [self._event(caller, kind, share, user)])
        return share

    async def revoke(self, caller: Caller, ref: str, user_ref: str) -> Share:
        """The share that is no more. Raises NotFound, NotAllowed."""
        seen = await self._guard.find(caller, ref)
        user = await self._accounts.find(user_ref)
        if user.id != caller.user.id:  # giving back one's own share takes no permission
            await self._guard.require(caller, seen.device.id, Level.ADMIN, "unshare")
        share = await self._store.get_share(seen.device.id, user.id)
        if share is None:
            raise _not_shared(seen.device.name, user)
        event = self._event(caller, EventType.SHARE_REVOKED, share, user)
        if not await self._store.remove_share(seen.device.id, user.id, [event]):
            raise _not_shared(seen.device.name, user)
        return share

    async def of_device(self, caller: Caller, ref: str) -> Sequence[Share]:
        """Raises NotFound, NotAllowed."""
        device = (await self._guard.require(caller, ref, Level.ADMIN, "see the shares of")).device
        return await self._store.shares_of_device(device.id)

    async def all(self, caller: Caller) -> Sequence[Share]:
        """Those that the caller received, and those on devices that the caller manages."""
        found = {
            (share.device_id, share.user_id): share
            for share in await self._store.shares_of_user(caller.user.id)
        }
        for seen in await self._guard.visible(caller.user):
            if seen.level >= Level.ADMIN:
                for share in await self._store.shares_of_device(seen.device.id):
                    found[share.device_id, share.user_id] = share
        return list(found.values())

    def _event(self, caller: Caller, kind: EventType, share: Share, user: User) -> NewEvent:
        return NewEvent(
            kind,
            self._clock.now(),
            device_id=share.device_id,
            user_id=caller.user.id,
            payload={
                "sharedWith": user.id,
                "username": user.username,
                "permission": share.permission.value,
                "startsAt": iso_or_none(share.starts_at),
                "expiresAt": iso_or_none(share.expires_at),
            },
            metadata=metadata_of(caller),
        )


def _check_period(starts_at: datetime | None, expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise BadInput("the share would have expired already", hint="Give a later end.")
    if starts_at is not None and expires_at is not None and expires_at <= starts_at:
        raise BadInput("the share would end before it begins", hint="Swap its two times.")


def _not_shared(name: str, user: User) -> NotFound:
    return NotFound(f"{name!r} is not shared with {user.username!r}")

"""Who else may use a door: shares, from when, until when, and at what times."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from doorlock.daemon.domain import schedules
from doorlock.daemon.domain.access import Invitation, Level, Permission, Share, Terms
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.users import Caller, User
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.guard import Guard, Seen, metadata_of
from doorlock.daemon.services.invitations import Invitations, Invited
from doorlock.daemon.services.views import terms_view
from doorlock.errors import BadInput, NotAllowed, NotFound
from doorlock.wire import EMAIL_PATTERN, LONGEST_EMAIL

_EMAIL = re.compile(EMAIL_PATTERN)


@dataclass(frozen=True, slots=True)
class Preview:
    """What sharing would do: `after` is an email's invitation where `user` has no account."""

    device: Device
    user: User | None
    before: Share | None
    after: Share | Invitation


class Sharing:
    """Granting and revoking; an effect is immediate, since every check asks the store anew."""

    def __init__(self, store: Store, clock: Clock, guard: Guard, accounts: Accounts) -> None:
        self._store, self._clock = store, clock
        self._guard, self._accounts = guard, accounts
        self.invitations = Invitations(store, clock, guard)

    async def grant(
        self,
        caller: Caller,
        ref: str,
        user_ref: str,
        permission: Permission,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        schedule: str | None = None,
    ) -> Share:
        """Share a device with a user, or change what was shared. Raises NotFound, NotAllowed,
        BadInput."""
        terms = Terms(permission, starts_at, expires_at, schedule)
        shared = await self.share(caller, ref, user_ref, terms, invite=False)
        assert isinstance(shared, Share)
        return shared

    async def share(
        self,
        caller: Caller,
        ref: str,
        user_ref: str,
        terms: Terms,
        *,
        invite: bool | None = None,
        code_expires_at: datetime | None = None,
    ) -> Share | Invited:
        """As `grant`; somebody without an account is invited by their email address, unless
        `invite` is False. Sharing again replaces what was granted before."""
        plan = await self.preview(caller, ref, user_ref, terms, invite=invite)
        if isinstance(plan.after, Invitation):
            return await self.invitations.invite(caller, plan.device, plan.after, code_expires_at)
        assert plan.user is not None
        kind = EventType.SHARE_CHANGED if plan.before else EventType.SHARE_GRANTED
        event = self._event(caller, kind, plan.after, plan.user, plan.before)
        await self._store.put_share(plan.after, [event])
        return plan.after

    async def preview(
        self,
        caller: Caller,
        ref: str,
        user_ref: str,
        terms: Terms,
        *,
        invite: bool | None = None,
    ) -> Preview:
        """What `share` would do, with its refusals. Nothing is changed."""
        seen = await self._guard.require(caller, ref, Level.ADMIN, "share")
        device, now = seen.device, self._clock.now()
        _check_terms(terms, now)
        user = await self._store.find_user(user_ref)
        if user is None:
            email = self._email_of(user_ref, invite)
            after = self.invitations.draft(caller, device, email, terms)
            return Preview(device, None, None, after)
        await self._check_user(caller, seen, user)
        before = await self._store.get_share(device.id, user.id)
        share = Share(
            device.id,
            user.id,
            terms.permission,
            caller.user.id,
            before.created_at if before else now,
            terms.starts_at,
            terms.expires_at,
            terms.schedule,
        )
        return Preview(device, user, before, share)

    async def accept(self, caller: Caller, code: str) -> Share:
        """The share that an invitation becomes, as `Invitations.accept`."""
        return await self.invitations.accept(caller, code)

    async def revoke(self, caller: Caller, ref: str, user_ref: str) -> Share:
        """The share that is no more. Raises NotFound, NotAllowed."""
        seen = await self._guard.find(caller, ref)
        user = await self._store.find_user(user_ref)
        if user is None or user.id != caller.user.id:  # giving back one's own takes no permission
            await self._guard.require(caller, seen.device.id, Level.ADMIN, "unshare")
        share = await self._store.get_share(seen.device.id, user.id) if user else None
        if user is None or share is None:  # nothing tells which users there are
            raise _not_shared(seen.device.name, user_ref)
        event = self._event(caller, EventType.SHARE_REVOKED, share, user)
        if not await self._store.remove_share(seen.device.id, user.id, [event]):
            raise _not_shared(seen.device.name, user_ref)
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
        for seen in await self._guard.visible(caller.user, caller.scope):
            if seen.level >= Level.ADMIN:
                for share in await self._store.shares_of_device(seen.device.id):
                    found[share.device_id, share.user_id] = share
        return list(found.values())

    def _email_of(self, ref: str, invite: bool | None) -> str:
        """The address to invite. Raises NotFound, BadInput."""
        known = len(ref) <= LONGEST_EMAIL and _EMAIL.fullmatch(ref)
        if known and invite is not False:
            return ref
        if invite:
            raise BadInput(
                f"{ref!r} is neither a user nor an email address",
                hint="An invitation is for an address, such as ann@example.org.",
            )
        raise NotFound(
            f"there is no user {ref!r}",
            hint="`doorlock user ls` lists them; somebody new is invited by their email address.",
        )

    async def _check_user(self, caller: Caller, seen: Seen, user: User) -> None:
        if user.id == seen.device.owner_id:
            raise BadInput(f"{user.username!r} owns {seen.device.name!r} already")
        if user.id == caller.user.id and seen.level < Level.OWNER:
            act = {"permission": seen.level.name.lower()}
            await self._guard.refuse(caller, seen.device, "change one's own share of", act)
            raise NotAllowed(
                "nobody changes their own share",
                hint="Ask the owner, or somebody else who may share this device.",
            )

    def _event(
        self,
        caller: Caller,
        kind: EventType,
        share: Share,
        user: User,
        before: Share | None = None,
    ) -> NewEvent:
        payload = {"sharedWith": user.id, "username": user.username, **terms_view(share)}
        if before is not None:
            payload["before"] = terms_view(before)
        return NewEvent(
            kind,
            self._clock.now(),
            device_id=share.device_id,
            user_id=caller.user.id,
            payload=payload,
            metadata=metadata_of(caller),
        )


def changes_between(
    before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Each of the terms that would be another: what it is, and what it would be."""
    fields = ("permission", "startsAt", "expiresAt", "schedule")
    old = before or dict.fromkeys(fields)
    return {name: [old[name], after[name]] for name in fields if old[name] != after[name]}


def _check_terms(terms: Terms, now: datetime) -> None:
    starts_at, expires_at = terms.starts_at, terms.expires_at
    if expires_at is not None and expires_at <= now:
        raise BadInput("the share would have expired already", hint="Give a later end.")
    if starts_at is not None and expires_at is not None and expires_at <= starts_at:
        raise BadInput("the share would end before it begins", hint="Swap its two times.")
    if terms.schedule is not None:
        schedules.parse(terms.schedule)


def _not_shared(name: str, user_ref: str) -> NotFound:
    return NotFound(f"{name!r} is not shared with {user_ref!r}")

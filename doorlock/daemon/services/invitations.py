"""Shares for people who have no account yet: a one-time code that becomes the share.

Whoever shows the code gets the share, as whoever holds a key gets in: the address says only whom
it was meant for.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.access import Invitation, Level, Share, Terms
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.users import Caller, Scope
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.guard import Guard, metadata_of, require_scope
from doorlock.daemon.services.views import terms_view
from doorlock.errors import Ambiguous, BadInput, Conflict, NotFound

CODE_LIFE = timedelta(days=7)
LONGEST_CODE_LIFE = timedelta(days=30)
MOST_OPEN = 100
_CODE_BYTES = 15


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation and its code, which is shown this once."""

    invitation: Invitation
    code: str = field(repr=False)


class Invitations:
    """Making, accepting and revoking them."""

    def __init__(self, store: Store, clock: Clock, guard: Guard) -> None:
        self._store, self._clock, self._guard = store, clock, guard

    def draft(self, caller: Caller, device: Device, email: str, terms: Terms) -> Invitation:
        """An invitation without a code, which nobody can accept."""
        now = self._clock.now()
        return Invitation(
            id=new_id(),
            device_id=device.id,
            email=email,
            permission=terms.permission,
            granted_by=caller.user.id,
            created_at=now,
            code_hash="",
            code_expires_at=now + CODE_LIFE,
            starts_at=terms.starts_at,
            expires_at=terms.expires_at,
            schedule=terms.schedule,
        )

    async def invite(
        self, caller: Caller, device: Device, draft: Invitation, code_expires_at: datetime | None
    ) -> Invited:
        """Give `draft` a code and keep it; an earlier one for that address is replaced, and its
        code useless. Raises BadInput, Conflict."""
        now = self._clock.now()
        ends = code_expires_at or draft.code_expires_at
        if not now < ends <= now + LONGEST_CODE_LIFE:
            raise BadInput("the code would not be good for between a moment and 30 days")
        await self._make_room(device, now)
        code = new_code()
        invitation = replace(draft, code_hash=code_hash(code), code_expires_at=ends)
        event = self._event(caller, EventType.SHARE_CHANGED, invitation, {"what": "invited"})
        await self._store.put_invitation(invitation, [event])
        return Invited(invitation, code)

    async def _make_room(self, device: Device, now: datetime) -> None:
        """Forget what has run out. Raises Conflict where still too many are open."""
        there = await self._store.invitations_of_device(device.id)
        for one in there:
            if not one.is_open(now):
                await self._store.remove_invitation(one.id)
        if sum(one.is_open(now) for one in there) >= MOST_OPEN:
            raise Conflict(
                f"{MOST_OPEN} invitations to {device.name!r} are open already",
                hint="`doorlock invitations revoke` takes one back.",
            )

    async def find(self, code: str) -> Invitation:
        """The invitation that a code is good for now. Raises NotFound."""
        invitation = await self._store.invitation_by_code(code_hash(code))
        now = self._clock.now()
        if invitation is None or not invitation.is_open(now):
            raise _no_such()
        device = await self._store.get_device(invitation.device_id)
        granter = await self._store.get_user(invitation.granted_by)
        # who could not share it now does not let anybody in by a code from before
        if device is None or granter is None:
            raise _no_such()
        if await self._guard.level(granter, device) < Level.ADMIN:
            raise _no_such()
        return invitation

    async def accept(self, caller: Caller, code: str) -> Share:
        """The share that the code becomes, once. Raises NotFound for one that is wrong, used, run
        out, taken back, or from somebody who may not share the device any more; NotAllowed;
        BadInput for one's own device; Conflict where one has a share of it, whose code stays."""
        require_scope(caller, Scope.ADMIN, "accept invitations")
        invitation = await self.find(code)
        device = await self._store.get_device(invitation.device_id)
        if device is not None and device.owner_id == caller.user.id:
            raise BadInput(f"{device.name!r} is yours already")
        if await self._store.get_share(invitation.device_id, caller.user.id):
            raise _has_one()
        now = self._clock.now()
        share = invitation.share_for(caller.user.id, now)
        detail = {
            "what": "invitation accepted",
            "sharedWith": caller.user.id,
            "username": caller.user.username,
        }
        event = self._event(caller, EventType.SHARE_GRANTED, invitation, detail)
        if not await self._store.accept_invitation(invitation.id, share, [event]):
            raise _no_such()
        return share

    async def all(self, caller: Caller) -> Sequence[Invitation]:
        """Those to devices that the caller manages, run out or not."""
        found: list[Invitation] = []
        for seen in await self._guard.visible(caller.user, caller.scope):
            if seen.level >= Level.ADMIN:
                found += await self._store.invitations_of_device(seen.device.id)
        return found

    async def revoke(self, caller: Caller, ref: str) -> Invitation:
        """Take one back, by its id or address. Raises NotFound, Ambiguous."""
        invitation = await self._named(caller, ref)
        detail = {"what": "invitation revoked"}
        event = self._event(caller, EventType.SHARE_CHANGED, invitation, detail)
        if not await self._store.remove_invitation(invitation.id, [event]):
            raise NotFound("that invitation was accepted or taken back in the meantime")
        return invitation

    async def _named(self, caller: Caller, ref: str) -> Invitation:
        there = await self.all(caller)
        named = [one for one in there if one.id == ref] or [
            one for one in there if one.email.casefold() == ref.casefold()
        ]
        if not named:
            raise NotFound(
                f"there is no invitation {ref!r}", hint="`doorlock invitations ls` lists them."
            )
        if len(named) > 1:
            matches = [{"id": one.id, "deviceId": one.device_id} for one in named]
            raise Ambiguous(
                f"{ref!r} is invited to {len(named)} devices",
                hint=f"Use the id: {', '.join(one.id for one in named)}.",
                details={"matches": matches},
            )
        return named[0]

    def _event(
        self, caller: Caller, kind: EventType, invitation: Invitation, detail: dict[str, str]
    ) -> NewEvent:
        return NewEvent(
            kind,
            self._clock.now(),
            device_id=invitation.device_id,
            user_id=caller.user.id,
            payload={
                **detail,
                "invitationId": invitation.id,
                "email": invitation.email,
                **terms_view(invitation),
            },
            metadata=metadata_of(caller),
        )


def new_code() -> str:
    """120 random bits, in groups that can be read out."""
    text = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def code_hash(code: str) -> str:
    """Of the code however it was typed: case, blanks and hyphens do not count."""
    return tokens.hashed("".join(char for char in code.upper() if char.isalnum()))


def _no_such() -> NotFound:
    return NotFound(
        "that invitation is not open",
        hint="Its code is wrong, was used, has run out or was taken back: ask for another.",
    )


def _has_one() -> Conflict:
    return Conflict(
        "this door is shared with you already", hint="`doorlock shares` says on what terms."
    )

"""Giving a device to somebody else for good: offered by its owner, accepted by the other side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from doorlock.daemon.domain.access import Level
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.users import Caller, Scope, User
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.guard import Guard, Seen, match, metadata_of, require_scope
from doorlock.daemon.services.views import terms_view
from doorlock.errors import BadInput, Conflict, NotAllowed, NotFound
from doorlock.times import iso

OFFER_LIFE = timedelta(days=7)


class Transfers:
    """Until an offer is accepted nothing changes; then the old owner keeps no rights at all."""

    def __init__(self, store: Store, clock: Clock, guard: Guard, accounts: Accounts) -> None:
        self._store, self._clock = store, clock
        self._guard, self._accounts = guard, accounts

    async def offer(self, caller: Caller, ref: str, user_ref: str) -> Device:
        """Offer a device to a user for seven days; an earlier offer is replaced. Raises NotFound,
        NotAllowed, BadInput, Conflict."""
        device = (await self._guard.require(caller, ref, Level.OWNER, "transfer")).device
        user = await self._accounts.find(user_ref)
        if user.id == device.owner_id:
            raise BadInput(f"{user.username!r} owns {device.name!r} already")
        if not user.is_active:
            raise BadInput(f"the user {user.username!r} is disabled")
        ends = self._clock.now() + OFFER_LIFE
        changes = {"transfer_to": user.id, "transfer_expires_at": ends}
        payload = {"what": "transfer offered", **_to(user), "expiresAt": iso(ends)}
        event = self._event(caller, device, payload)
        return await self._change(device, changes, [event])

    async def cancel(self, caller: Caller, ref: str) -> Device:
        """Take the offer back, or decline it. Raises NotFound, NotAllowed, Conflict."""
        offered = await self._offered(caller, ref)
        if offered is None:
            offered = (await self._guard.require(caller, ref, Level.OWNER, "transfer")).device
        else:
            require_scope(caller, Scope.ADMIN, "decline a device")
        if offered.transfer_to is None:
            raise NotFound(f"{offered.name!r} is offered to nobody")
        user = await self._store.get_user(offered.transfer_to)
        declined = caller.user.id == offered.transfer_to
        what = "transfer declined" if declined else "transfer cancelled"
        payload = {"what": what, **(_to(user) if user else {})}
        changes = {"transfer_to": None, "transfer_expires_at": None}
        return await self._change(offered, changes, [self._event(caller, offered, payload)])

    async def accept(self, caller: Caller, ref: str, *, drop_shares: bool = False) -> Device:
        """Make a device one's own that is offered to one. Invitations to it end, and with
        `drop_shares` the shares of others too. Raises NotFound, NotAllowed, Conflict."""
        require_scope(caller, Scope.ADMIN, "accept a device")
        device = await self._offered(caller, ref)
        if device is None:
            raise NotFound(
                f"no device {ref!r} is offered to you", hint="`doorlock transfer ls` lists them."
            )
        owner = await self._store.get_user(device.owner_id)
        if owner is None or not owner.is_active:
            raise NotAllowed("its owner is disabled", hint="Ask an operator.")
        shares = await self._store.shares_of_device(device.id)
        ended = [share for share in shares if drop_shares or share.user_id == caller.user.id]
        names = {user.id: user.username for user in await self._users(ended)}
        events = [
            self._event(
                caller,
                device,
                {
                    "sharedWith": share.user_id,
                    "username": names.get(share.user_id),
                    **terms_view(share),
                },
                EventType.SHARE_REVOKED,
            )
            for share in ended
        ]
        payload = {
            "what": "transferred",
            "fromUser": owner.id,
            "fromUsername": owner.username,
            **_to(caller.user),
        }
        events.append(self._event(caller, device, payload))
        moved = await self._store.transfer_device(
            device, self._clock.now(), [share.user_id for share in ended], events
        )
        if moved is None:
            raise _meanwhile()
        return moved

    async def pending(self, caller: Caller) -> Sequence[Device]:
        """Devices that are offered to the caller, and the caller's own that are offered."""
        now = self._clock.now()
        offered = await self._store.devices_offered_to(caller.user.id)
        found = {one.id: one for one in offered if one.is_offered_to(caller.user.id, now)}
        for seen in await self._guard.visible(caller.user):
            to = seen.device.transfer_to
            if seen.level >= Level.OWNER and to and seen.device.is_offered_to(to, now):
                found[seen.device.id] = seen.device
        return list(found.values())

    async def view(self, device: Device) -> dict[str, Any]:
        """An offer as the wire shows it, to either side."""
        ids = (device.owner_id, device.transfer_to or "")
        owner, to = [await self._store.get_user(user_id) for user_id in ids]
        ends = device.transfer_expires_at
        return {
            "deviceId": device.id,
            "deviceName": device.name,
            "owner": {"id": device.owner_id, "username": owner.username if owner else None},
            "to": {"id": to.id, "username": to.username} if to else None,
            "expiresAt": iso(ends) if ends else None,
        }

    async def _offered(self, caller: Caller, ref: str) -> Device | None:
        """The device that the caller may accept, which they need not see otherwise."""
        now, me = self._clock.now(), caller.user
        there = [one for one in await self._store.find_devices(ref) if me.is_active]
        mine = [Seen(one, Level.NONE) for one in there if one.is_offered_to(me.id, now)]
        return match(ref, mine).device if mine else None

    async def _users(self, shares: Sequence[Any]) -> list[User]:
        found = [await self._store.get_user(share.user_id) for share in shares]
        return [user for user in found if user is not None]

    async def _change(
        self, device: Device, changes: Mapping[str, Any], events: Sequence[NewEvent]
    ) -> Device:
        expect = {"owner_id": device.owner_id, "transfer_to": device.transfer_to}
        changes = {**changes, "updated_at": self._clock.now()}
        changed = await self._store.update_device(device.id, changes, events, expect=expect)
        if changed is None:
            raise _meanwhile()
        return changed

    def _event(
        self,
        caller: Caller,
        device: Device,
        payload: Mapping[str, Any],
        kind: EventType = EventType.SHARE_CHANGED,
    ) -> NewEvent:
        return NewEvent(
            kind,
            self._clock.now(),
            device_id=device.id,
            user_id=caller.user.id,
            payload=payload,
            metadata=metadata_of(caller),
        )


def _to(user: User) -> dict[str, str]:
    return {"toUser": user.id, "toUsername": user.username}


def _meanwhile() -> Conflict:
    return Conflict(
        "somebody else changed that in the meantime", hint="Look again: doorlock transfer ls"
    )

"""What somebody may read: devices, commands and events, as the wire shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from doorlock.daemon.domain.access import Invitation, Level, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, verify
from doorlock.daemon.domain.users import Caller, User
from doorlock.daemon.ports import Clock, CommandFilter, EventFilter, Store
from doorlock.daemon.services.feed import Feed, Gap
from doorlock.daemon.services.guard import Guard, Seen
from doorlock.daemon.services.presence import Presence
from doorlock.daemon.services.told import activity_row
from doorlock.daemon.services.views import (
    command_view,
    device_view,
    event_view,
    invitation_view,
    share_view,
)
from doorlock.errors import NotFound

_STEP = 1000
_FEW = 20  # as many are sooner read one by one


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asks of the log, devices and users by whatever names them."""

    device: str | None = None
    user: str | None = None
    base: EventFilter = field(default_factory=EventFilter)


class Queries:
    """Reads only; everything passes the guard."""

    def __init__(
        self, store: Store, clock: Clock, guard: Guard, presence: Presence, feed: Feed
    ) -> None:
        self._store, self._clock, self._guard = store, clock, guard
        self._presence, self._feed = presence, feed

    # devices

    async def devices(
        self, caller: Caller, status: str | None = None, kind: str | None = None
    ) -> list[dict[str, Any]]:
        """Everything that the caller may see, by name."""
        seen = await self._guard.visible(caller.user, caller.scope)
        owners = await self._users(one.device.owner_id for one in seen)
        now = self._clock.now()
        views = [
            device_view(one.device, one.level, self._presence, now, owners.get(one.device.owner_id))
            for one in seen
        ]
        return [
            view
            for view in views
            if status in (None, view["status"]) and kind in (None, view["deviceType"])
        ]

    async def device(self, seen: Seen) -> dict[str, Any]:
        """One device, with its last commands."""
        device = seen.device
        owner = await self._store.get_user(device.owner_id)
        view = device_view(device, seen.level, self._presence, self._clock.now(), owner)
        last, _ = await self._store.list_commands(CommandFilter(device=device.id), limit=5)
        view["lastCommands"] = await self.command_views(last)
        return view

    async def stats(self, caller: Caller) -> dict[str, int]:
        """How many devices the caller has, by what they are."""
        seen = await self._guard.visible(caller.user)
        owned = sum(one.device.owner_id == caller.user.id for one in seen)
        online = [one.device for one in seen if self._presence.online(one.device.id)]
        return {
            "total": len(seen),
            "online": len(online),
            "offline": len(seen) - len(online),
            "maintenance": sum(device.maintenance for device in online),
            "owned": owned,
            "shared": len(seen) - owned,
            "active": sum(one.device.is_active for one in seen),
        }

    # commands

    async def command(self, caller: Caller, command: Command | None) -> dict[str, Any]:
        """Raises NotFound for what the caller may not see, whether it exists or not."""
        if command is None or not await self._may_see(caller, command):
            raise NotFound("there is no such command", hint="`doorlock events` lists them.")
        return (await self.command_views([command]))[0]

    async def history(
        self, caller: Caller, device: str | None, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        seen = await self._guard.visible(caller.user)
        ids = frozenset(one.device.id for one in seen)
        if device is not None:
            ids &= {(await self._guard.find(caller, device)).device.id}
        everything = caller.user.is_operator and device is None
        wanted = CommandFilter(devices=None if everything else ids)
        page, total = await self._store.list_commands(wanted, limit=limit, offset=offset)
        return await self.command_views(page), total

    async def command_views(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        names = await self._names(
            (command.device_id for command in commands),
            (command.issued_by for command in commands),
        )
        return [command_view(command, names) for command in commands]

    async def share_views(self, shares: Sequence[Share]) -> list[dict[str, Any]]:
        devices = await self._store.list_devices({share.device_id for share in shares})
        zones = {device.id: device.timezone for device in devices}
        people = [one for share in shares for one in (share.user_id, share.granted_by)]
        names = await self._names((share.device_id for share in shares), people)
        now = self._clock.now()
        return [
            share_view(share, now, zones.get(share.device_id, "UTC"), names) for share in shares
        ]

    async def invitation_views(self, invitations: Sequence[Invitation]) -> list[dict[str, Any]]:
        names = await self._names(
            (one.device_id for one in invitations), (one.granted_by for one in invitations)
        )
        return [invitation_view(one, self._clock.now(), names) for one in invitations]

    # events

    async def scope(self, caller: Caller, wanted: Wanted) -> EventFilter:
        """The filter for what is wanted, within what the caller may see. Raises NotFound."""
        found = wanted.base
        if wanted.user is not None:
            user = await self._store.find_user(wanted.user)
            if user is None and caller.user.is_operator:
                raise NotFound(f"there is no user {wanted.user!r}")
            found = replace(found, user=user.id if user else wanted.user)
        if wanted.device is not None:
            found = replace(found, device=await self._device_id(caller, wanted.device))
        if not caller.user.is_operator:
            visible = await self._guard.visible(caller.user)
            found = replace(
                found,
                devices=frozenset(seen.device.id for seen in visible),
                users=frozenset({caller.user.id}),
            )
        return found

    async def events(
        self, wanted: EventFilter, limit: int, newest_first: bool, offset: int = 0
    ) -> list[dict[str, Any]]:
        found = await self._store.list_events(
            wanted, limit=limit, newest_first=newest_first, offset=offset
        )
        return await self.event_views(found)

    def without_cleared(
        self, caller: Caller, wanted: EventFilter, cleared: bool = False
    ) -> EventFilter:
        """`wanted` without what the caller has cleared for themselves, unless they ask for it."""
        if cleared or wanted.after is not None:
            return wanted  # whoever names a position says where to begin
        return replace(wanted, after=caller.user.log_cleared_to)

    async def activity(
        self, wanted: EventFilter, limit: int, offset: int = 0
    ) -> list[dict[str, Any]]:
        """Rows of the activity list, newest first."""
        found = await self._store.list_events(wanted, limit=limit, newest_first=True, offset=offset)
        names = await self._names(
            (event.new.device_id for event in found), (event.new.user_id for event in found)
        )
        rows = [(event, event.new.device_id or "", event.new.user_id or "") for event in found]
        return [activity_row(event, names.get(who), names.get(by)) for event, who, by in rows]

    async def count(self, wanted: EventFilter) -> int:
        return await self._store.count_events(wanted)

    async def event_views(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        names = await self._names(
            (event.new.device_id for event in events), (event.new.user_id for event in events)
        )
        return [event_view(event, names) for event in events]

    async def follow(
        self, caller: Caller, wanted: Wanted, after: int
    ) -> AsyncIterator[tuple[int, dict[str, Any]] | Gap]:
        """Every event after `after` that the caller may see when it is told."""
        fixed = replace(await self.scope(caller, wanted), devices=None, users=None)
        async for item in self._feed.follow(after):
            if isinstance(item, Gap):
                yield item
            elif _matches(fixed, item) and await self._may_hear(caller.user, item):
                yield item.seq, (await self.event_views([item]))[0]

    async def export(self, wanted: EventFilter) -> AsyncIterator[dict[str, Any]]:
        """Every matching event, oldest first, in steps that leave room for the devices."""
        at = wanted.after or 0
        while True:
            step = await self._store.list_events(replace(wanted, after=at), limit=_STEP)
            for view in await self.event_views(step):
                yield view
            if len(step) < _STEP:
                return
            at = step[-1].seq

    async def verified(self) -> dict[str, Any]:
        """Whether the hash chain of everything that is there holds."""
        bounds = await self._store.bounds()
        at, anchor, checked = bounds.first - 1, bounds.anchor, 0
        while step := await self._store.list_events(EventFilter(after=at), limit=_STEP):
            broken = verify(anchor, step)
            if broken is not None or step[0].seq != at + 1:
                where = broken if broken is not None else at + 1
                return {"ok": False, "checked": checked, "brokenAt": where}
            checked += len(step)
            at, anchor = step[-1].seq, step[-1].hash
        if at < bounds.last:
            return {"ok": False, "checked": checked, "brokenAt": at + 1}
        return {"ok": True, "checked": checked, "fromSeq": bounds.first, "toSeq": at}

    @property
    def position(self) -> int:
        return self._feed.position

    async def _device_id(self, caller: Caller, ref: str) -> str:
        try:
            return (await self._guard.find(caller, ref)).device.id
        except NotFound:
            if caller.user.is_operator and await self._store.list_events(
                EventFilter(device=ref), limit=1
            ):
                return ref  # removed since: its events are still there
            raise

    async def _may_see(self, caller: Caller, command: Command) -> bool:
        if caller.user.is_operator or command.issued_by == caller.user.id:
            return True
        return await self._sees_device(caller.user, command.device_id)

    async def _may_hear(self, user: User, event: Event) -> bool:
        current = await self._store.get_user(user.id)
        if current is None or not current.is_active:
            return False
        if current.is_operator or event.new.user_id == current.id:
            return True
        return event.new.device_id is not None and await self._sees_device(
            current, event.new.device_id
        )

    async def _sees_device(self, user: User, device_id: str) -> bool:
        device = await self._store.get_device(device_id)
        return device is not None and await self._guard.level(user, device) >= Level.VIEW

    async def _users(self, ids: Iterable[str]) -> dict[str, User]:
        wanted = set(ids)
        if len(wanted) > _FEW:
            return {user.id: user for user in await self._store.list_users()}
        found = [await self._store.get_user(user_id) for user_id in wanted]
        return {user.id: user for user in found if user is not None}

    async def _names(
        self, device_ids: Iterable[str | None], user_ids: Iterable[str | None]
    ) -> Mapping[str, str]:
        devices = await self._devices(filter(None, device_ids))
        users = await self._users(filter(None, user_ids))
        named = {device.id: device.name for device in devices}
        return named | {user.id: user.username for user in users.values()}

    async def _devices(self, ids: Iterable[str]) -> Sequence[Device]:
        wanted = set(ids)
        if len(wanted) > _FEW:
            return await self._store.list_devices(wanted)
        found = [await self._store.get_device(device_id) for device_id in wanted]
        return [device for device in found if device is not None]


def _matches(wanted: EventFilter, event: Event) -> bool:
    new = event.new
    return (
        wanted.device in (None, new.device_id)
        and wanted.user in (None, new.user_id)
        and wanted.command in (None, new.command_id)
        and (not wanted.types or new.type in wanted.types)
    )

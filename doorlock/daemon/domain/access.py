"""Who may do what to a device: the one rule that every route, socket and send passes through."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum

from doorlock.daemon.domain import schedules
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import User
from doorlock.errors import BadInput


class Permission(StrEnum):
    """What a share gives: view sees, control operates, admin also shares and manages."""

    VIEW = "view"
    CONTROL = "control"
    ADMIN = "admin"


class Level(IntEnum):
    """How much somebody may do, least first; an owner alone deletes."""

    NONE = 0
    VIEW = 1
    CONTROL = 2
    ADMIN = 3
    OWNER = 4


_LEVEL_OF = {
    Permission.VIEW: Level.VIEW,
    Permission.CONTROL: Level.CONTROL,
    Permission.ADMIN: Level.ADMIN,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody is to get. A `schedule` is kept as it was written."""

    permission: Permission
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """`user_id` may use `device_id` from `starts_at` until just before `expires_at`, and where
    there is a `schedule` (as it was written) only while that is open by the door's own clock."""

    device_id: str
    user_id: str
    permission: Permission
    granted_by: str
    created_at: datetime
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    schedule: str | None = None

    def is_running(self, now: datetime, timezone: str) -> bool:
        return self._why(now, timezone) is Why.SHARE

    def next_change(self, now: datetime, timezone: str) -> datetime | None:
        """When it next begins or ceases to run after `now`, as far as can be foreseen."""
        change, running = self._change_by_rule(now, timezone), self.is_running(now, timezone)
        if self.expires_at is None or (change is not None and change < self.expires_at):
            return change
        return self.expires_at if running else None

    def _change_by_rule(self, now: datetime, timezone: str) -> datetime | None:
        """As if it never expired."""
        if self.starts_at is not None and now < self.starts_at:
            if self.schedule is None or _is_open(self.schedule, self.starts_at, timezone):
                return self.starts_at
            now = self.starts_at
        if self.schedule is None:
            return None
        try:
            zone = schedules.zone_named(timezone)
            return schedules.parse(self.schedule).next_change(now, zone)
        except BadInput:
            return None

    def _why(self, now: datetime, timezone: str) -> Why:
        if self.expires_at is not None and self.expires_at <= now:
            return Why.EXPIRED
        if self.starts_at is not None and now < self.starts_at:
            return Why.NOT_BEGUN
        if self.schedule is None or _is_open(self.schedule, now, timezone):
            return Why.SHARE
        return Why.OUTSIDE_SCHEDULE


def _is_open(schedule: str, now: datetime, timezone: str) -> bool:
    try:
        return schedules.parse(schedule).is_open(now, schedules.zone_named(timezone))
    except BadInput:
        return False  # what this version cannot read opens nothing


class Why(StrEnum):
    """What decides what somebody may do to a device."""

    DISABLED = "disabled"
    OPERATOR = "operator"
    OWNER = "owner"
    SHARE = "share"
    NOT_BEGUN = "not_begun"
    EXPIRED = "expired"
    OUTSIDE_SCHEDULE = "outside_schedule"
    NOT_SHARED = "not_shared"


def why(user: User, device: Device, share: Share | None, now: datetime) -> Why:
    """What decides for `user` at `now`; `share` is theirs on that device, if there is one.

    A share of another device or user counts for nothing. One that does not run lets nothing be
    seen either: view is limited to the schedule as control is.
    """
    if not user.is_active:
        return Why.DISABLED
    if user.is_operator:
        return Why.OPERATOR
    if device.owner_id == user.id:
        return Why.OWNER
    if share is None or (share.device_id, share.user_id) != (device.id, user.id):
        return Why.NOT_SHARED
    return share._why(now, device.timezone)


def level(user: User, device: Device, share: Share | None, now: datetime) -> Level:
    """What `user` may do to `device` at `now`, by `why`. A disabled user may do nothing."""
    match why(user, device, share, now):
        case Why.OPERATOR | Why.OWNER:
            return Level.OWNER
        case Why.SHARE if share is not None:
            return _LEVEL_OF[share.permission]
        case _:
            return Level.NONE


@dataclass(frozen=True, slots=True)
class Invitation:
    """A share for somebody who is known by `email` alone: who shows the code until
    `code_expires_at` gets it, once. Only a hash of the code is kept."""

    id: str
    device_id: str
    email: str
    permission: Permission
    granted_by: str
    created_at: datetime
    code_hash: str = field(repr=False)
    code_expires_at: datetime
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    schedule: str | None = None

    def is_open(self, now: datetime) -> bool:
        return now < self.code_expires_at and (self.expires_at is None or now < self.expires_at)

    def share_for(self, user_id: str, now: datetime) -> Share:
        return Share(
            self.device_id,
            user_id,
            self.permission,
            self.granted_by,
            now,
            self.starts_at,
            self.expires_at,
            self.schedule,
        )

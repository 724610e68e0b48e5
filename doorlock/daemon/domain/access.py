"""Who may do what to a device: the one rule that every route, socket and send passes through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import User


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
class Share:
    """`user_id` may use `device_id` from `starts_at` until just before `expires_at`."""

    device_id: str
    user_id: str
    permission: Permission
    granted_by: str
    created_at: datetime
    starts_at: datetime | None = None
    expires_at: datetime | None = None

    def is_running(self, now: datetime) -> bool:
        begun = self.starts_at is None or self.starts_at <= now
        return begun and (self.expires_at is None or now < self.expires_at)


def level(user: User, device: Device, share: Share | None, now: datetime) -> Level:
    """What `user` may do to `device` at `now`; `share` is theirs on that device, if there is one.

    A disabled user may do nothing, and a share of another device or user counts for nothing.
    """
    if not user.is_active:
        return Level.NONE
    if user.is_operator or device.owner_id == user.id:
        return Level.OWNER
    if share is None or (share.device_id, share.user_id) != (device.id, user.id):
        return Level.NONE
    return _LEVEL_OF[share.permission] if share.is_running(now) else Level.NONE

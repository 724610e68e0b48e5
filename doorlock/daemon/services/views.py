"""Devices, commands, shares, users and events as the wire shows them; WIRE sections 4 to 7."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from doorlock.daemon.domain.access import Invitation, Level, Share
from doorlock.daemon.domain.activity import line_of
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event
from doorlock.daemon.domain.users import User
from doorlock.daemon.services.presence import Presence
from doorlock.protocol import LockValue
from doorlock.times import iso, iso_or_none


def user_view(user: User) -> dict[str, Any]:
    return {
        "_id": user.id,
        "id": user.id,
        "username": user.username,
        "name": user.name or user.username,
        "email": user.email,
        "role": user.role.value,
        "isActive": user.is_active,
        "unixUid": user.unix_uid,
        "hasPassword": user.password_hash is not None,
        "createdAt": iso(user.created_at),
    }


def device_view(
    device: Device, level: Level, presence: Presence, now: datetime, owner: User | None
) -> dict[str, Any]:
    """A device for somebody who may see it."""
    online = presence.online(device.id)
    lock = device.lock_state.seen_at(now)
    last_seen = presence.last_heard(device.id) or device.last_seen
    updated = iso(device.updated_at)
    return {
        "_id": device.id,
        "id": device.id,
        "name": device.name,
        "espId": device.esp_id,
        "deviceType": device.device_type.value,
        "type": device.device_type.value,
        "room": device.room,
        "location": device.location,
        "status": _status(device, online),
        "online": online,
        "activated": device.activated_at is not None,
        "activatedAt": iso_or_none(device.activated_at),
        "isActive": device.is_active,
        "lastSeen": iso_or_none(last_seen),
        "createdAt": iso(device.created_at),
        "updatedAt": updated,
        "lastUpdated": updated,
        "lockState": lock.value.value,
        "locked": lock.value is LockValue.LOCKED,
        "lockStateSource": lock.origin.value,
        "lockStateAt": iso_or_none(lock.at),
        "battery": device.battery_level,
        "batteryLevel": device.battery_level,
        "resolution": device.metadata.get("resolution"),
        "firmwareVersion": device.firmware_version,
        "metadata": dict(device.metadata),
        "settings": dict(device.settings),
        "timezone": device.timezone,
        "connections": [transport.value for transport in presence.transports(device.id)],
        "owner": {"id": device.owner_id, "username": owner.username if owner else None},
        "userPermissions": _permissions(level),
    }


def _status(device: Device, online: bool) -> str:
    if not online:
        return "offline"
    return "maintenance" if device.maintenance else "online"


def _permissions(level: Level) -> dict[str, Any]:
    return {
        "permission": level.name.lower(),
        "isOwner": level is Level.OWNER,
        "canView": level >= Level.VIEW,
        "canControl": level >= Level.CONTROL,
        "canAdmin": level >= Level.ADMIN,
    }


def command_view(command: Command, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A command; `names` maps ids of devices and users to what they are called."""
    known = names or {}
    return {
        "commandId": command.id,
        "deviceId": command.device_id,
        "deviceName": known.get(command.device_id),
        "command": command.name.value,
        "payload": dict(command.payload),
        "status": command.status.value,
        "via": command.via,
        "issuedBy": command.issued_by,
        "issuedByName": known.get(command.issued_by),
        "issuedAt": iso(command.issued_at),
        "sentAt": iso_or_none(command.sent_at),
        "acknowledgedAt": iso_or_none(command.acknowledged_at),
        "finishedAt": iso_or_none(command.finished_at),
        "expiresAt": iso(command.expires_at),
        "errorMessage": command.error_message,
    }


def terms_view(share: Share | Invitation) -> dict[str, Any]:
    """The terms of a share, in events too."""
    return {
        "permission": share.permission.value,
        "startsAt": iso_or_none(share.starts_at),
        "expiresAt": iso_or_none(share.expires_at),
        "schedule": share.schedule,
        "grantedBy": share.granted_by,
    }


def share_view(
    share: Share, now: datetime, timezone: str, names: Mapping[str, str]
) -> dict[str, Any]:
    """A share; `timezone` is that of its device, whose clock its schedule goes by."""
    return {
        "deviceId": share.device_id,
        "deviceName": names.get(share.device_id),
        "userId": share.user_id,
        "username": names.get(share.user_id),
        **terms_view(share),
        "grantedByName": names.get(share.granted_by),
        "timezone": timezone,
        "createdAt": iso(share.created_at),
        "active": share.is_running(now, timezone),
        "nextChange": iso_or_none(share.next_change(now, timezone)),
    }


def invitation_view(
    invitation: Invitation, now: datetime, names: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "id": invitation.id,
        "deviceId": invitation.device_id,
        "deviceName": names.get(invitation.device_id),
        "email": invitation.email,
        **terms_view(invitation),
        "grantedByName": names.get(invitation.granted_by),
        "createdAt": iso(invitation.created_at),
        "codeExpiresAt": iso(invitation.code_expires_at),
        "open": invitation.is_open(now),
    }


def event_view(event: Event, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    known = names or {}
    new = event.new
    device = known.get(new.device_id) if new.device_id else None
    username = known.get(new.user_id) if new.user_id else None
    return {
        "_id": new.id,
        "id": new.id,
        "seq": event.seq,
        "eventType": new.type.value,
        "type": new.type.value,
        "message": line_of(new, device, username).message,
        "deviceId": new.device_id,
        "deviceName": device,
        "userId": new.user_id,
        "username": username,
        "commandId": new.command_id,
        "correlationId": new.correlation_id,
        "payload": dict(new.payload),
        "metadata": dict(new.metadata),
        "timestamp": iso(new.at),
        "hash": event.hash,
    }

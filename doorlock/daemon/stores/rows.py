"""How each domain type lies in its table, and comes back as it was.

Times are kept to the millisecond, as on the wire. JSON comes back as JSON has it: tuples as lists,
enums as their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar

import orjson

from doorlock.daemon.domain.access import Invitation, Permission, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device, LockState
from doorlock.daemon.domain.events import Event, EventType, NewEvent
from doorlock.daemon.domain.pictures import Picture
from doorlock.daemon.domain.users import AccessToken, Role, Scope, User
from doorlock.daemon.domain.visitors import Visitor, VisitorStatus
from doorlock.daemon.stores.faults import CannotBeKept
from doorlock.protocol import (
    CommandName,
    CommandStatus,
    DeviceType,
    LockOrigin,
    LockValue,
    Transport,
)

T = TypeVar("T")
Row = tuple[Any, ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def ms(moment: datetime) -> int:
    """`moment` (aware) in whole milliseconds since 1970, cut as `times.iso` cuts."""
    return (moment - _EPOCH) // _MS


def moment(value: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=value)


def key(text: str) -> str:
    """What two names have in common that differ in case alone."""
    return text.casefold()


def to_json(value: object) -> str:
    """Raises BadInput for what JSON or the store cannot hold."""
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise CannotBeKept from error


def as_kept(events: Iterable[NewEvent]) -> list[NewEvent]:
    """`events` as they will be read back, and out of their maker's reach. Raises BadInput."""
    return [
        NewEvent(
            new.type,
            moment(ms(new.at)),
            new.device_id,
            new.user_id,
            new.command_id,
            new.correlation_id,
            _plain(new.payload),
            _plain(new.metadata),
            new.id,
        )
        for new in events
    ]


def _plain(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return orjson.loads(to_json(dict(value))) if value else {}


def _ms_or_none(value: datetime | None) -> int | None:
    return None if value is None else ms(value)


def _moment_or_none(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


@dataclass(frozen=True)
class Table(Generic[T]):
    """A table's columns in order, and the way there and back. Derived columns come last."""

    name: str
    listed: str
    encode: Callable[[T], Row]
    decode: Callable[[Row], T]

    @cached_property
    def columns(self) -> Sequence[str]:
        return self.listed.split(", ")

    @cached_property
    def select(self) -> str:
        return f"SELECT {self.listed} FROM {self.name}"

    @cached_property
    def insert(self) -> str:
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.name} ({self.listed}) VALUES ({marks})"


def _user_row(user: User) -> Row:
    return (
        user.id,
        user.username,
        ms(user.created_at),
        user.name,
        user.email,
        user.role.value,
        user.unix_uid,
        user.is_active,
        user.password_hash,
        _ms_or_none(user.tokens_valid_from),
        user.log_cleared_to,
        key(user.username),
        None if user.email is None else key(user.email),
    )


def _user(row: Row) -> User:
    return User(
        row[0],
        row[1],
        moment(row[2]),
        row[3],
        row[4],
        Role(row[5]),
        row[6],
        bool(row[7]),
        row[8],
        _moment_or_none(row[9]),
        row[10],
    )


USERS = Table(
    "users",
    "id, username, created_at, name, email, role, unix_uid, is_active, password_hash, "
    "tokens_valid_from, log_cleared_to, username_key, email_key",
    _user_row,
    _user,
)


def _access_token_row(token: AccessToken) -> Row:
    return (
        token.id,
        token.user_id,
        token.name,
        token.token_hash,
        token.scope.value,
        ms(token.created_at),
        _ms_or_none(token.expires_at),
    )


def _access_token(row: Row) -> AccessToken:
    token_id, user_id, name, token_hash, scope, created_at, expires_at = row
    return AccessToken(
        token_id,
        user_id,
        name,
        token_hash,
        Scope(scope),
        moment(created_at),
        _moment_or_none(expires_at),
    )


ACCESS_TOKENS = Table(
    "access_tokens",
    "id, user_id, name, token_hash, scope, created_at, expires_at",
    _access_token_row,
    _access_token,
)


def _device_row(device: Device) -> Row:
    return (
        device.id,
        device.name,
        device.esp_id,
        device.owner_id,
        ms(device.created_at),
        ms(device.updated_at),
        device.device_type.value,
        device.room,
        device.location,
        device.firmware_version,
        to_json(dict(device.metadata)),
        to_json(dict(device.settings)),
        device.token_hash,
        device.is_active,
        _ms_or_none(device.activated_at),
        device.maintenance,
        device.lock_state.value.value,
        device.lock_state.origin.value,
        _ms_or_none(device.lock_state.at),
        _ms_or_none(device.lock_state.relocks_at),
        device.battery_level,
        _ms_or_none(device.last_seen),
        device.mqtt_provisioned,
        device.pending_token_hash,
        _ms_or_none(device.pending_expires_at),
        device.timezone,
        device.transfer_to,
        _ms_or_none(device.transfer_expires_at),
        key(device.name),
    )


def _device(row: Row) -> Device:
    return Device(
        id=row[0],
        name=row[1],
        esp_id=row[2],
        owner_id=row[3],
        created_at=moment(row[4]),
        updated_at=moment(row[5]),
        device_type=DeviceType(row[6]),
        room=row[7],
        location=row[8],
        firmware_version=row[9],
        metadata=orjson.loads(row[10]),
        settings=orjson.loads(row[11]),
        token_hash=row[12],
        is_active=bool(row[13]),
        activated_at=_moment_or_none(row[14]),
        maintenance=bool(row[15]),
        lock_state=_lock_state(*row[16:20]),
        battery_level=row[20],
        last_seen=_moment_or_none(row[21]),
        mqtt_provisioned=bool(row[22]),
        pending_token_hash=row[23],
        pending_expires_at=_moment_or_none(row[24]),
        timezone=row[25],
        transfer_to=row[26],
        transfer_expires_at=_moment_or_none(row[27]),
    )


def _lock_state(value: str, origin: str, at: int | None, relocks_at: int | None) -> LockState:
    return LockState(
        LockValue(value), LockOrigin(origin), _moment_or_none(at), _moment_or_none(relocks_at)
    )


DEVICES = Table(
    "devices",
    "id, name, esp_id, owner_id, created_at, updated_at, device_type, room, location, "
    "firmware_version, metadata, settings, token_hash, is_active, activated_at, maintenance, "
    "lock_value, lock_origin, lock_at, relocks_at, battery_level, last_seen, mqtt_provisioned, "
    "pending_token_hash, pending_expires_at, timezone, transfer_to, transfer_expires_at, name_key",
    _device_row,
    _device,
)


def _share_row(share: Share) -> Row:
    return (
        share.device_id,
        share.user_id,
        share.permission.value,
        share.granted_by,
        ms(share.created_at),
        _ms_or_none(share.starts_at),
        _ms_or_none(share.expires_at),
        share.schedule,
    )


def _share(row: Row) -> Share:
    device_id, user_id, permission, granted_by, created_at, starts_at, expires_at, schedule = row
    return Share(
        device_id,
        user_id,
        Permission(permission),
        granted_by,
        moment(created_at),
        _moment_or_none(starts_at),
        _moment_or_none(expires_at),
        schedule,
    )


SHARES = Table(
    "shares",
    "device_id, user_id, permission, granted_by, created_at, starts_at, expires_at, schedule",
    _share_row,
    _share,
)


def _invitation_row(invitation: Invitation) -> Row:
    return (
        invitation.id,
        invitation.device_id,
        invitation.email,
        invitation.permission.value,
        invitation.granted_by,
        ms(invitation.created_at),
        invitation.code_hash,
        ms(invitation.code_expires_at),
        _ms_or_none(invitation.starts_at),
        _ms_or_none(invitation.expires_at),
        invitation.schedule,
        key(invitation.email),
    )


def _invitation(row: Row) -> Invitation:
    return Invitation(
        id=row[0],
        device_id=row[1],
        email=row[2],
        permission=Permission(row[3]),
        granted_by=row[4],
        created_at=moment(row[5]),
        code_hash=row[6],
        code_expires_at=moment(row[7]),
        starts_at=_moment_or_none(row[8]),
        expires_at=_moment_or_none(row[9]),
        schedule=row[10],
    )


INVITATIONS = Table(
    "invitations",
    "id, device_id, email, permission, granted_by, created_at, code_hash, code_expires_at, "
    "starts_at, expires_at, schedule, email_key",
    _invitation_row,
    _invitation,
)


def _command_row(command: Command) -> Row:
    return (
        command.id,
        command.device_id,
        command.name.value,
        command.issued_by,
        ms(command.issued_at),
        ms(command.expires_at),
        command.wait // _MS,
        to_json(dict(command.payload)),
        command.status.value,
        command.via.value if command.via else None,
        to_json(command.tried),
        _ms_or_none(command.sent_at),
        _ms_or_none(command.acknowledged_at),
        _ms_or_none(command.finished_at),
        command.error_message,
        command.operator_id,
        command.correlation_id,
        command.idempotency_key,
        command.version,
        command.slot,
        not command.is_finished,
    )


def _command(row: Row) -> Command:
    return Command(
        row[0],
        row[1],
        CommandName(row[2]),
        row[3],
        moment(row[4]),
        moment(row[5]),
        row[6] * _MS,
        orjson.loads(row[7]),
        CommandStatus(row[8]),
        Transport(row[9]) if row[9] else None,
        tuple(map(Transport, orjson.loads(row[10]))),
        _moment_or_none(row[11]),
        _moment_or_none(row[12]),
        _moment_or_none(row[13]),
        error_message=row[14],
        operator_id=row[15],
        correlation_id=row[16],
        idempotency_key=row[17],
        version=row[18],
    )


COMMANDS = Table(
    "commands",
    "id, device_id, name, issued_by, issued_at, expires_at, wait, payload, status, via, "
    "tried, sent_at, acknowledged_at, finished_at, error_message, operator_id, "
    "correlation_id, idempotency_key, version, slot, unfinished",
    _command_row,
    _command,
)


def _visitor_row(visitor: Visitor) -> Row:
    return (
        visitor.id,
        visitor.device_id,
        ms(visitor.opened_at),
        ms(visitor.expires_at),
        visitor.status.value,
        visitor.image,
        visitor.bell_pressed,
        visitor.message,
        visitor.decided_by,
        visitor.operator_id,
        _ms_or_none(visitor.decided_at),
        visitor.note,
        visitor.command_id,
        visitor.version,
    )


def _visitor(row: Row) -> Visitor:
    return Visitor(
        row[0],
        row[1],
        moment(row[2]),
        moment(row[3]),
        VisitorStatus(row[4]),
        row[5],
        bool(row[6]),
        row[7],
        row[8],
        row[9],
        _moment_or_none(row[10]),
        row[11],
        row[12],
        row[13],
    )


VISITORS = Table(
    "visitors",
    "id, device_id, opened_at, expires_at, status, image, bell_pressed, message, decided_by, "
    "operator_id, decided_at, note, command_id, version",
    _visitor_row,
    _visitor,
)


def _picture_row(picture: Picture) -> Row:
    return picture.device_id, picture.image, ms(picture.taken_at)


def _picture(row: Row) -> Picture:
    return Picture(row[0], row[1], moment(row[2]))


PICTURES = Table("pictures", "device_id, image, taken_at", _picture_row, _picture)


def _event_row(event: Event) -> Row:
    new = event.new
    return (
        event.seq,
        event.hash,
        new.id,
        new.type.value,
        ms(new.at),
        new.device_id,
        new.user_id,
        new.command_id,
        new.correlation_id,
        to_json(new.payload),
        to_json(new.metadata),
    )


def _event(row: Row) -> Event:
    new = NewEvent(
        type=EventType(row[3]),
        at=moment(row[4]),
        device_id=row[5],
        user_id=row[6],
        command_id=row[7],
        correlation_id=row[8],
        payload=orjson.loads(row[9]),
        metadata=orjson.loads(row[10]),
        id=row[2],
    )
    return Event(row[0], row[1], new)


EVENTS = Table(
    "events",
    "seq, hash, id, type, at, device_id, user_id, command_id, correlation_id, payload, metadata",
    _event_row,
    _event,
)

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

from doorlock.daemon.domain.access import Permission, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device, LockState
from doorlock.daemon.domain.events import Event, EventType, NewEvent
from doorlock.daemon.domain.users import Role, User
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
        key(user.username),
        None if user.email is None else key(user.email),
    )


def _user(row: Row) -> User:
    user_id, username, created_at, name, email, role, unix_uid, is_active, *_ = row
    return User(
        user_id, username, moment(created_at), name, email, Role(role), unix_uid, bool(is_active)
    )


USERS = Table(
    "users",
    "id, username, created_at, name, email, role, unix_uid, is_active, username_key, email_key",
    _user_row,
    _user,
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
    "pending_token_hash, pending_expires_at, name_key",
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
    )


def _share(row: Row) -> Share:
    device_id, user_id, permission, granted_by, created_at, starts_at, expires_at = row
    return Share(
        device_id,
        user_id,
        Permission(permission),
        granted_by,
        moment(created_at),
        _moment_or_none(starts_at),
        _moment_or_none(expires_at),
    )


SHARES = Table(
    "shares",
    "device_id, user_id, permission, granted_by, created_at, starts_at, expires_at",
    _share_row,
    _share,
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

"""What each write does inside the writer's transaction. All or nothing is the writer's doing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from doorlock.daemon.domain.access import Invitation, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType, NewEvent
from doorlock.daemon.domain.pictures import Picture
from doorlock.daemon.domain.users import AccessToken, User
from doorlock.daemon.domain.visitors import Visitor
from doorlock.daemon.ports import AlreadyAsked, Pruned, SlotBusy
from doorlock.daemon.stores.rows import (
    ACCESS_TOKENS,
    COMMANDS,
    DEVICES,
    INVITATIONS,
    PICTURES,
    SHARES,
    USERS,
    VISITORS,
    Row,
    Table,
    as_kept,
    ms,
)
from doorlock.daemon.stores.writer import Transaction

T = TypeVar("T")
New = Sequence[NewEvent]

BY_KEY = (
    "issued_by = ? AND idempotency_key = ?"
    " OR id = (SELECT command_id FROM joined WHERE user_id = ? AND key = ?)"
)

# One statement, for this is half of all writes; what never changes is left out for its indexes.
_FIXED = {"id", "device_id", "issued_by", "issued_at", "idempotency_key"}
_PLACE = {column: f"?{number}" for number, column in enumerate(COMMANDS.columns, 1)}
_OVER_THE_VERSION_BEFORE = (
    f"UPDATE commands SET {', '.join(f'{c} = {p}' for c, p in _PLACE.items() if c not in _FIXED)}"
    f" WHERE id = {_PLACE['id']} AND version = {_PLACE['version']} - 1"
)


def add_user(tx: Transaction, user: User, events: New) -> Sequence[Event]:
    tx.db.execute(USERS.insert, USERS.encode(user))
    return tx.append(events)


def update_user(
    tx: Transaction,
    user_id: str,
    changes: Mapping[str, Any],
    events: New,
    expect: Mapping[str, Any] | None,
) -> User | None:
    row = _row(tx, USERS, user_id)
    if row is None:
        return None
    user = USERS.decode(row)
    if expect and USERS.decode(USERS.encode(replace(user, **expect))) != user:
        return None
    return _rewrite(tx, USERS, row, replace(user, **changes), events)


def revoke_token(
    tx: Transaction, jti: str, expires_at: datetime, forget_before: datetime, events: New
) -> Sequence[Event]:
    tx.db.execute("DELETE FROM revoked_tokens WHERE expires_at <= ?", (ms(forget_before),))
    tx.db.execute("REPLACE INTO revoked_tokens VALUES (?, ?)", (jti, ms(expires_at)))
    return tx.append(events)


def add_access_token(tx: Transaction, token: AccessToken, events: New) -> Sequence[Event]:
    tx.db.execute(ACCESS_TOKENS.insert, ACCESS_TOKENS.encode(token))
    return tx.append(events)


def remove_access_token(tx: Transaction, token_id: str, events: New) -> bool:
    if not tx.db.execute("DELETE FROM access_tokens WHERE id = ?", (token_id,)).rowcount:
        return False
    tx.append(events)
    return True


def add_device(tx: Transaction, device: Device, events: New) -> Sequence[Event]:
    tx.db.execute(DEVICES.insert, DEVICES.encode(device))
    return tx.append(events)


def update_device(
    tx: Transaction,
    device_id: str,
    changes: Mapping[str, Any],
    events: New,
    expect: Mapping[str, Any] | None,
) -> Device | None:
    row = _row(tx, DEVICES, device_id)
    if row is None:
        return None
    device = DEVICES.decode(row)
    # Compared as kept, so that a time with microseconds equals itself.
    if expect and DEVICES.decode(DEVICES.encode(replace(device, **expect))) != device:
        return None
    return _rewrite(tx, DEVICES, row, replace(device, **changes), events)


def touch_devices(tx: Transaction, seen: Mapping[str, datetime]) -> None:
    tx.db.executemany(
        "UPDATE devices SET last_seen = max(?, coalesce(last_seen, ?)) WHERE id = ?",
        [(ms(at), ms(at), device_id) for device_id, at in seen.items()],
    )


def remove_device(tx: Transaction, device_id: str, events: New) -> bool:
    if not tx.db.execute("DELETE FROM devices WHERE id = ?", (device_id,)).rowcount:
        return False
    tx.db.execute("DELETE FROM shares WHERE device_id = ?", (device_id,))
    tx.db.execute("DELETE FROM invitations WHERE device_id = ?", (device_id,))
    tx.append(events)
    return True


def transfer_device(
    tx: Transaction, before: Device, at: datetime, drop_shares_of: Sequence[str], events: New
) -> Device | None:
    row = _row(tx, DEVICES, before.id)
    if row is None:
        return None
    device = DEVICES.decode(row)
    if (device.owner_id, device.transfer_to) != (before.owner_id, before.transfer_to):
        return None
    tx.db.executemany(
        "DELETE FROM shares WHERE device_id = ? AND user_id = ?",
        [(device.id, user_id) for user_id in drop_shares_of],
    )
    tx.db.execute("DELETE FROM invitations WHERE device_id = ?", (device.id,))
    owner = device.transfer_to or device.owner_id
    changed = replace(
        device,
        owner_id=owner,
        updated_at=at,
        transfer_to=None,
        transfer_expires_at=None,
        pending_token_hash=None,
        pending_expires_at=None,
    )
    return _rewrite(tx, DEVICES, row, changed, events)


def put_share(tx: Transaction, share: Share, events: New) -> Sequence[Event]:
    tx.db.execute(SHARES.insert.replace("INSERT", "REPLACE", 1), SHARES.encode(share))
    return tx.append(events)


def remove_share(tx: Transaction, device_id: str, user_id: str, events: New) -> bool:
    where = "DELETE FROM shares WHERE device_id = ? AND user_id = ?"
    if not tx.db.execute(where, (device_id, user_id)).rowcount:
        return False
    tx.append(events)
    return True


def put_invitation(tx: Transaction, invitation: Invitation, events: New) -> Sequence[Event]:
    insert = INVITATIONS.insert.replace("INSERT", "REPLACE", 1)
    tx.db.execute(insert, INVITATIONS.encode(invitation))
    return tx.append(events)


def accept_invitation(tx: Transaction, invitation_id: str, share: Share, events: New) -> bool:
    found = "SELECT 1 FROM shares WHERE device_id = ? AND user_id = ?"
    if tx.db.execute(found, (share.device_id, share.user_id)).fetchone():
        return False
    if not tx.db.execute("DELETE FROM invitations WHERE id = ?", (invitation_id,)).rowcount:
        return False
    tx.db.execute(SHARES.insert, SHARES.encode(share))
    tx.append(events)
    return True


def remove_invitation(tx: Transaction, invitation_id: str, events: New) -> bool:
    if not tx.db.execute("DELETE FROM invitations WHERE id = ?", (invitation_id,)).rowcount:
        return False
    tx.append(events)
    return True


def add_command(tx: Transaction, command: Command, events: New) -> Sequence[Event]:
    if earlier := _earlier(tx, command.issued_by, command.idempotency_key):
        raise AlreadyAsked(earlier)
    try:
        tx.db.execute(COMMANDS.insert, COMMANDS.encode(command))
    except sqlite3.IntegrityError:
        if running := _command_where(tx, "slot = ?", command.slot):
            raise SlotBusy(running) from None
        raise
    return tx.append(events)


def join_command(
    tx: Transaction, command_id: str, user_id: str, key: str | None, events: New
) -> Sequence[Event]:
    if earlier := _earlier(tx, user_id, key):
        raise AlreadyAsked(earlier)
    if key is not None:
        tx.db.execute("INSERT INTO joined VALUES (?, ?, ?)", (user_id, key, command_id))
    return tx.append(events)


def update_command(tx: Transaction, command: Command, events: New) -> Sequence[Event] | None:
    if not tx.db.execute(_OVER_THE_VERSION_BEFORE, COMMANDS.encode(command)).rowcount:
        return None
    return tx.append(events)


def add_visitor(tx: Transaction, visitor: Visitor, events: New) -> Sequence[Event]:
    tx.db.execute(VISITORS.insert, VISITORS.encode(visitor))
    return tx.append(events)


def update_visitor(tx: Transaction, visitor: Visitor, events: New) -> Sequence[Event] | None:
    assignments = ", ".join(f"{column} = ?" for column in VISITORS.columns)
    if not tx.db.execute(
        f"UPDATE visitors SET {assignments} WHERE id = ? AND version = ?",
        (*VISITORS.encode(visitor), visitor.id, visitor.version - 1),
    ).rowcount:
        return None
    return tx.append(events)


def forget_visitors(tx: Transaction, before: datetime, limit: int) -> int:
    return tx.db.execute(
        "DELETE FROM visitors WHERE id IN (SELECT id FROM visitors "
        "WHERE opened_at < ? AND status <> 'pending' LIMIT ?)",
        (ms(before), limit),
    ).rowcount


def add_picture(tx: Transaction, picture: Picture, events: New) -> Sequence[Event]:
    tx.db.execute(
        f"{PICTURES.insert} ON CONFLICT (device_id, image) "
        "DO UPDATE SET taken_at = max(taken_at, excluded.taken_at)",
        PICTURES.encode(picture),
    )
    return tx.append(events)


# Nobody's: of no visitor, of no device that is still there, or of a camera that has a newer one.
_NEEDLESS_PICTURES = """
    SELECT p.rowid FROM pictures AS p WHERE p.taken_at < :before
    OR p.taken_at < :unused_before AND (
        NOT EXISTS (SELECT 1 FROM devices WHERE id = p.device_id)
        OR NOT EXISTS (SELECT 1 FROM visitors WHERE image = p.image AND device_id = p.device_id)
        AND EXISTS (SELECT 1 FROM pictures AS newer
                    WHERE newer.device_id = p.device_id AND newer.taken_at > p.taken_at))
    LIMIT :limit"""


def forget_pictures(tx: Transaction, before: datetime, unused_before: datetime, limit: int) -> int:
    return tx.db.execute(
        f"DELETE FROM pictures WHERE rowid IN ({_NEEDLESS_PICTURES})",
        {"before": ms(before), "unused_before": ms(unused_before), "limit": limit},
    ).rowcount


def prune(
    tx: Transaction, before: datetime, limit: int, note: Callable[[Pruned], NewEvent]
) -> Pruned | None:
    oldest = "SELECT seq, at, type, hash FROM events ORDER BY seq LIMIT ?"
    rows = _run_before(tx.db.execute(oldest, (limit,)).fetchall(), ms(before))
    if not rows or not _worth_taking(tx, rows, ms(before)):
        return None
    pruned = Pruned(len(rows), rows[0][0], rows[-1][0], rows[-1][3])
    tx.db.execute("DELETE FROM events WHERE seq <= ?", (pruned.to_seq,))
    tx.db.execute("UPDATE pruned SET seq = ?, hash = ?", (pruned.to_seq, pruned.last_hash))
    tx.append(as_kept([note(pruned)]))
    return pruned


def _run_before(rows: Sequence[Row], before: int) -> Sequence[Row]:
    """As many from the first as have no gap in `seq` and are older than `before`."""
    for index, (seq, at, *_) in enumerate(rows):
        if at >= before or seq != rows[0][0] + index:
            return rows[:index]
    return rows


def _worth_taking(tx: Transaction, rows: Sequence[Row], before: int) -> bool:
    """Whether the run holds more than notes of pruning, or hides more behind them."""
    if any(row[2] != EventType.LOG_PRUNED for row in rows):
        return True
    behind = tx.db.execute(
        "SELECT at FROM events WHERE seq > ? AND (at >= ? OR type <> ?) ORDER BY seq LIMIT 1",
        (rows[-1][0], before, EventType.LOG_PRUNED),
    ).fetchone()
    return behind is not None and behind[0] < before


def _row(tx: Transaction, table: Table[Any], row_id: str) -> Row | None:
    row: Row | None = tx.db.execute(f"{table.select} WHERE id = ?", (row_id,)).fetchone()
    return row


def _rewrite(tx: Transaction, table: Table[T], row: Row, changed: T, events: New) -> T:
    """Write the columns in which `changed` differs from `row`: only their indexes are touched."""
    new = table.encode(changed)
    differing = [i for i, value in enumerate(new) if value != row[i]]
    if differing:
        assignments = ", ".join(f"{table.columns[i]} = ?" for i in differing)
        tx.db.execute(
            f"UPDATE {table.name} SET {assignments} WHERE id = ?",
            [*(new[i] for i in differing), row[table.columns.index("id")]],
        )
    tx.append(events)
    return table.decode(new)


def _earlier(tx: Transaction, user_id: str, key: str | None) -> Command | None:
    return None if key is None else _command_where(tx, BY_KEY, *(user_id, key) * 2)


def _command_where(tx: Transaction, where: str, *values: str | None) -> Command | None:
    row = tx.db.execute(f"{COMMANDS.select} WHERE {where}", values).fetchone()
    return COMMANDS.decode(row) if row else None

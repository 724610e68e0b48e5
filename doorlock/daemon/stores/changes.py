"""What each write does inside the writer's transaction. All or nothing is the writer's doing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from doorlock.daemon.domain.access import Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType, NewEvent
from doorlock.daemon.domain.users import User
from doorlock.daemon.ports import AlreadyAsked, Pruned, SlotBusy
from doorlock.daemon.stores.rows import COMMANDS, DEVICES, SHARES, USERS, Row, Table, as_kept, ms
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
    tx: Transaction, user_id: str, changes: Mapping[str, Any], events: New
) -> User | None:
    row = _row(tx, USERS, user_id)
    if row is None:
        return None
    return _rewrite(tx, USERS, row, replace(USERS.decode(row), **changes), events)


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
    tx.append(events)
    return True


def put_share(tx: Transaction, share: Share, events: New) -> Sequence[Event]:
    tx.db.execute(SHARES.insert.replace("INSERT", "REPLACE", 1), SHARES.encode(share))
    return tx.append(events)


def remove_share(tx: Transaction, device_id: str, user_id: str, events: New) -> bool:
    where = "DELETE FROM shares WHERE device_id = ? AND user_id = ?"
    if not tx.db.execute(where, (device_id, user_id)).rowcount:
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

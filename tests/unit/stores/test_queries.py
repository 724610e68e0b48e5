"""What is asked often is answered from an index: a log of millions must not be read through."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from doorlock.daemon.domain.events import EventType
from doorlock.daemon.ports import EventFilter
from doorlock.daemon.stores.filters import event_condition
from doorlock.daemon.stores.migrations import MIGRATIONS, migrate
from tests.contract.build import NOON


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        migrate(made, MIGRATIONS)
        yield made


def _plan(db: sqlite3.Connection, query: str, values: tuple[object, ...]) -> str:
    return "\n".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (EventFilter(device="d"), "events_by_device"),
        (EventFilter(device="d", after=5), "events_by_device"),
        (EventFilter(devices=frozenset("d")), "events_by_device"),
        (EventFilter(user="u"), "events_by_user"),
        (EventFilter(command="c"), "events_by_command"),
        (EventFilter(types=frozenset({EventType.LOW_BATTERY})), "events_by_type"),
        (EventFilter(since=NOON, until=NOON), "events_by_time"),
        (EventFilter(after=5), "INTEGER PRIMARY KEY"),
    ],
)
def test_events_are_counted_by_an_index(
    db: sqlite3.Connection, wanted: EventFilter, index: str
) -> None:
    where, values = event_condition(wanted)
    assert index in _plan(db, f"SELECT count(*) FROM events WHERE {where}", values)


@pytest.mark.parametrize("column", ["device_id", "user_id", "command_id", "type"])
def test_one_things_events_come_in_order_without_sorting(
    db: sqlite3.Connection, column: str
) -> None:
    query = f"SELECT * FROM events WHERE {column} = ? AND seq < ? ORDER BY seq DESC LIMIT 20"
    plan = _plan(db, query, ("x", 9))
    assert "SEARCH events USING INDEX" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("commands WHERE id = 'x'", "sqlite_autoindex_commands_1"),
        ("commands WHERE slot = 'x'", "commands_by_slot"),
        ("commands WHERE issued_by = 'x' AND idempotency_key = 'x'", "commands_by_key"),
        ("commands WHERE unfinished = 1", "commands_unfinished"),
        ("commands WHERE unfinished = 1 AND device_id = 'x'", "commands_unfinished"),
        ("commands WHERE device_id = 'x' ORDER BY issued_at DESC, n DESC", "commands_by_device"),
        ("devices WHERE owner_id = 'x'", "devices_by_owner"),
        ("shares WHERE user_id = 'x'", "shares_by_user"),
    ],
)
def test_commands_devices_and_shares_are_found_by_an_index(
    db: sqlite3.Connection, where: str, index: str
) -> None:
    assert index in _plan(db, f"SELECT * FROM {where}", ())

"""Logs such as the store itself never leaves: with a gap, and with nothing in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from doorlock.daemon.ports import EventFilter, LogBounds
from doorlock.daemon.stores.sqlite import SqliteStore
from tests.contract.build import event, later


async def _four_events(path: Path) -> str:
    """The hash of the third."""
    store = SqliteStore(path)
    await store.open()
    written = await store.append([event() for _ in range(4)])
    await store.close()
    return written[2].hash


def _alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


async def test_pruning_stops_at_a_gap_and_goes_on_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await _four_events(path)
    _alter(path, "DELETE FROM events WHERE seq = 2")
    store = SqliteStore(path)
    await store.open()
    steps = [await store.prune(later(1), 100, lambda _: event(at=later(9))) for _ in range(2)]
    assert [step and (step.from_seq, step.to_seq, step.count) for step in steps] == [
        (1, 1, 1),
        (3, 4, 2),
    ]
    await store.close()


async def test_the_count_goes_on_from_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    anchor = await _four_events(path)
    _alter(path, "DELETE FROM events", f"UPDATE pruned SET seq = 3, hash = '{anchor}'")
    store = SqliteStore(path)
    await store.open()
    assert await store.bounds() == LogBounds(4, 3, anchor)
    (following,) = await store.append([event()])
    assert following.seq == 4
    assert await store.list_events(EventFilter(), limit=9) == [following]
    await store.close()

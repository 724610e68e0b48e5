"""Group commit, and what a disk that fails does to it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.events import GENESIS, Event, verify
from doorlock.daemon.ports import Taken
from doorlock.daemon.stores.files import Files
from doorlock.daemon.stores.migrations import MIGRATIONS
from doorlock.daemon.stores.rows import EVENTS
from doorlock.daemon.stores.writer import Transaction, Writer
from doorlock.errors import BadInput, Unavailable
from tests.contract.build import event

Work = Callable[[Transaction], Any]


class Disk:
    """Stands between the writer and its connection; fails statements when told to."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.failing = ""
        self.ends_transaction = False
        self.statements: list[str] = []

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        self._meet(statement)
        return self._db.execute(statement, values)

    def executemany(self, statement: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        self._meet(statement)
        return self._db.executemany(statement, rows)

    def _meet(self, statement: str) -> None:
        self.statements.append(statement)
        if self.failing and statement.startswith(self.failing):
            if self.ends_transaction:
                self._db.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction


class Bench:
    """A writer over a real file, with the disk in our hands."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.disk = Disk(files.write)
        self.heard: list[Event] = []
        self.groups: list[int] = []
        self.writer = Writer(self.disk, files.head, [self._hear])  # type: ignore[arg-type]

    def _hear(self, events: Any) -> None:
        self.heard.extend(events)
        self.groups.append(len(events))

    async def together(self, *works: Work) -> list[Any]:
        """All of `works` in one transaction, held back until the last is in the queue."""
        gate = threading.Event()
        first = self.writer.submit(lambda _: gate.wait(10))
        futures = [self.writer.submit(work) for work in works]
        gate.set()
        return (await asyncio.gather(first, *futures, return_exceptions=True))[1:]

    def log(self) -> list[Event]:
        return [EVENTS.decode(row) for row in self.files.far.execute(EVENTS.select)]

    def notes(self) -> list[str]:
        return [row[0] for row in self.files.far.execute("SELECT x FROM notes ORDER BY x")]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    files = Files(tmp_path / "a.db", [*MIGRATIONS, ("CREATE TABLE notes (x TEXT UNIQUE)",)])
    made = Bench(files)
    yield made
    made.disk.failing = ""
    made.writer.stop()
    files.close()


def append(count: int = 1) -> Work:
    return lambda tx: tx.append([event()] * count)


def note(text: Any) -> Work:
    def work(tx: Transaction) -> Any:
        tx.db.execute("INSERT INTO notes VALUES (?)", (text,))
        tx.append([event()])
        return text

    return work


def fails_after(work: Work, error: Exception) -> Work:
    def failing(tx: Transaction) -> None:
        work(tx)
        raise error

    return failing


async def test_what_is_pending_is_committed_once(bench: Bench) -> None:
    await bench.together(*[append()] * 50)
    commits = bench.disk.statements.count("COMMIT")
    assert commits <= 2
    assert sum(bench.groups) == 50
    assert len(bench.log()) == 50


async def test_a_job_that_raises_is_undone_alone(bench: Bench) -> None:
    results = await bench.together(
        note("a"),
        fails_after(note("b"), ValueError("b")),
        append(2),
        note("c"),
        note("a"),
        note("d"),
    )
    assert results[0] == "a"
    assert isinstance(results[1], ValueError)
    assert [one.seq for one in results[2]] == [2, 3]
    assert isinstance(results[4], Taken)
    assert bench.notes() == ["a", "c", "d"]
    assert [one.seq for one in bench.heard] == [1, 2, 3, 4, 5]
    assert bench.log() == bench.heard
    assert verify(GENESIS, bench.heard) is None


async def test_a_mistake_in_a_jobs_values_is_its_own(bench: Bench) -> None:
    def wrong_type(tx: Transaction) -> None:
        tx.db.execute("INSERT INTO notes VALUES (?)", ({},))

    def too_few(tx: Transaction) -> None:
        tx.db.execute("INSERT INTO notes VALUES (?)", ())

    results = await bench.together(
        note("a"),
        wrong_type,
        too_few,
        note("\ud800"),
        note(2**70),
        note("b"),
    )
    kinds = [type(one) for one in results]
    assert results[0] == "a"
    assert results[-1] == "b"
    assert all(issubclass(kind, sqlite3.Error) for kind in kinds[1:3])
    assert all(issubclass(kind, BadInput) for kind in kinds[3:5])
    assert bench.notes() == ["a", "b"]


@pytest.mark.parametrize(
    "failing",
    ["BEGIN", "SAVEPOINT", "INSERT INTO notes", "INSERT INTO events", "RELEASE", "COMMIT"],
)
@pytest.mark.parametrize("ends_transaction", [False, True])
async def test_a_failing_disk_fails_the_group_and_the_store_goes_on(
    bench: Bench, failing: str, ends_transaction: bool
) -> None:
    await bench.together(note("before"), append())
    before = bench.log()
    bench.disk.failing = failing
    bench.disk.ends_transaction = ends_transaction and failing != "BEGIN"
    results = await bench.together(append(), note("a"), append(), note("b"))
    assert all(isinstance(one, Unavailable) for one in results)
    assert all(isinstance(one.__cause__, sqlite3.OperationalError) for one in results)
    assert len(set(map(id, results))) == 4
    assert bench.log() == before == bench.heard

    bench.disk.failing = ""
    assert await bench.together(note("a"), note("c")) == ["a", "c"]
    assert bench.notes() == ["a", "before", "c"]
    assert [one.seq for one in bench.heard] == [1, 2, 3, 4]
    assert bench.log() == bench.heard
    assert verify(GENESIS, bench.heard) is None


async def test_a_rollback_that_fails_too_does_not_end_the_writer(bench: Bench) -> None:
    bench.disk.failing = ("COMMIT", "ROLLBACK")  # type: ignore[assignment]
    (result,) = await bench.together(note("a"))
    assert isinstance(result, Unavailable)
    bench.disk.failing = ""
    (result,) = await bench.together(note("a"))
    assert isinstance(result, Unavailable)
    assert await bench.together(note("a")) == ["a"]
    assert bench.log() == bench.heard


async def test_a_cancelled_caller_stops_neither_its_job_nor_the_writer(bench: Bench) -> None:
    gate = threading.Event()
    blocking = bench.writer.submit(lambda _: gate.wait(10))
    cancelled = bench.writer.submit(note("a"))
    cancelled.cancel()
    gate.set()
    await blocking
    assert await bench.writer.submit(note("b")) == "b"
    assert bench.notes() == ["a", "b"]
    assert len(bench.heard) == 2


async def test_a_great_many_jobs_are_done_in_several_commits(bench: Bench) -> None:
    results = await bench.together(*[append()] * 2500)
    assert [one[0].seq for one in results] == list(range(1, 2501))
    assert max(bench.groups) <= 1000


async def test_events_are_heard_before_any_future_of_the_group_is_done(bench: Bench) -> None:
    order: list[str] = []
    bench.writer._listeners.append(lambda _: order.append("heard"))  # type: ignore[attr-defined]
    gate = threading.Event()
    held = bench.writer.submit(lambda _: gate.wait(10))
    futures = [bench.writer.submit(append()) for _ in range(3)]
    for future in futures:
        future.add_done_callback(lambda _: order.append("done"))
    gate.set()
    await asyncio.gather(held, *futures)
    assert order.count("heard") <= 2
    assert order[0] == "heard"
    assert order.count("done") == 3

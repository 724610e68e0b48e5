"""The one thread that writes: what is pending is done in one transaction, and committed once.

A commit waits for the disk. Whatever is asked for meanwhile goes into the next one together, so
the disk's pace bounds how long one write takes but not how many are done in a second.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from doorlock.daemon.domain.events import Event, NewEvent, chain
from doorlock.daemon.ports import EventListener
from doorlock.daemon.stores.faults import CannotBeKept, translated, unavailable
from doorlock.daemon.stores.rows import EVENTS

T = TypeVar("T")

UNWRITABLE = "the store could not be written"
_MOST = 1000  # jobs in a transaction, so that the first is not kept waiting by the last


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event's place, from which the chain goes on."""

    seq: int
    hash: str


class Transaction:
    """What a job works on: statements on `db`, and events for the log.

    Events are inserted all at once when every job is done: a job that reads the log sees none of
    those that its own transaction appends.
    """

    def __init__(self, db: sqlite3.Connection, head: Head) -> None:
        self._db = db
        self._saved = False
        self.head = head
        self.events: list[Event] = []

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; what the job does on it is undone when the job raises."""
        if not self._saved:
            self._db.execute("SAVEPOINT job")
            self._saved = True
        return self._db

    def append(self, events: Iterable[NewEvent]) -> Sequence[Event]:
        """Give `events`, which are `as_kept`, the next places in the log."""
        begin = len(self.events)
        for new in events:
            try:
                event = chain(self.head.hash, self.head.seq + 1, new)
            except TypeError as error:
                raise CannotBeKept from error
            self.head = Head(event.seq, event.hash)
            self.events.append(event)
        return self.events[begin:]

    def flush(self) -> None:
        """Insert what was appended."""
        if self.events:
            self._db.executemany(EVENTS.insert, map(EVENTS.encode, self.events))

    def attempt(self, work: Callable[[Transaction], T]) -> T | Exception:
        """What `work` returns, or raises having changed nothing. Raises what is the disk's fault:
        that concerns every job."""
        head, begin = self.head, len(self.events)
        try:
            with translated(UNWRITABLE):
                result = work(self)
        except Exception as error:
            if isinstance(error.__cause__, sqlite3.Error) and not isinstance(
                error.__cause__, sqlite3.IntegrityError
            ):
                raise
            self.head = head
            del self.events[begin:]
            self._end_job("ROLLBACK TO job")
            return error
        self._end_job()
        return result

    def _end_job(self, first: str | None = None) -> None:
        if self._saved:
            self._saved = False
            if first:
                self._db.execute(first)
            self._db.execute("RELEASE job")


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    after: Callable[[], None] | None


class Writer:
    """Does jobs in the order they come in, on a thread of its own, with `db` to itself.

    Made on the event loop that its futures and listeners belong to.
    """

    def __init__(
        self, db: sqlite3.Connection, head: Head, listeners: Sequence[EventListener]
    ) -> None:
        self._db = db
        self._head = head
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[Transaction], T], after: Callable[[], None] | None = None
    ) -> asyncio.Future[T]:
        """`work` is done even if the future is cancelled. It runs on the thread, and must not
        keep or share the transaction. `after` is called on the event loop when it is committed
        or has failed, before anybody hears of it; it must not raise."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(work, future, after))
        return future

    def stop(self) -> None:
        """Wait, blocking, until what was submitted is done; nothing may be submitted after."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            jobs, more = self._pending()
            if jobs:
                outcomes, events = self._commit(jobs)
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._deliver, jobs, outcomes, events)

    def _pending(self) -> tuple[list[_Job], bool]:
        job = self._queue.get()
        jobs: list[_Job] = []
        with suppress(Empty):
            while job is not None:
                jobs.append(job)
                if len(jobs) == _MOST:
                    return jobs, True
                job = self._queue.get_nowait()
            return jobs, False
        return jobs, True

    def _commit(self, jobs: Sequence[_Job]) -> tuple[list[Any], Sequence[Event]]:
        transaction = Transaction(self._db, self._head)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [transaction.attempt(job.work) for job in jobs]
            transaction.flush()
            self._db.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            cause = error.__cause__ or error
            return [unavailable(UNWRITABLE, cause) for _ in jobs], ()
        self._head = transaction.head
        return outcomes, transaction.events

    def _roll_back(self) -> None:
        # Some failures end the transaction by themselves; on a dying disk this may fail as well,
        # and then the next BEGIN says so.
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _deliver(
        self, jobs: Sequence[_Job], outcomes: Sequence[Any], events: Sequence[Event]
    ) -> None:
        for job in jobs:
            if job.after is not None:
                job.after()
        if events:
            for listener in self._listeners:
                self._tell(listener, events)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _tell(self, listener: EventListener, events: Sequence[Event]) -> None:
        try:
            listener(events)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "a listener to the event log raised", "exception": error}
            )

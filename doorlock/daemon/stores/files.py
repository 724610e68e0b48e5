"""A store's file and the connections to it: opened in order, let go in reverse. Blocking."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from doorlock.daemon.stores.faults import unavailable
from doorlock.daemon.stores.lock import FileLock
from doorlock.daemon.stores.migrations import Migration, check_version, migrate
from doorlock.daemon.stores.writer import Head
from doorlock.errors import Unavailable

_CACHE_KIB = 16384


class Files:
    """One file, locked: a connection that writes and two that read.

    `near` reads single rows on the event loop; `far` reads lists on a thread.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        """Raises SchemaTooNew or Unavailable, having let go of everything."""
        with ExitStack() as stack:
            lock = FileLock(path.with_name(path.name + ".lock"))
            stack.callback(lock.release)
            lock.acquire()
            try:
                _make_private(path)
                self.write = self._open(stack, path, migrations)
                self.far = stack.enter_context(closing(_connect(path)))
                self.near = stack.enter_context(closing(_connect(path)))
                self.head = _head(self.write)
            except (sqlite3.Error, OSError) as error:
                raise unavailable(f"the store at {path} cannot be opened", error) from error
            self._stack = stack.pop_all()

    def close(self) -> None:
        """The readers first, so that the writer's last act empties the write-ahead log."""
        self._stack.close()

    @staticmethod
    def _open(stack: ExitStack, path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
        # Read only, so that a file which is refused stays as it is.
        with closing(_connect(path, "ro")) as peek:
            check_version(peek, len(migrations))
        path.chmod(0o600)
        db = stack.enter_context(closing(_connect(path)))
        if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise Unavailable(
                f"the file system of {path} cannot keep a write-ahead log",
                hint="Put the store on a local disk.",
            )
        db.execute("PRAGMA synchronous = FULL")
        migrate(db, migrations)
        return db


def _connect(path: Path, mode: str = "rw") -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return db


def _make_private(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _head(db: sqlite3.Connection) -> Head:
    newest = "SELECT seq, hash FROM events UNION ALL SELECT seq, hash FROM pruned"
    return Head(*db.execute(f"{newest} ORDER BY seq DESC LIMIT 1").fetchone())

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from doorlock.daemon.ports import SchemaTooNew
from doorlock.daemon.stores.migrations import MIGRATIONS, Migration
from doorlock.daemon.stores.rows import ms
from doorlock.daemon.stores.sqlite import SqliteStore
from doorlock.errors import Unavailable
from tests.contract.build import event, user

ADA = user()
SECOND: Migration = ("CREATE TABLE extra (x)", "INSERT INTO extra SELECT username FROM users")
BROKEN: Migration = ("CREATE TABLE half (x)", "INSERT INTO half VALUES (1)", "NO SUCH STATEMENT")
NEWEST = len(MIGRATIONS)


async def _use(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    store = SqliteStore(path, migrations)
    await store.open()
    await store.close()


def _read(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def _schema(path: Path) -> list[tuple[object, ...]]:
    return _read(path, "SELECT sql FROM sqlite_master ORDER BY name")


async def _filled(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.add_user(ADA, [event()])
    await store.close()


async def test_an_empty_file_gets_the_newest_version(tmp_path: Path) -> None:
    await _use(tmp_path / "a.db")
    assert _read(tmp_path / "a.db", "PRAGMA user_version") == [(len(MIGRATIONS),)]


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_each_earlier_version_leads_to_the_same_schema(tmp_path: Path, version: int) -> None:
    await _use(tmp_path / "old.db", MIGRATIONS[:version])
    await _use(tmp_path / "old.db")
    await _use(tmp_path / "new.db")
    assert _schema(tmp_path / "old.db") == _schema(tmp_path / "new.db") != []


async def test_users_from_before_there_were_passwords_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await _use(path, MIGRATIONS[:1])
    with closing(sqlite3.connect(path)) as db:
        values = (ADA.id, "ada", ms(ADA.created_at), "Ada", None, "admin", 7, 1, "ada", None)
        db.execute(f"INSERT INTO users VALUES ({', '.join('?' * len(values))})", values)
        db.commit()
    store = SqliteStore(path)
    await store.open()
    kept = await store.get_user(ADA.id)
    await store.close()
    assert kept == user("ada", id=ADA.id, name="Ada", unix_uid=7)


async def test_a_step_is_done_once_and_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await _filled(path)
    for _ in range(2):
        await _use(path, [*MIGRATIONS, SECOND])
    assert _read(path, "SELECT x FROM extra") == [(ADA.username,)]
    assert _read(path, "PRAGMA user_version") == [(NEWEST + 1,)]


async def test_a_step_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await _filled(path)
    before = _schema(path)
    migrations = [*MIGRATIONS, BROKEN]
    store = SqliteStore(path, migrations)
    with pytest.raises(Unavailable, match=f"version {NEWEST + 1}") as caught:
        await store.open()
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert _schema(path) == before
    assert _read(path, "PRAGMA user_version") == [(NEWEST,)]
    migrations[-1] = SECOND
    await store.open()
    assert await store.get_user(ADA.id) == ADA
    await store.close()
    assert _read(path, "PRAGMA user_version") == [(NEWEST + 1,)]


async def test_the_steps_before_one_that_fails_stay_done(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with pytest.raises(Unavailable, match=f"version {NEWEST + 2}"):
        await _use(path, [*MIGRATIONS, SECOND, BROKEN])
    assert _read(path, "PRAGMA user_version") == [(NEWEST + 1,)]


async def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await _use(path, [*MIGRATIONS, SECOND])
    path.chmod(0o640)
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=f"version {NEWEST + 1}") as caught:
        await _use(path)
    assert "Upgrade" in (caught.value.hint or "")
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o640


async def test_a_newer_file_whose_log_was_not_emptied_is_left_as_it_is(tmp_path: Path) -> None:
    """As a daemon that was killed leaves it: the newest pages are in the log beside the file."""
    path, killed = tmp_path / "a.db", tmp_path / "killed"
    killed.mkdir()
    store = SqliteStore(path, [*MIGRATIONS, SECOND])
    await store.open()
    await store.append([event()])
    for name in ("a.db", "a.db-wal", "a.db-shm"):
        shutil.copy(tmp_path / name, killed)
    await store.close()
    log = killed / "a.db-wal"
    before = (killed / "a.db").read_bytes(), log.read_bytes()
    assert before[1]
    with pytest.raises(SchemaTooNew):
        await _use(killed / "a.db")
    assert ((killed / "a.db").read_bytes(), log.read_bytes()) == before

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from doorlock.daemon.ports import EventFilter
from doorlock.daemon.stores.sqlite import SqliteStore, path_of
from doorlock.errors import Unavailable
from tests.contract.build import event


async def _refused(path: Path) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await SqliteStore(path).open()
    assert caught.value.hint
    return caught.value


async def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    names = ("a.db", "a.db-shm", "a.db-wal", "a.db.lock")
    before = os.umask(0)
    try:
        await store.open()
        await store.append([event()])
        modes = {name: oct((tmp_path / name).stat().st_mode & 0o777) for name in names}
    finally:
        os.umask(before)
        await store.close()
    assert modes == dict.fromkeys(names, "0o600")


async def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch(0o644)
    store = SqliteStore(tmp_path / "a.db")
    await store.open()
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600
    await store.close()


async def test_two_do_not_open_one_file(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "a.db")
    await first.open()
    error = await _refused(tmp_path / "a.db")
    assert "another daemon" in error.message
    assert str(tmp_path / "a.db") in error.message
    assert await first.append([event()])
    await first.close()
    second = SqliteStore(tmp_path / "a.db")
    await second.open()
    await second.close()


async def test_what_is_not_a_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"these are notes, not a database\n" * 500)
    before = path.read_bytes()
    error = await _refused(path)
    assert "not a database" in (error.hint or "")
    assert isinstance(error.__cause__, sqlite3.DatabaseError)
    assert path.read_bytes() == before
    path.unlink()
    store = SqliteStore(path)
    await store.open()
    await store.close()


async def test_the_same_store_opens_once_the_file_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"x" * 5000)
    store = SqliteStore(path)
    with pytest.raises(Unavailable):
        await store.open()
    await store.close()
    path.unlink()
    await store.open()
    assert await store.append([event()])
    await store.close()


async def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url)")
    before = path.read_bytes()
    error = await _refused(path)
    assert "another program" in error.message
    assert path.read_bytes() == before


async def test_a_damaged_file_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = SqliteStore(path)
    await store.open()
    await store.append([event() for _ in range(100)])
    await store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    error = await _refused(path)
    assert "damaged" in (error.hint or "")


async def test_damage_that_shows_only_in_reading_is_said_then(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = SqliteStore(path)
    await store.open()
    await store.append([event(payload={"fill": "x" * 3000}) for _ in range(100)])
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        leaves = (
            db.execute(
                "SELECT pageno FROM dbstat WHERE name = 'events' AND pagetype = 'leaf'"
            ).fetchall()
            if _has_dbstat(db)
            else [(page,) for page in range(40, 60)]
        )
        size = db.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(path.read_bytes())
    for (page,) in leaves[5:-5]:
        content[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(content)
    await store.open()
    with pytest.raises(Unavailable) as caught:
        await store.list_events(EventFilter(), limit=1000)
    assert "damaged" in (caught.value.hint or "")
    await store.close()


def _has_dbstat(db: sqlite3.Connection) -> bool:
    options = {row[0] for row in db.execute("PRAGMA compile_options")}
    return "ENABLE_DBSTAT_VTAB" in options


async def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    error = await _refused(tmp_path / "no" / "a.db")
    assert "folder" in (error.hint or "")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_folder_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "a.db").mkdir()
    await _refused(tmp_path / "a.db")


async def test_odd_characters_in_the_path_are_part_of_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a ?mode=ro#%41.db"
    store = SqliteStore(path)
    await store.open()
    assert await store.append([event()])
    await store.close()
    assert path.exists()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/lib/doorlock/doorlock.db", "/var/lib/doorlock/doorlock.db"),
        ("sqlite:////var/lib/doorlock.db", "/var/lib/doorlock.db"),
        ("sqlite:///srv/two%20words.db", "/srv/two words.db"),
    ],
)
def test_the_path_of_a_url_is_absolute(url: str, path: str) -> None:
    assert str(path_of(url)) == path


async def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    """FULL is what makes a write in WAL mode durable when it returns; NORMAL would not."""
    store = SqliteStore(tmp_path / "a.db")
    await store.open()
    db = store._opened().files.write
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await store.close()

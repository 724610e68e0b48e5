"""What a snapshot store owes: one more is one more line in `STORES`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from doorlock.daemon.ports import SnapshotStore
from doorlock.daemon.stores.snapshots import FileSnapshots, folder_of
from doorlock.errors import Unavailable

STORES: dict[str, Callable[[Path], SnapshotStore]] = {"files": FileSnapshots}
SOON = datetime.now(UTC) + timedelta(days=1)
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@pytest.fixture(params=sorted(STORES))
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    return STORES[request.param](tmp_path / "pictures")


async def test_what_is_put_is_there_by_its_content(snapshots: SnapshotStore) -> None:
    image = await snapshots.put(b"one")
    assert image == hashlib.sha256(b"one").hexdigest()
    assert await snapshots.put(b"one") == image
    assert await snapshots.get(image) == b"one"
    assert await snapshots.get("0" * 64) is None


@pytest.mark.parametrize("name", ["", "..", "../secret", "/etc/passwd", "A" * 64, "0" * 63, "0\0"])
async def test_what_is_no_name_is_not_there(snapshots: SnapshotStore, name: str) -> None:
    assert await snapshots.get(name) is None


async def test_only_what_is_old_is_listed_and_removed(snapshots: SnapshotStore) -> None:
    assert await snapshots.put_before(SOON) == []
    image = await snapshots.put(b"one")
    assert await snapshots.put_before(LONG_AGO) == []
    assert await snapshots.put_before(SOON) == [image]
    assert not await snapshots.remove(image, LONG_AGO)
    assert await snapshots.get(image) == b"one"
    assert await snapshots.remove(image, SOON)
    assert not await snapshots.remove(image, SOON)
    assert await snapshots.get(image) is None


async def test_many_at_once(snapshots: SnapshotStore) -> None:
    contents = [str(n % 10).encode() for n in range(60)]
    images = await asyncio.gather(*(snapshots.put(content) for content in contents))
    assert sorted(await snapshots.put_before(SOON)) == sorted(set(images))
    for content, image in zip(contents, images, strict=True):
        assert await snapshots.get(image) == content


async def test_files_are_private_and_putting_again_makes_them_new(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path / "pictures")
    image = await store.put(b"one")
    (file,) = (path for path in (tmp_path / "pictures").rglob("*") if path.is_file())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "pictures").stat().st_mode) == 0o700
    os.utime(file, (1, 1))
    assert await store.put_before(LONG_AGO) == [image]
    await store.put(b"one")
    assert not await store.remove(image, LONG_AGO)


async def test_a_file_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    image = await store.put(b"one")
    (tmp_path / image[:2] / image).write_bytes(b"o")
    await store.put(b"one")
    assert await store.get(image) == b"one"


async def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = FileSnapshots(tmp_path / "file" / "pictures")
    with pytest.raises(Unavailable):
        await store.put(b"one")


def test_the_url_names_the_folder() -> None:
    assert folder_of("file:///var/lib/door%20lock") == Path("/var/lib/door lock")

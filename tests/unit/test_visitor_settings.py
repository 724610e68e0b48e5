"""The settings of visitors and of where their pictures are kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from doorlock.daemon.config import Config, load, shown
from doorlock.errors import BadConfig


def settings(folder: Path, **env: str) -> Config:
    flags = {"daemon": {"state_dir": folder / "state dir"}}
    return load(None, {"HOME": str(folder), **env}, flags, 12345)


def test_pictures_are_kept_in_the_state_folder(tmp_path: Path) -> None:
    config = settings(tmp_path)
    assert config.snapshots.url == (tmp_path / "state dir" / "snapshots").as_uri()
    assert config.visitors.expire_after == timedelta(minutes=10)
    assert shown(config)["snapshots"]["url"] == config.snapshots.url


def test_both_can_be_set(tmp_path: Path) -> None:
    env = {
        "DOORLOCK_VISITORS__EXPIRE_AFTER": "90s",
        "DOORLOCK_SNAPSHOTS__URL": "file:///srv/pictures",
    }
    config = settings(tmp_path, **env)
    assert config.visitors.expire_after == timedelta(seconds=90)
    assert config.snapshots.url == "file:///srv/pictures"


@pytest.mark.parametrize("url", ["s3://bucket", "/srv/pictures", "file://host/srv", "file:///"])
def test_a_store_that_is_not_known_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadConfig, match="snapshot store"):
        settings(tmp_path, DOORLOCK_SNAPSHOTS__URL=url)


def test_nobody_waits_for_no_time(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="expire_after"):
        settings(tmp_path, DOORLOCK_VISITORS__EXPIRE_AFTER="0s")

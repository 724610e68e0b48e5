"""What was acknowledged is there, whatever ends the process; a full disk ends nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from doorlock.daemon.domain.events import verify
from doorlock.daemon.ports import EventFilter
from doorlock.daemon.stores.sqlite import SqliteStore

ROOT = Path(__file__).parents[3]


def _command(script: str, path: Path) -> list[str]:
    return [sys.executable, "-m", f"tests.unit.stores.{script}", str(path)]


def _append_until_killed(path: Path, after: int) -> dict[int, str]:
    """Kills the appender when it has acknowledged `after` events; all that it acknowledged."""
    with subprocess.Popen(_command("appender", path), cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(after)]
        child.kill()
        lines += child.stdout.readlines()
    whole = [line.split() for line in lines if line.endswith(b"\n")]
    return {int(seq): digest.decode() for seq, digest in whole}


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, seed: int) -> None:
    path, chance = tmp_path / "a.db", random.Random(seed)
    acknowledged: dict[int, str] = {}
    for _ in range(2):
        acknowledged |= _append_until_killed(path, chance.randrange(1, 2500))
    store = SqliteStore(path)
    await store.open()
    log = await store.list_events(EventFilter(), limit=10**6)
    bounds = await store.bounds()
    devices = {one.id for one in await store.list_devices()}
    await store.close()

    assert acknowledged.items() <= {one.seq: one.hash for one in log}.items()
    assert [one.seq for one in log] == list(range(1, len(log) + 1))
    assert verify(bounds.anchor, log) is None
    assert {one.new.device_id for one in log if one.new.device_id} == devices


def test_a_full_disk_is_said_and_the_store_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        _command("full_disk", tmp_path / "a.db"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr

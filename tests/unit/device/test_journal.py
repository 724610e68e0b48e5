"""What the device's files keep, and what they refuse."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.device.journal import DeviceFiles
from doorlock.device.state import DeviceState, Record, Settings, Stage
from doorlock.errors import BadConfig, Conflict
from doorlock.protocol import LockValue, Transport

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def record(number: int, stage: Stage = Stage.EXECUTED, *, minutes: int = -1) -> Record:
    expires = NOW + timedelta(minutes=minutes)
    return Record(f"c{number}", "unlock_door", stage, Transport.MQTT, expires, None)


def kept(folder: Path, **options: Any) -> dict[str, Record]:
    with DeviceFiles(folder, clock=lambda: NOW, **options) as files:
        return {r.command_id: r for r in files.load()[1]}


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    written = Record("c1", "lock_door", Stage.FAILED, Transport.WEBSOCKET, NOW, "jam", True)
    with DeviceFiles(tmp_path) as files:
        files.load()
        files.remember(record(1, Stage.STARTED))
        files.remember(written)
    assert kept(tmp_path) == {"c1": written}


def test_what_was_delivered_is_known(tmp_path: Path) -> None:
    with DeviceFiles(tmp_path) as files:
        files.load()
        files.remember(record(1))
        files.delivered("c1")
        files.delivered("unknown")
    assert kept(tmp_path)["c1"].delivered


def test_a_record_is_synced_before_remember_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    real = os.fdatasync

    def note(handle: int) -> None:
        synced.append((tmp_path / "journal.jsonl").read_bytes())
        real(handle)

    with DeviceFiles(tmp_path) as files:
        files.load()
        monkeypatch.setattr("doorlock.device.journal.os.fdatasync", note)
        files.remember(record(1, Stage.STARTED))
    assert [b"c1" in text for text in synced] == [True]


def test_a_torn_last_line_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    with DeviceFiles(tmp_path) as files:
        files.load()
        files.remember(record(1))
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"commandId": "c2", "sta')
    assert set(kept(tmp_path)) == {"c1"}
    with DeviceFiles(tmp_path) as files:
        files.load()
        files.remember(record(3))
    assert set(kept(tmp_path)) == {"c1", "c3"}


def test_a_damaged_journal_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"commandId": "c1"}\n')
    with DeviceFiles(tmp_path) as files, pytest.raises(BadConfig, match="journal is damaged"):
        files.load()


def test_after_a_full_disk_the_journal_is_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with DeviceFiles(tmp_path) as files:
        files.load()
        files.remember(record(1))
        with monkeypatch.context() as patch:
            patch.setattr("doorlock.device.journal.os.write", lambda h, b: real(h, b[:20]))
            with pytest.raises(OSError, match="full"):
                files.remember(record(2, Stage.STARTED))
        files.remember(record(3))
    assert set(kept(tmp_path)) == {"c1", "c2", "c3"}


def test_it_stays_bounded_and_forgets_only_what_is_over(tmp_path: Path) -> None:
    with DeviceFiles(tmp_path, clock=lambda: NOW, capacity=5) as files:
        files.load()
        files.remember(record(0, minutes=5))
        for number in range(1, 100):
            files.remember(record(number))
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert len(lines) <= 5 * 4
    left = kept(tmp_path, capacity=5)
    assert {"c0", "c99"} <= set(left)
    assert len(left) == 5


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with DeviceFiles(tmp_path), pytest.raises(Conflict, match="another process"):
        DeviceFiles(tmp_path)
    with DeviceFiles(tmp_path):
        pass


def test_actuations_are_listed_in_order(tmp_path: Path) -> None:
    with DeviceFiles(tmp_path) as files:
        files.actuated("c1", LockValue.UNLOCKED)
        files.actuated(None, LockValue.LOCKED)
        listed = [(line["commandId"], line["action"]) for line in files.actuations()]
    assert listed == [("c1", "unlock"), (None, "lock")]


def test_the_state_comes_back_and_damage_is_named(tmp_path: Path) -> None:
    state = DeviceState(Settings(4000, 10, "manual", False), "2.1")
    with DeviceFiles(tmp_path) as files:
        assert files.load()[0] == DeviceState()
        files.save_state(state)
        assert files.load()[0] == state
        (tmp_path / "state.json").write_text("{")
        with pytest.raises(BadConfig, match="damaged"):
            files.load()


@pytest.mark.parametrize("name", ["journal.jsonl", "actuations.jsonl", "lock"])
def test_nobody_else_may_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "new"
    with DeviceFiles(folder):
        assert (folder / name).stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0


def test_make_room_keeps_what_still_counts(make_world: Callable[..., Any]) -> None:
    from doorlock.device.state import Memory

    memory = Memory([record(1, minutes=5), record(2), record(3, Stage.STARTED)], capacity=3)
    assert memory.make_room(NOW)
    assert [r.command_id for r in memory] == ["c1", "c3"]
    memory.put(record(4, minutes=5))
    assert not memory.make_room(NOW)

"""The device's files: what it has done, what it moved, how it is set.

`journal.jsonl`     a line a change of a command's record, on the disk before the bolt moves
`actuations.jsonl`  a line a movement of the bolt: the witness that tests of the whole system read
`state.json`        settings and firmware version
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from doorlock.device.state import DeviceState, Memory, Record
from doorlock.errors import BadConfig, Conflict
from doorlock.protocol import LockValue
from doorlock.times import iso, utc_now

_SLACK = 4


class DeviceFiles:
    """One device's directory, held by one process at a time.

    `clock` is the one by which the device judges whether a command is too late.
    Raises Conflict when another process has it, BadConfig when what it holds is damaged.
    """

    def __init__(
        self, folder: Path, *, clock: Callable[[], datetime] = utc_now, capacity: int = 1000
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._clock = clock
        self._capacity = capacity
        self._lines = 0
        self._known: dict[str, Record] = {}
        self._lock = _take(folder / "lock")
        self._journal = os.open(self._path("journal"), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._actuations = os.open(
            self._path("actuations"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for handle in (self._journal, self._actuations, self._lock):
            os.close(handle)

    def load(self) -> tuple[DeviceState, Memory]:
        """What stands on the disk, as after a power cut."""
        self._known = _latest(self._path("journal").read_bytes())
        self._rewrite()
        return self._load_state(), Memory(self._known.values(), capacity=self._capacity)

    def remember(self, record: Record) -> None:
        """Raises OSError when the record could not be put on the disk; then nothing may move."""
        self._append(record)
        os.fdatasync(self._journal)

    def delivered(self, command_id: str) -> None:
        """The daemon has the outcome. Not synced: a lost line costs one repeated ack."""
        record = self._known.get(command_id)
        if record is not None and not record.delivered:
            with suppress(OSError):
                self._append(replace(record, delivered=True))

    def actuated(self, command_id: str | None, target: LockValue) -> None:
        """Called right before the bolt moves. Uses the true time, whatever the device believes."""
        action = "unlock" if target is LockValue.UNLOCKED else "lock"
        line = {"time": iso(utc_now()), "commandId": command_id, "action": action}
        os.write(self._actuations, _line(line))

    def actuations(self) -> list[dict[str, Any]]:
        lines = self._path("actuations").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def save_state(self, state: DeviceState) -> None:
        self._replace(self._folder / "state.json", [json.dumps(state.as_json()).encode()])

    def _append(self, record: Record) -> None:
        self._known[record.command_id] = record
        if self._lines >= self._capacity * _SLACK:
            self._rewrite()
        else:
            self._write(_line(record.as_json()))

    def _write(self, line: bytes) -> None:
        """A line torn by a full disk is followed by a rewrite, never by another line."""
        lines, self._lines = self._lines, self._capacity * _SLACK
        if os.write(self._journal, line) != len(line):
            raise OSError(errno.ENOSPC, "the journal's disk is full")
        self._lines = lines + 1

    def _rewrite(self) -> None:
        """Leave one line a command, and drop a line that a power cut tore."""
        now = self._clock()
        for old in [r for r in self._known.values() if r.may_be_forgotten(now)]:
            if len(self._known) <= self._capacity:
                break
            del self._known[old.command_id]
        path = self._path("journal")
        self._replace(path, [_line(record.as_json()) for record in self._known.values()])
        os.close(self._journal)
        self._journal = os.open(path, os.O_RDWR | os.O_APPEND)
        self._lines = len(self._known)

    def _replace(self, path: Path, lines: Iterable[bytes]) -> None:
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync_folder(self._folder)

    def _load_state(self) -> DeviceState:
        path = self._folder / "state.json"
        try:
            return DeviceState.from_json(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return DeviceState()
        except (ValueError, KeyError, TypeError) as error:
            raise BadConfig(f"{path} is damaged", hint="Remove it to start on defaults.") from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"


def _take(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Conflict(
            f"another process runs the device in {path.parent}",
            hint="Stop it, or choose another --state-dir.",
        ) from error
    return handle


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _latest(text: bytes) -> dict[str, Record]:
    """The last record of each command. A torn last line was never acted upon, so it may go."""
    *lines, torn = text.split(b"\n")
    del torn
    records: dict[str, Record] = {}
    for line in lines:
        try:
            record = Record.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise BadConfig(
                "the device's journal is damaged",
                hint="Without it a command could act twice. Remove it only with no command open.",
            ) from error
        records[record.command_id] = record
    return records


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Pictures as files, each named by the SHA-256 of what is in it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from doorlock.daemon.stores.faults import unavailable

T = TypeVar("T")

_NAME = re.compile(r"[0-9a-f]{64}")


def folder_of(url: str) -> Path:
    """The folder that `file:///path` names."""
    return Path(unquote(urlsplit(url).path))


class FileSnapshots:
    """`ports.SnapshotStore` in `folder`, which is made when there is something to put there.

    A file's time of modification is when it was last put.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # one at a time, so that nothing is removed that was put again at that moment; it is held
        # by the thread, which goes on when whoever waits for it is cancelled
        self._turn = threading.Lock()

    async def put(self, content: bytes) -> str:
        return await _in_thread(lambda: self._put(content))

    async def get(self, image: str) -> bytes | None:
        if not _NAME.fullmatch(image):
            return None
        return await _in_thread(lambda: _read(self._path(image)))

    async def put_before(self, moment: datetime) -> Sequence[str]:
        return await _in_thread(lambda: self._older(moment.timestamp()))

    async def remove(self, image: str, before: datetime) -> bool:
        return await _in_thread(lambda: self._remove(image, before.timestamp()))

    def _path(self, image: str) -> Path:
        return self._folder / image[:2] / image

    def _put(self, content: bytes) -> str:
        image = hashlib.sha256(content).hexdigest()
        path = self._path(image)
        with self._turn:
            if path.exists() and path.stat().st_size == len(content):
                os.utime(path)
                return image
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            _write(path, content)
            _sync(path.parent)
            _sync(self._folder)
        return image

    def _older(self, moment: float) -> list[str]:
        return [
            path.name
            for path in self._folder.glob("??/*")
            if _NAME.fullmatch(path.name) and path.stat().st_mtime < moment
        ]

    def _remove(self, image: str, before: float) -> bool:
        path = self._path(image)
        with self._turn:
            if not path.exists() or path.stat().st_mtime >= before:
                return False
            path.unlink()
        return True


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise unavailable("the pictures' folder could not be used", error) from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk when this returns."""
    half = path.with_suffix(".new")
    handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    half.rename(path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""One daemon to a file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from doorlock.errors import Unavailable


class FileLock:
    """An exclusive advisory lock on `path`, which the kernel lets go when the process ends.

    The file stays: taking it away would let a second daemon lock a new one of the same name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Raises Unavailable when somebody holds it, or it cannot be made."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"the store's lock {self._path} cannot be made: {error.strerror}",
                hint="The store needs a folder that exists and that the daemon may write to.",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise Unavailable(
                f"another daemon has the store at {self._path.with_suffix('')} open",
                hint="Stop it first, or give this one a store.url of its own.",
            ) from error
        self._file = file

    def release(self) -> None:
        """Harmless when it is not held."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

"""Who this person has signed in as: a token for each daemon, in a file for them alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doorlock.errors import BadInput


class Logins:
    """The sign-ins of `file`, by the socket of their daemon.

    All raise BadInput where the file is there and cannot be used: to go on without it would be to
    act as somebody else.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def tokens(self) -> dict[Path, str]:
        return {Path(socket): str(kept["token"]) for socket, kept in self._read().items()}

    def username(self, socket: Path) -> str | None:
        kept = self._read().get(str(socket))
        return str(kept.get("username")) if kept else None

    def keep(self, socket: Path, username: str, token: str) -> None:
        self._write({**self._read(), str(socket): {"username": username, "token": token}})

    def forget(self, socket: Path) -> None:
        left = self._read()
        if left.pop(str(socket), None) is not None:
            self._write(left)

    def _read(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            kept = None
        if not isinstance(kept, dict) or not all(_usable(each) for each in kept.values()):
            raise BadInput(
                f"your sign-ins in {self._file} cannot be read", hint=f"remove it: rm {self._file}"
            )
        return kept

    def _write(self, kept: Mapping[str, Any]) -> None:
        new = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "w") as file:
                json.dump(kept, file)
            new.replace(self._file)
        except OSError as error:
            raise BadInput(f"cannot write {self._file}: {error.strerror}") from None


def _usable(kept: object) -> bool:
    return isinstance(kept, dict) and isinstance(kept.get("token"), str)

"""The key that signs tokens, and those before it, which verify until their tokens have run out."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from doorlock.errors import BadConfig, Unavailable
from doorlock.times import iso, parse_time

_BYTES = 64
_FEWEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Retired:
    """A key that signs no more, and verifies until `until`."""

    key: bytes = field(repr=False)
    until: datetime


class Keys:
    """The keys; with a `file` they outlive the process. The retired ones lie in `FILE.old`."""

    def __init__(
        self, current: bytes, retired: Sequence[Retired] = (), file: Path | None = None
    ) -> None:
        self._current, self._retired, self._file = current, tuple(retired), file

    @classmethod
    def load(cls, file: Path) -> Keys:
        """From `file`, made at first use: 64 random bytes that only its owner may read.

        Raises BadConfig.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                _write(file, secrets.token_bytes(_BYTES))
            current, retired = file.read_bytes(), _retired_in(_old(file))
        except OSError as error:
            raise BadConfig(
                f"cannot use the key file {error.filename or file}: {error.strerror}",
                hint="See auth.jwt_secret_file.",
            ) from error
        if len(current) < _FEWEST_BYTES:
            raise BadConfig(
                f"the key in {file} is too short",
                hint=f"It takes {_FEWEST_BYTES} bytes or more; {_BYTES} are better.",
            )
        return cls(current, retired, file)

    @property
    def current(self) -> bytes:
        return self._current

    def verifying(self, now: datetime) -> Sequence[bytes]:
        """Every key that a token of `now` may be signed with, the likeliest first."""
        return [self._current, *(old.key for old in self._retired if now < old.until)]

    def rotate(self, now: datetime, life: timedelta) -> datetime:
        """Sign with a new key; the old one verifies until the moment returned, `life` from now.

        Blocking. Raises Unavailable, and nothing has changed, where the files cannot be written.
        """
        until = now + life
        before = Retired(self._current, until)
        retired = [before, *(old for old in self._retired if now < old.until)]
        new = secrets.token_bytes(_BYTES)
        if self._file is not None:
            try:
                # the old key first: one that is known twice does no harm, one that is lost would
                _replace(_old(self._file), _as_json(retired))
                _replace(self._file, new)
            except OSError as error:
                raise Unavailable(
                    f"the key files at {self._file} cannot be written: {error.strerror}",
                    hint="See who may write to that folder, and whether the disk is full.",
                ) from error
        self._retired = tuple(retired)  # first: whoever verifies meanwhile finds the old key
        self._current = new
        return until


def _old(file: Path) -> Path:
    return file.with_name(file.name + ".old")


def _as_json(retired: Sequence[Retired]) -> bytes:
    listed = [{"key": old.key.hex(), "until": iso(old.until)} for old in retired]
    return json.dumps(listed, indent=1).encode()


def _retired_in(file: Path) -> Sequence[Retired]:
    try:
        listed = json.loads(file.read_bytes())
        return [Retired(bytes.fromhex(old["key"]), parse_time(old["until"])) for old in listed]
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError, KeyError):
        # not from the error: it would show what the file holds
        raise BadConfig(
            f"the old keys in {file} cannot be read",
            hint="Remove that file; who signed in before the last rotation signs in again.",
        ) from None


def _replace(file: Path, content: bytes) -> None:
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    _write(new, content)
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(file: Path, content: bytes) -> None:
    """A new file for its owner alone, durable. Raises FileExistsError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as made:
        made.write(content)
        made.flush()
        os.fsync(descriptor)

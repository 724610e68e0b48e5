"""Passwords, kept as argon2id hashes. One takes long and much memory: few at once, in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from doorlock.errors import RateLimited

T = TypeVar("T")

AT_ONCE = 2
_MOST_WAITING = 32
_RETRY_AFTER = 5


class Hasher(Protocol):
    """What is used of argon2's."""

    def hash(self, password: str) -> str: ...
    def verify(self, hash: str, password: str) -> bool: ...


class Passwords:
    """Hashes and checks passwords off the event loop. All raise RateLimited when too many wait."""

    def __init__(self, hasher: Hasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(AT_ONCE, "passwords")
        self._waiting = 0

    async def hashed(self, password: str) -> str:
        return await self._in_thread(lambda: self._hasher.hash(_same(password)))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password of that hash; without one it costs the same and is not."""
        return await self._in_thread(lambda: self._check(_same(password), password_hash))

    def _check(self, password: str, password_hash: str | None) -> bool:
        if password_hash is None:
            self._hasher.hash(password)
            return False
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MOST_WAITING:
            raise RateLimited(
                "too many are signing in at the moment",
                hint="Try again in a few seconds.",
                details={"retryAfter": _RETRY_AFTER},
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _same(password: str) -> str:
    """One spelling for what looks the same: keyboards compose accents differently."""
    return normalize("NFC", password)

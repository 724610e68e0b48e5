"""A hasher that is quick and counts: how much work a password made, and how much at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher


class CountingHasher:
    """Real argon2id with the least of everything. While `gate` is not set, hashes wait for it."""

    def __init__(self) -> None:
        self._real = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self._lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()
        self.hashes = 0
        self.running = 0
        self.most_running = 0

    def hash(self, password: str) -> str:
        with self._counted():
            return self._real.hash(password)

    def verify(self, hash: str, password: str) -> bool:
        with self._counted():
            return self._real.verify(hash, password)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.hashes += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            assert self.gate.wait(20), "nobody opened the gate"
            yield
        finally:
            with self._lock:
                self.running -= 1

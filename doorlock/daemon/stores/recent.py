"""Rows that were read a moment ago, so that one command does not read its device five times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """The last `most` rows that were read, by what they were asked by. What is not there is not
    kept.

    It answers as the file would because nobody else writes the file, and because whoever writes a
    row forgets it here after the commit, before anybody hears of that.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[Hashable, T] = {}

    def get(self, by: Hashable, read: Callable[[], T | None]) -> T | None:
        found = self._rows.get(by)
        if found is None and (found := read()) is not None:
            if len(self._rows) >= self._most:
                del self._rows[next(iter(self._rows))]
            self._rows[by] = found
        return found

    def forget(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self._rows.pop(key, None)

    def forget_all(self) -> None:
        self._rows.clear()

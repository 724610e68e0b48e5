"""The stores that the contract is held against: one more is one more line here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from doorlock.daemon.ports import Store
from doorlock.daemon.stores.sqlite import SqliteStore

StoreMaker = Callable[[], Store]

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SqliteStore(folder / "doorlock.db"),
}


@pytest.fixture(params=sorted(STORES))
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreMaker:
    """Makes a store that is not open yet; every one it makes in a test keeps the same things."""
    return lambda: STORES[request.param](tmp_path)


@pytest.fixture
async def store(make_store: StoreMaker) -> AsyncIterator[Store]:
    made = make_store()
    await made.open()
    yield made
    await made.close()

"""One house a test, with an owner, a door, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Caller
from tests.support.clock import FakeClock
from tests.support.house import House, house


@pytest.fixture(autouse=True)
def plain_log() -> None:
    """Without a configuration, tracebacks are drawn with every variable in them: seconds each."""
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ]
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def it(tmp_path: Path, clock: FakeClock) -> AsyncIterator[House]:
    async with house(tmp_path, clock) as running:
        yield running


@pytest.fixture
async def owner(it: House) -> Caller:
    return await it.person("olga")


@pytest.fixture
async def door(it: House, owner: Caller) -> Device:
    return await it.door(owner)

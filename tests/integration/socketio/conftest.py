"""A daemon for clients that others wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.daemon import Daemon, Enrolled
from tests.support.foreign import Foreign, install


@pytest.fixture(scope="session")
def house() -> Iterator[Daemon]:
    """Started as a person would; it ends in order."""
    daemon = Daemon(mqtt=False)
    try:
        yield daemon.start()
        daemon.check_log()
        assert daemon.stop() == 0
    finally:
        daemon.close()


@pytest.fixture(scope="session")
def installed() -> None:
    install()


@pytest.fixture
async def foreign(installed: None) -> AsyncIterator[Foreign]:
    async with Foreign() as clients:
        yield clients


@pytest.fixture
async def door(house: Daemon) -> Enrolled:
    return await house.register()


@pytest.fixture
async def camera(house: Daemon) -> Enrolled:
    return await house.register(deviceType="esp32-cam")

"""Real daemons for tests of the whole system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.daemon import HAS_MOSQUITTO, Daemon
from tests.support.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


@pytest.fixture(scope="session")
def house(nursery: Nursery) -> Iterator[Daemon]:
    """One daemon for every test that is content with its settings."""
    daemon = Daemon(nursery, mqtt=HAS_MOSQUITTO, listen_port=0, mqtt_port=0)
    try:
        yield daemon.start()
        daemon.check_log()
    finally:
        daemon.close()


@pytest.fixture
def new_daemon(nursery: Nursery) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons of a test's own; what they leave in their log is looked at."""
    made: list[Daemon] = []

    def make(**options: Any) -> Daemon:
        made.append(Daemon(nursery, **options))
        return made[-1]

    try:
        yield make
        for daemon in made:
            daemon.check_log()
    finally:
        for daemon in made:
            daemon.close()

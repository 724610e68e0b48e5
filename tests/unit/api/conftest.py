"""The routes over the house's services, called in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from doorlock.daemon.api import app as http
from doorlock.daemon.config import Config, shown
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Caller
from tests.support.api import services_of
from tests.support.asgi import Client
from tests.support.clock import FakeClock
from tests.support.house import OPERATOR_UID, House, house

OWNER_UID, GUEST_UID = 4_000_002, 4_000_003


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
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, FakeClock()) as running:
        yield running


@pytest.fixture
def routes(it: House) -> Any:
    return http.build(
        replace(
            services_of(it),
            settings=lambda: shown(Config()),
            public_url=lambda: "http://doorlock.test",
            listen_url=lambda: "http://doorlock.test",
        )
    )


@pytest.fixture
def local(routes: Any) -> Any:
    """The application as the Unix socket serves it."""
    return http.for_socket(routes)


@pytest.fixture
def tcp(routes: Any) -> Any:
    """The application as TCP serves it."""
    return http.for_tcp(routes, ["https://admin.test"])


@pytest.fixture
def operator(local: Any) -> Client:
    return Client(local, OPERATOR_UID)


@pytest.fixture
async def owner(it: House) -> Caller:
    return await it.person("olga", uid=OWNER_UID)


@pytest.fixture
async def olga(local: Any, owner: Caller) -> Client:
    return Client(local, OWNER_UID)


@pytest.fixture
async def gina(it: House, local: Any) -> Client:
    await it.person("gina", uid=GUEST_UID)
    return Client(local, GUEST_UID)


@pytest.fixture
async def door(it: House, owner: Caller) -> Device:
    return await it.door(owner)

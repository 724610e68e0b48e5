"""What the routes work with, built by `daemon.app` and hung on the FastAPI application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from doorlock.daemon.ports import Clock
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.health import Health
from doorlock.daemon.services.ingest import Ingest
from doorlock.daemon.services.lifecycle import Lifecycle
from doorlock.daemon.services.queries import Queries
from doorlock.daemon.services.registry import Registry
from doorlock.daemon.services.sharing import Sharing
from doorlock.daemon.services.submit import Submit


@dataclass(frozen=True, slots=True)
class Services:
    """Every use case that a route may call. The callables tell what is known only while running."""

    clock: Clock
    accounts: Accounts
    guard: Guard
    registry: Registry
    sharing: Sharing
    submit: Submit
    lifecycle: Lifecycle
    queries: Queries
    ingest: Ingest
    health: Health
    settings: Callable[[], dict[str, Any]]
    public_url: Callable[[], str]
    listen_url: Callable[[], str | None]
    mqtt_url: Callable[[], str | None]


def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found

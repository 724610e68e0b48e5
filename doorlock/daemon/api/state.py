"""What the routes work with, built by `daemon.app` and hung on the FastAPI application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from doorlock.daemon.ports import Clock
from doorlock.daemon.services.access_tokens import AccessTokens
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.clearing import Clearing
from doorlock.daemon.services.explain import Explain
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.health import Health
from doorlock.daemon.services.ingest import Ingest
from doorlock.daemon.services.lifecycle import Lifecycle
from doorlock.daemon.services.live import LiveView
from doorlock.daemon.services.metrics import Metrics
from doorlock.daemon.services.overview import Overview
from doorlock.daemon.services.pictures import Pictures
from doorlock.daemon.services.queries import Queries
from doorlock.daemon.services.registry import Registry
from doorlock.daemon.services.sessions import Sessions
from doorlock.daemon.services.sharing import Sharing
from doorlock.daemon.services.signin import SignIn
from doorlock.daemon.services.submit import Submit
from doorlock.daemon.services.transfers import Transfers
from doorlock.daemon.services.visitor_log import VisitorLog
from doorlock.daemon.services.visitors import Visitors


@dataclass(frozen=True, slots=True)
class Services:
    """Every use case that a route may call. The callables tell what is known only while running."""

    clock: Clock
    accounts: Accounts
    sessions: Sessions
    signin: SignIn
    access_tokens: AccessTokens
    guard: Guard
    registry: Registry
    sharing: Sharing
    transfers: Transfers
    explain: Explain
    submit: Submit
    lifecycle: Lifecycle
    queries: Queries
    ingest: Ingest
    visitors: Visitors
    visitor_log: VisitorLog
    pictures: Pictures
    live_view: LiveView
    health: Health
    overview: Overview
    clearing: Clearing
    metrics: Metrics
    settings: Callable[[], dict[str, Any]]
    public_url: Callable[[], str]
    listen_url: Callable[[], str | None]
    mqtt_url: Callable[[], str | None]


def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found

"""The HTTP application: every route, one envelope, bounded bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from doorlock import __version__
from doorlock.daemon.api import (
    auth,
    cameras,
    commands,
    dashboard,
    devices,
    errors,
    events,
    logs,
    metrics,
    openapi,
    people,
    shares,
    status,
    visitors,
)
from doorlock.daemon.api.errors import known_failure
from doorlock.daemon.api.respond import failure
from doorlock.daemon.api.state import Services
from doorlock.errors import TooLarge
from doorlock.protocol import AS_USER_HEADER, DEVICE_ID_HEADER, DEVICE_TOKEN_HEADER

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 1024 * 1024
ROOMIER = {visitors.UPLOAD: visitors.MAX_UPLOAD}
"""Paths whose bodies may be larger."""


def build(services: Services) -> FastAPI:
    """The routes of the local API; the same ones serve the Unix socket and TCP."""
    app = FastAPI(
        title="doorlock",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    errors.install(app)
    for module in (  # what is asked most comes first
        commands,
        status,
        auth,
        people,
        shares,
        events,
        devices,
        visitors,
        cameras,
        logs,
        dashboard,
        metrics,
    ):
        app.include_router(module.router)
    openapi.install(app)
    return app


def for_tcp(app: Asgi, cors_origins: Sequence[str]) -> Asgi:
    """`app` for the network: bounded bodies, and CORS for the configured origins."""
    bounded = BoundedBody(app, MAX_BODY)
    if not cors_origins:
        return bounded
    return CORSMiddleware(
        bounded,
        allow_origins=cors_origins,
        allow_methods=["*"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            AS_USER_HEADER,
            DEVICE_ID_HEADER,
            DEVICE_TOKEN_HEADER,
        ],
    )


def for_socket(app: Asgi) -> Asgi:
    """`app` for the Unix socket: no browser has any business there."""
    return BoundedBody(NoBrowsers(app), MAX_BODY)


class NoBrowsers:
    """Refuses what carries an `Origin`: a web page that was led to the local socket."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _header(scope, b"origin") is not None:
            refused = failure(403, "not_allowed", "web pages may not use the local socket")
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)


class BoundedBody:
    """Refuses bodies beyond `limit` bytes, or what `ROOMIER` has for the path, told beforehand or
    not."""

    def __init__(self, app: Asgi, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared, limit = _header(scope, b"content-length"), ROOMIER.get(scope["path"], self._limit)
        if declared is not None and declared.isdigit() and int(declared) > limit:
            await known_failure(_too_large(limit))(scope, receive, send)
            return
        await self._app(scope, self._counted(receive, limit), send)

    def _counted(self, receive: Receive, limit: int) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
            return message

        return counted


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)

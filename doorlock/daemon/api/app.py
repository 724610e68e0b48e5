"""The HTTP application: every route, one envelope, bounded bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.middleware.cors import CORSMiddleware

from doorlock import __version__
from doorlock.daemon.api import commands, devices, errors, events, people, status
from doorlock.daemon.api.respond import failure
from doorlock.daemon.api.state import Services
from doorlock.protocol import AS_USER_HEADER, DEVICE_ID_HEADER, DEVICE_TOKEN_HEADER

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 1024 * 1024
_TOO_LARGE = f"the body is larger than {MAX_BODY} bytes"


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
    for module in (commands, status, people, events, devices):  # what is asked most comes first
        app.include_router(module.router)
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
    """Refuses bodies beyond `limit` bytes, told beforehand or not."""

    def __init__(self, app: Asgi, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _header(scope, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._limit:
            await _too_large()(scope, receive, send)
            return
        try:
            await self._app(scope, self._counted(receive), send)
        except _TooLong:
            await _too_large()(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise _TooLong
            return message

        return counted


class _TooLong(HTTPException):
    """FastAPI takes any other exception from a body for a body that cannot be parsed."""

    def __init__(self) -> None:
        super().__init__(413, _TOO_LARGE)


def _too_large() -> Any:
    return failure(413, "too_large", _TOO_LARGE)


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)

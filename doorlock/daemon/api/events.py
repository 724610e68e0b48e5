"""Routes of the event log: pages of it, its live end, and whether it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.respond import envelope, pages
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import EventFilter
from doorlock.daemon.services.feed import Gap
from doorlock.daemon.services.guard import require_operator
from doorlock.daemon.services.queries import Wanted
from doorlock.errors import BadInput
from doorlock.times import parse_time

router = APIRouter(prefix="/api", tags=["events"])

_PING_EVERY = 15.0
_LAST_POSITION = 2**63 - 1

Position = Annotated[int | None, Query(ge=0, le=_LAST_POSITION)]


def wanted(
    device: str | None = None,
    user: str | None = None,
    command: str | None = None,
    type: Annotated[list[str] | None, Query()] = None,
    since: str | None = None,
    until: str | None = None,
    after: Position = None,
    before: Position = None,
) -> Wanted:
    """The filter that a query string says. Raises BadInput."""
    base = EventFilter(
        command=command,
        types=types_named(type or []),
        since=moment("since", since),
        until=moment("until", until),
        after=after,
        before=before,
    )
    return Wanted(device, user, base)


TheWanted = Annotated[Wanted, Depends(wanted)]


@router.get("/logs")
async def logs(
    request: Request,
    caller: TheCaller,
    wanted: TheWanted,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    order: str = "desc",
    cleared: bool = False,
) -> Response:
    return await log_page(request, caller, wanted, page, limit, order, cleared)


async def log_page(
    request: Request,
    caller: Caller,
    wanted: Wanted,
    page: int,
    limit: int,
    order: str = "desc",
    cleared: bool = False,
) -> Response:
    """A page of the log; with what the caller has cleared, or without."""
    queries = services(request).queries
    position = queries.position
    scope = queries.without_cleared(caller, await queries.scope(caller, wanted), cleared)
    found = await queries.events(scope, limit, order != "asc", (page - 1) * limit)
    total = await queries.count(scope)
    return envelope(found, position=position, pagination=pages(page, limit, total))


@router.get("/events/verify")
async def verify(request: Request, caller: TheCaller) -> Response:
    require_operator(caller, "verify the event log")
    return envelope(await services(request).queries.verified())


@router.get(
    "/events/export",
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
async def export(request: Request, caller: TheCaller, wanted: TheWanted) -> Response:
    queries = services(request).queries
    scope = await queries.scope(caller, wanted)

    async def lines() -> AsyncIterator[bytes]:
        async for view in queries.export(scope):
            yield orjson.dumps(view) + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.get(
    "/events/stream",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def stream(request: Request, caller: TheCaller, wanted: TheWanted) -> Response:
    queries = services(request).queries
    await queries.scope(caller, wanted)  # refuses before the stream has begun
    return StreamingResponse(
        _frames(request, caller, wanted, _start(request, wanted, queries.position)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _start(request: Request, wanted: Wanted, now: int) -> int:
    last = request.headers.get("last-event-id")
    if last is not None:
        if not last.isdecimal() or len(last) > 19 or int(last) > _LAST_POSITION:
            raise BadInput("Last-Event-ID must be a position in the event log")
        return int(last)
    return now if wanted.base.after is None else wanted.base.after


async def _frames(
    request: Request, caller: Caller, wanted: Wanted, after: int
) -> AsyncIterator[bytes]:
    yield _frame("hello", {"position": after})
    sessions = services(request).sessions
    source = services(request).queries.follow(caller, wanted, after)
    async for item in with_pings(source, _PING_EVERY):
        if not await sessions.is_live(caller):
            return  # what they showed when they came has ended since
        match item:
            case None:
                yield b": ping\n\n"
            case Gap():
                yield _frame("gap", {"requested": item.requested, "firstAvailable": item.first})
            case (seq, view):
                yield _frame(view["eventType"], view, seq)


def _frame(event: str, data: Any, seq: int | None = None) -> bytes:
    head = b"" if seq is None else b"id: %d\n" % seq
    return head + b"event: " + event.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


async def with_pings(source: AsyncIterator[Any], every: float) -> AsyncIterator[Any]:
    """The items of `source`, and None whenever none came for `every` seconds."""
    coming: asyncio.Future[Any] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(source, _END))
            done, _ = await asyncio.wait({coming}, timeout=every)
            if not done:
                yield None
                continue
            item, coming = coming.result(), None
            if item is _END:
                return
            yield item
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await source.aclose()  # type: ignore[attr-defined]


_END = object()


def types_named(names: list[str]) -> frozenset[EventType]:
    """Each may be several, divided by commas. Raises BadInput."""
    found = [name.strip() for part in names for name in part.split(",") if name.strip()]
    try:
        return frozenset(EventType(name) for name in found)
    except ValueError as error:
        raise BadInput(
            "there is no such event type", hint=f"Known are: {', '.join(EventType)}."
        ) from error


def moment(name: str, text: str | None) -> datetime | None:
    """A time in a query string. Raises BadInput."""
    if text is None:
        return None
    try:
        return parse_time(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise BadInput(f"{name} is not a time", hint="Write ISO 8601, in UTC.") from error

"""Routes of the log as web pages show it. `/api/logs` itself is with the events.

What somebody has cleared for themselves is left out of the pages; `cleared=true` shows it again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.events import TheWanted, log_page, types_named
from doorlock.daemon.api.respond import envelope, pages
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.activity import ACTIVITY
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import EventFilter
from doorlock.daemon.services.queries import Wanted
from doorlock.daemon.services.visitor_log import Wanted as WantedVisitors
from doorlock.daemon.services.visitor_log import status_named

router = APIRouter(prefix="/api/logs", tags=["events"])

Page = Annotated[int, Query(ge=1, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/activity")
async def activity(
    request: Request,
    caller: TheCaller,
    wanted: TheWanted,
    page: Page = 1,
    limit: Limit = 50,
    cleared: bool = False,
) -> Response:
    return await activity_page(request, caller, wanted, page, limit, cleared)


async def activity_page(
    request: Request,
    caller: Caller,
    wanted: Wanted | None,
    page: int,
    limit: int,
    cleared: bool = False,
) -> Response:
    """A page of what happened, newest first, in words."""
    queries = services(request).queries
    wanted = wanted or Wanted(base=EventFilter())
    types = wanted.base.types & ACTIVITY if wanted.base.types else ACTIVITY
    position = queries.position
    scope = queries.without_cleared(caller, await queries.scope(caller, wanted), cleared)
    if not types:  # only what no such list shows was asked for
        return envelope([], position=position, pagination=pages(page, limit, 0))
    scope = replace(scope, types=types)
    rows = await queries.activity(scope, limit, (page - 1) * limit)
    total = await queries.count(scope)
    return envelope(rows, position=position, pagination=pages(page, limit, total))


@router.get("/visitors")
async def visitors(
    request: Request,
    caller: TheCaller,
    status: str | None = None,
    device: str | None = None,
    page: Page = 1,
    limit: Limit = 20,
) -> Response:
    wanted = WantedVisitors(status_named(status), device)
    log = services(request).visitor_log
    found, total = await log.page(caller, wanted, limit, (page - 1) * limit)
    return envelope(found, pagination=pages(page, limit, total))


@router.get("/device/{ref}")
async def of_device(
    request: Request,
    caller: TheCaller,
    wanted: TheWanted,
    ref: str,
    page: Page = 1,
    limit: Limit = 50,
    cleared: bool = False,
) -> Response:
    wanted = replace(wanted, device=ref)
    return await log_page(request, caller, wanted, page, limit, cleared=cleared)


@router.get("/type/{kind}")
async def of_type(
    request: Request,
    caller: TheCaller,
    wanted: TheWanted,
    kind: str,
    page: Page = 1,
    limit: Limit = 50,
    cleared: bool = False,
) -> Response:
    wanted = replace(wanted, base=replace(wanted.base, types=types_named([kind])))
    return await log_page(request, caller, wanted, page, limit, cleared=cleared)


@router.delete("")
async def clear(request: Request, caller: TheCaller) -> Response:
    position = await services(request).clearing.clear(caller)
    return envelope({"clearedTo": position}, "the log is cleared for you; nothing was deleted")

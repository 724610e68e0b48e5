"""Routes of a dashboard's first page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.events import moment
from doorlock.daemon.api.logs import activity_page
from doorlock.daemon.api.respond import envelope
from doorlock.daemon.api.state import services

router = APIRouter(prefix="/api/dashboard", tags=["dashboard"])


@router.get("/stats")
async def stats(request: Request, caller: TheCaller) -> Response:
    return envelope(await services(request).overview.stats(caller))


@router.get("/activity")
async def activity(
    request: Request,
    caller: TheCaller,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> Response:
    return await activity_page(request, caller, None, page, limit)


@router.get("/devices-summary")
async def devices_summary(request: Request, caller: TheCaller) -> Response:
    return envelope(await services(request).overview.devices(caller))


@router.get("/alerts")
async def alerts(
    request: Request,
    caller: TheCaller,
    since: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    found = await services(request).overview.alerts(caller, moment("since", since), limit)
    return envelope(found)

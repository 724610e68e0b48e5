"""Routes of commands: sending one, reading one, cancelling one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from doorlock import wire
from doorlock.daemon.api.body import body_as, described, header_of
from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.callers import caller as who_calls
from doorlock.daemon.api.respond import envelope, pages
from doorlock.daemon.api.state import services
from doorlock.daemon.services.submit import Asked
from doorlock.protocol import IDEMPOTENCY_HEADER

router = APIRouter(tags=["commands"])

_LONGEST_WAIT = timedelta(minutes=15)
_LONGEST_KEY = 200


@router.post(
    "/api/device/{ref}/command",
    status_code=202,
    responses={200: {"description": "a dry run, or what was waited for"}},
    openapi_extra=described(wire.SendCommand, IDEMPOTENCY_HEADER, _LONGEST_KEY),
)
async def send(request: Request, ref: str) -> Response:
    caller = await who_calls(request)
    body = await body_as(request, wire.SendCommand)
    key = header_of(request, IDEMPOTENCY_HEADER, _LONGEST_KEY)
    timeout = None if body.timeout is None else timedelta(seconds=body.timeout)
    asked = Asked(ref, body.command, body.payload, key, timeout)
    if body.dry_run:
        return await _dry_run(request, caller, asked)
    submitted = await services(request).submit.submit(caller, asked)
    command = submitted.command
    if body.wait:
        left = command.due_at - services(request).clock.now() + timedelta(seconds=1)
        wanted = left if body.wait is True else timedelta(seconds=body.wait)
        within = max(timedelta(0), min(wanted, _LONGEST_WAIT))
        command = await services(request).lifecycle.finished(command.id, within) or command
    view = (await services(request).queries.command_views([command]))[0]
    view["joined"] = submitted.joined
    status = 200 if body.wait else 202
    return envelope(view, f"command {command.status}", status=status, position=submitted.position)


async def _dry_run(request: Request, caller: TheCaller, asked: Asked) -> Response:
    allowed = await services(request).submit.check(caller, asked)
    data = {
        "allowed": True,
        "deviceId": allowed.device.id,
        "device": allowed.device.name,
        "command": allowed.command.value,
        "via": allowed.via,
    }
    return envelope(data, "nothing was done")


@router.get("/api/command/history")
async def history(
    request: Request,
    caller: TheCaller,
    device: str | None = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> Response:
    found, total = await services(request).queries.history(
        caller, device, limit, (page - 1) * limit
    )
    return envelope({"history": found, "pagination": pages(page, limit, total)})


@router.get("/api/command/{command_id}")
async def show(request: Request, caller: TheCaller, command_id: str) -> Response:
    command = await services(request).lifecycle.recorded(command_id)
    return envelope(await services(request).queries.command(caller, command))


@router.post("/api/command/{command_id}/cancel")
async def cancel(request: Request, caller: TheCaller, command_id: str) -> Response:
    found = services(request)
    await found.queries.command(caller, await found.lifecycle.recorded(command_id))
    command = await found.submit.cancel(caller, command_id)
    return envelope((await found.queries.command_views([command]))[0], "command cancelled")

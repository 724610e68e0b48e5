"""Routes of sharing: shares, invitations, transfers, and who may open a door."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from doorlock import wire
from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.respond import envelope
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.access import Permission, Share, Terms
from doorlock.daemon.services.invitations import Invited
from doorlock.daemon.services.sharing import Preview, changes_between
from doorlock.daemon.services.views import terms_view
from doorlock.errors import BadInput
from doorlock.times import iso, parse_time

router = APIRouter(prefix="/api", tags=["shares"])

Moment = Annotated[str | None, Query(max_length=64)]


@router.get("/shares")
async def all_shares(request: Request, caller: TheCaller) -> Response:
    found = services(request)
    return envelope(await found.queries.share_views(await found.sharing.all(caller)))


@router.get("/device/{ref}/shares")
async def shares(request: Request, caller: TheCaller, ref: str) -> Response:
    found = services(request)
    return envelope(await found.queries.share_views(await found.sharing.of_device(caller, ref)))


@router.post("/device/{ref}/share", status_code=201, responses={200: {"description": "a dry run"}})
async def share(request: Request, caller: TheCaller, ref: str, body: wire.ShareDevice) -> Response:
    sharing = services(request).sharing
    terms = Terms(Permission(body.permission), body.starts_at, body.expires_at, body.schedule)
    if body.dry_run:
        plan = await sharing.preview(caller, ref, body.user, terms, invite=body.invite)
        return envelope(await _plan(request, plan), "nothing was changed")
    made = await sharing.share(
        caller,
        ref,
        body.user,
        terms,
        invite=body.invite,
        code_expires_at=body.invite_expires_at,
    )
    if isinstance(made, Invited):
        (view,) = await services(request).queries.invitation_views([made.invitation])
        return envelope({**view, "code": made.code}, "invitation made", status=201)
    return envelope(await _share(request, made), "device shared", status=201)


@router.delete("/device/{ref}/share/{user}")
async def unshare(request: Request, caller: TheCaller, ref: str, user: str) -> Response:
    revoked = await services(request).sharing.revoke(caller, ref, user)
    return envelope(await _share(request, revoked), "share revoked")


@router.get("/device/{ref}/access")
async def access(
    request: Request, caller: TheCaller, ref: str, user: str | None = None, at: Moment = None
) -> Response:
    found = await services(request).explain.explain(caller, ref, user, _moment(at))
    return envelope(found)


# invitations


@router.get("/invitations")
async def invitations(request: Request, caller: TheCaller) -> Response:
    found = services(request)
    listed = await found.sharing.invitations.all(caller)
    return envelope(await found.queries.invitation_views(listed))


@router.post("/invitations/accept", status_code=201)
async def accept_invitation(
    request: Request, caller: TheCaller, body: wire.AcceptInvitation
) -> Response:
    accepted = await services(request).sharing.accept(caller, body.code)
    return envelope(await _share(request, accepted), "invitation accepted", status=201)


@router.delete("/invitations/{ref}")
async def revoke_invitation(request: Request, caller: TheCaller, ref: str) -> Response:
    found = services(request)
    revoked = await found.sharing.invitations.revoke(caller, ref)
    (view,) = await found.queries.invitation_views([revoked])
    return envelope(view, "invitation revoked")


# transfers


@router.get("/transfers")
async def transfers(request: Request, caller: TheCaller) -> Response:
    found = services(request).transfers
    return envelope([await found.view(device) for device in await found.pending(caller)])


@router.post("/device/{ref}/transfer", status_code=201)
async def transfer(
    request: Request, caller: TheCaller, ref: str, body: wire.TransferDevice
) -> Response:
    found = services(request).transfers
    offered = await found.offer(caller, ref, body.user)
    message = "offered; it changes hands when the other side accepts"
    return envelope(await found.view(offered), message, status=201)


@router.post("/device/{ref}/transfer/accept")
async def accept_transfer(
    request: Request, caller: TheCaller, ref: str, body: wire.AcceptTransfer | None = None
) -> Response:
    drop = body is not None and body.drop_shares
    device = await services(request).transfers.accept(caller, ref, drop_shares=drop)
    kept = await services(request).sharing.of_device(caller, device.id)
    data = {
        "id": device.id,
        "name": device.name,
        "shares": await services(request).queries.share_views(kept),
    }
    return envelope(data, "the device is yours")


@router.delete("/device/{ref}/transfer")
async def cancel_transfer(request: Request, caller: TheCaller, ref: str) -> Response:
    device = await services(request).transfers.cancel(caller, ref)
    return envelope({"id": device.id, "name": device.name}, "transfer cancelled")


async def _share(request: Request, share: Share) -> dict[str, Any]:
    return (await services(request).queries.share_views([share]))[0]


async def _plan(request: Request, plan: Preview) -> dict[str, Any]:
    """What sharing would change, without a code: none was made."""
    queries = services(request).queries
    before = terms_view(plan.before) if plan.before else None
    after = terms_view(plan.after)
    if isinstance(plan.after, Share):
        (view,) = await queries.share_views([plan.after])
    else:
        (view,) = await queries.invitation_views([plan.after])
        view = {**view, "id": None}
    return {
        "dryRun": True,
        "invitation": plan.user is None,
        "before": before,
        "after": view,
        "changes": changes_between(before, after),
        "evaluatedAt": iso(services(request).clock.now()),
    }


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise BadInput(
            "that is not a time",
            hint="Write it as 2026-12-01T18:00:00Z.",
            details={"errors": [{"field": "at", "message": str(error)[:200]}]},
        ) from None

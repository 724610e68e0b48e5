"""Routes of people: who the caller is, users, and shares."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from doorlock import wire
from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.respond import envelope
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.users import Role
from doorlock.daemon.services.guard import require_operator
from doorlock.daemon.services.views import user_view
from doorlock.errors import BadInput

router = APIRouter(prefix="/api", tags=["people"])


@router.get("/auth/me")
async def me(request: Request, caller: TheCaller) -> Response:
    view = user_view(caller.user)
    return envelope({**view, "actingFor": view["username"] if caller.operator else None}, user=view)


@router.get("/users")
async def users(request: Request, caller: TheCaller) -> Response:
    return envelope([user_view(user) for user in await services(request).accounts.users(caller)])


@router.post("/users")
async def add(request: Request, caller: TheCaller, body: wire.AddUser) -> Response:
    user = await services(request).accounts.add(
        caller, body.username, body.name, body.email, Role(body.role)
    )
    return envelope(user_view(user), "user added", status=201)


@router.get("/users/{ref}")
async def show(request: Request, caller: TheCaller, ref: str) -> Response:
    if ref not in (caller.user.id, caller.user.username):
        require_operator(caller, "see other users")
    return envelope(user_view(await services(request).accounts.find(ref)))


@router.post("/users/{ref}/link")
async def link(request: Request, caller: TheCaller, ref: str, body: wire.LinkUser) -> Response:
    user = await services(request).accounts.link(caller, ref, body.uid)
    return envelope(user_view(user), "Unix account linked")


@router.post("/users/{ref}/disable")
async def disable(request: Request, caller: TheCaller, ref: str) -> Response:
    user = await services(request).accounts.set_active(caller, ref, False)
    return envelope(user_view(user), "user disabled")


@router.post("/users/{ref}/enable")
async def enable(request: Request, caller: TheCaller, ref: str) -> Response:
    user = await services(request).accounts.set_active(caller, ref, True)
    return envelope(user_view(user), "user enabled")


@router.get("/shares", tags=["shares"])
async def all_shares(request: Request, caller: TheCaller) -> Response:
    found = services(request)
    return envelope(await found.queries.share_views(await found.sharing.all(caller)))


@router.get("/device/{ref}/shares", tags=["shares"])
async def shares(request: Request, caller: TheCaller, ref: str) -> Response:
    found = services(request)
    return envelope(await found.queries.share_views(await found.sharing.of_device(caller, ref)))


@router.post("/device/{ref}/share", tags=["shares"])
async def share(request: Request, caller: TheCaller, ref: str, body: wire.ShareDevice) -> Response:
    if body.schedule:
        raise BadInput("shares with a schedule are not available yet", hint="Leave it out.")
    found = services(request)
    granted = await found.sharing.grant(
        caller, ref, body.user, Permission(body.permission), body.starts_at, body.expires_at
    )
    return envelope((await found.queries.share_views([granted]))[0], "device shared", status=201)


@router.delete("/device/{ref}/share/{user}", tags=["shares"])
async def unshare(request: Request, caller: TheCaller, ref: str, user: str) -> Response:
    found = services(request)
    revoked = await found.sharing.revoke(caller, ref, user)
    return envelope((await found.queries.share_views([revoked]))[0], "share revoked")

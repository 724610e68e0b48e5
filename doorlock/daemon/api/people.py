"""Routes of users."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from doorlock import wire
from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.respond import envelope
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.users import Role
from doorlock.daemon.services.guard import require_operator
from doorlock.daemon.services.views import user_view

router = APIRouter(prefix="/api", tags=["people"])


@router.get("/users")
async def users(request: Request, caller: TheCaller) -> Response:
    return envelope([user_view(user) for user in await services(request).accounts.users(caller)])


@router.post("/users", status_code=201)
async def add(request: Request, caller: TheCaller, body: wire.AddUser) -> Response:
    user = await services(request).accounts.add(
        caller, body.username, body.name, body.email, Role(body.role), body.password
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


@router.post("/users/{ref}/password")
async def set_password(
    request: Request, caller: TheCaller, ref: str, body: wire.SetPassword
) -> Response:
    found = services(request)
    require_operator(caller, "set the password of another user")
    user = await found.signin.set_password(
        caller, await found.accounts.find(ref), body.new_password
    )
    return envelope(user_view(user), "password set; their tokens have ended")


@router.post("/users/{ref}/disable")
async def disable(request: Request, caller: TheCaller, ref: str) -> Response:
    user = await services(request).accounts.set_active(caller, ref, False)
    return envelope(user_view(user), "user disabled")


@router.post("/users/{ref}/enable")
async def enable(request: Request, caller: TheCaller, ref: str) -> Response:
    user = await services(request).accounts.set_active(caller, ref, True)
    return envelope(user_view(user), "user enabled")

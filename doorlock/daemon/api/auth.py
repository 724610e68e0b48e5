"""Routes of signing in: up, in and out, passwords, named tokens, the signing key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response

from doorlock import wire
from doorlock.daemon.api.callers import (
    TheCaller,
    bearer_in,
    peer_in,
    request_metadata,
    where,
)
from doorlock.daemon.api.respond import envelope
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.users import AccessToken, Caller, Scope, User
from doorlock.daemon.services.signin import SignedIn, SignUp, Where, bad_field
from doorlock.daemon.services.views import user_view
from doorlock.errors import NotAuthenticated, NotFound
from doorlock.times import iso, iso_or_none

router = APIRouter(prefix="/api/auth", tags=["auth"])


@router.post("/register", status_code=201)
async def register(request: Request, body: wire.Register) -> Response:
    if body.username is None and body.email is None:
        raise bad_field("username", "a username or an email is needed")
    wanted = SignUp(body.username, body.email, body.name, body.password)
    if body.invite_code:  # first of all: a code that is no good makes no account
        await services(request).sharing.invitations.find(body.invite_code)
    signed_in = await services(request).signin.register(wanted, _from(request))
    data = _session(signed_in)
    if body.invite_code:
        data["share"] = await _accepted(request, signed_in.user, body.invite_code)
    return envelope(data, "account created", status=201)


@router.post("/login")
async def login(request: Request, body: wire.Login) -> Response:
    name = body.email or body.username
    if not name:
        raise bad_field("email", "an email or a username is needed")
    signed_in = await services(request).signin.login(name, body.password, _from(request))
    return envelope(_session(signed_in), "signed in")


@router.get("/me")
async def me(request: Request, caller: TheCaller) -> Response:
    view = user_view(caller.user)
    data = {
        **view,
        "actingFor": view["username"] if caller.operator else None,
        "scope": caller.scope,
        "tokenExpiresAt": iso_or_none(caller.token_expires_at),
    }
    return envelope(data, user=view)


@router.put("/password")
async def change_password(
    request: Request, caller: TheCaller, body: wire.ChangePassword
) -> Response:
    signed_in = await services(request).signin.change_password(
        caller, body.current_password, body.new_password
    )
    return envelope(_session(signed_in), "password changed; every other token of yours has ended")


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Polite to everybody: who comes without a token, or with a dead one, is out already."""
    if (token := bearer_in(request)) is not None:
        with suppress(NotAuthenticated):
            caller = await services(request).sessions.by_token(token)
            await services(request).sessions.end(where(request, caller))
    return envelope(None, "signed out")


@router.get("/tokens")
async def tokens(request: Request, caller: TheCaller) -> Response:
    found = await services(request).access_tokens.mine(caller)
    return envelope([_token_view(request, caller.user, token) for token in found])


@router.post("/tokens", status_code=201)
async def create_token(request: Request, caller: TheCaller, body: wire.CreateToken) -> Response:
    made = await services(request).access_tokens.create(
        caller, body.name, Scope(body.scope), body.expires_at
    )
    data = {**_token_view(request, caller.user, made.token), "token": made.secret}
    return envelope(data, "token created", status=201)


@router.delete("/tokens/{ref}")
async def revoke_token(request: Request, caller: TheCaller, ref: str) -> Response:
    token = await services(request).access_tokens.revoke(caller, ref)
    return envelope({"id": token.id, "name": token.name}, "token revoked")


@router.post("/rotate-key")
async def rotate_key(request: Request, caller: TheCaller) -> Response:
    until = await services(request).sessions.rotate_key(caller)
    return envelope({"oldKeyVerifiesUntil": iso(until)}, "signing key rotated")


def _from(request: Request) -> Where:
    metadata = request_metadata(request)
    peer = peer_in(request)
    return Where(f"uid {peer.uid}" if peer else metadata["ipAddress"] or "", metadata)


async def _accepted(request: Request, user: User, code: str) -> dict[str, Any] | None:
    """The share that a new user came for; None where somebody else took it in that moment."""
    found = services(request)
    with suppress(NotFound):
        share = await found.sharing.accept(where(request, Caller(user)), code)
        return (await found.queries.share_views([share]))[0]
    return None


def _session(signed_in: SignedIn) -> dict[str, Any]:
    user = signed_in.user
    shown = {
        "id": user.id,
        "username": user.username,
        "name": user.name or user.username,
        "email": user.email,
        "role": user.role.value,
    }
    return {"user": shown, "token": signed_in.token}


def _token_view(request: Request, user: User, token: AccessToken) -> dict[str, Any]:
    running = token.is_running(services(request).clock.now())
    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope.value,
        "createdAt": iso(token.created_at),
        "expiresAt": iso_or_none(token.expires_at),
        "active": running and user.accepts(token.created_at),
    }

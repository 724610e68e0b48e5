"""Who is calling, and from where: the peer's uid on the Unix socket, a Bearer token anywhere."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from doorlock.daemon.api.state import services
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Caller, Scope
from doorlock.daemon.ports import AuthRefused
from doorlock.daemon.services.guard import require_scope
from doorlock.errors import NotAllowed, NotAuthenticated
from doorlock.protocol import AS_USER_HEADER, DEVICE_ID_HEADER, DEVICE_TOKEN_HEADER

_PEER = "doorlock_peer"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a Unix socket."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer | None:
    """By SO_PEERCRED; None for anything but a Unix socket."""
    if connection.family != socket.AF_UNIX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return Peer(*struct.unpack("3i", raw))


def with_peer(state: dict[str, Any], peer: Peer | None) -> dict[str, Any]:
    """The scope's state of a connection from `peer`."""
    return {**state, _PEER: peer}


def peer_in(connection: HTTPConnection) -> Peer | None:
    peer = connection.scope.get("state", {}).get(_PEER)
    return peer if isinstance(peer, Peer) else None


def bearer_in(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def caller(request: Request) -> Caller:
    """Raises NotAuthenticated, or NotAllowed for a Unix account that is nobody's."""
    found = await _caller(request)
    if request.method not in _READING:
        require_scope(found, Scope.CONTROL, "change anything")
    if (other := request.headers.get(AS_USER_HEADER)) is not None:
        return await services(request).accounts.acting_as(found, _as_text(other))
    return found


def _as_text(header: str) -> str:
    """HTTP hands headers over as Latin-1; clients send UTF-8."""
    return header.encode("latin-1").decode("utf-8", "replace")


async def _caller(request: Request) -> Caller:
    peer = peer_in(request)
    if (token := bearer_in(request)) is not None:
        return where(request, await services(request).sessions.by_token(token))
    if peer is not None:
        return where(request, Caller(await services(request).accounts.by_uid(peer.uid)))
    raise NotAuthenticated("Authentication required", hint="Send a token: Authorization: Bearer …")


def where(request: Request, caller: Caller) -> Caller:
    """`caller`, with what the request says of where they are."""
    found = request_metadata(request)
    return replace(
        caller,
        source=found["source"],
        ip_address=found["ipAddress"],
        user_agent=found["userAgent"],
    )


def request_metadata(request: Request) -> dict[str, Any]:
    """What an event says of where a request comes from."""
    local = peer_in(request) is not None
    return {
        "source": "socket" if local else "http",
        "ipAddress": request.client.host if request.client and not local else None,
        "socketId": None,
        "userAgent": request.headers.get("user-agent", "")[:200] or None,
    }


async def device_from_headers(request: Request) -> Device:
    """The device that proves itself by its headers. Raises NotAuthenticated, NotAllowed."""
    device_id = request.headers.get(DEVICE_ID_HEADER)
    token = request.headers.get(DEVICE_TOKEN_HEADER)
    bearer = bearer_in(request)
    if bearer is not None and token is None and bearer.count(".") == 2:
        return await services(request).sessions.device_by_jwt(bearer)
    token = token or bearer
    if not device_id or not token:
        raise NotAuthenticated("Authentication required")
    return await proven(request, device_id, token)


async def proven(request: Request, device_id: str, token: str) -> Device:
    """The device, by its id and token. Raises NotAuthenticated, NotAllowed."""
    where = device_metadata(request)
    try:
        return await services(request).ingest.authenticate(device_id, token, where)
    except AuthRefused as refused:
        if str(refused) == "Device not activated":
            raise NotAllowed(str(refused)) from refused
        raise NotAuthenticated(str(refused)) from refused


def device_metadata(request: Request) -> dict[str, Any]:
    return {
        "source": "http",
        "ipAddress": request.client.host if request.client else None,
        "socketId": None,
        "userAgent": request.headers.get("user-agent", "")[:200] or None,
    }


TheCaller = Annotated[Caller, Depends(caller)]
TheDevice = Annotated[Device, Depends(device_from_headers)]

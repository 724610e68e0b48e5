"""Giving a device to somebody else for good: transfer offer, ls, accept, cancel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.inputs import Device, User, Yes
from doorlock.cli.output import Output, visible
from doorlock.cli.session import Session
from doorlock.client_wire import device_path

HEADERS = ("DEVICE", "FROM", "TO", "UNTIL", "ID")


def offer(ctx: typer.Context, device: Device, user: User, yes: Yes = False) -> None:
    """Offer a device to a user, for seven days. When they accept it is theirs, and you keep no
    rights to it at all. Asks first."""
    session = Session.of(ctx)
    question = f"Offer {visible(device)} to {visible(user)}, for good?"
    session.confirm(question, yes=yes)
    made = session.client.post(device_path(device, "transfer"), {"user": user}).data
    until = views.moment(made.get("expiresAt"))
    line = f"{made.get('deviceName', device)} is offered to {user} until {until}"
    session.out.emit(made, lambda: [visible(line)])


def ls(ctx: typer.Context) -> None:
    """List what you offered, and what you were offered."""
    session = Session.of(ctx)
    found = session.client.get("/api/transfers").data
    session.out.emit(found, lambda: _table(session.out, found))


def _table(out: Output, found: list[dict[str, Any]]) -> Iterable[str]:
    if not found:
        out.note("Nothing is offered.")
        return []
    return out.table(HEADERS, [_row(each) for each in found])


def _row(each: dict[str, Any]) -> list[Any]:
    owner, to = each.get("owner") or {}, each.get("to") or {}
    return [
        views.text(each.get("deviceName")),
        views.text(owner.get("username") or owner.get("id")),
        views.text(to.get("username")),
        views.moment(each.get("expiresAt")),
        views.text(each.get("deviceId")),
    ]


def accept(
    ctx: typer.Context,
    device: Device,
    drop_shares: Annotated[
        bool, typer.Option("--drop-shares", help="End the shares that others have of it.")
    ] = False,
) -> None:
    """Make a device yours that was offered to you."""
    session = Session.of(ctx)
    path = device_path(device, "transfer", "accept")
    mine = session.client.post(path, {"dropShares": drop_shares}).data
    session.out.emit(mine, lambda: [visible(f"{mine.get('name', device)} is yours")])
    if session.out.for_people:
        _warn(session.out, mine, device)


def _warn(out: Output, mine: dict[str, Any], device: str) -> None:
    names = [str(share.get("username")) for share in mine.get("shares") or []]
    if names:
        out.note(visible(f"It is shared with {', '.join(names)}: doorlock shares {device}"))
    out.note("Whoever had it before may know its token.")
    out.note(visible(f"A new one, which the device must be given: doorlock token rotate {device}"))


def cancel(ctx: typer.Context, device: Device, yes: Yes = False) -> None:
    """Take an offer back, or decline one. It never asks, so -y changes nothing."""
    session = Session.of(ctx)
    gone = session.client.delete(device_path(device, "transfer")).data
    session.out.emit(gone, lambda: [visible(f"{gone.get('name', device)} is offered no longer")])

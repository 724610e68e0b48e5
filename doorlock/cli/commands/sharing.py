"""Who else may see or use a device: share, unshare, shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.inputs import Device, MaybeDevice, User, Yes, moment_after, one_of
from doorlock.cli.output import Output, visible
from doorlock.cli.session import Session
from doorlock.client_wire import device_path

HEADERS = ("DEVICE", "USER", "PERMISSION", "FROM", "UNTIL", "ACTIVE", "GRANTED BY")
PERMISSIONS = ("view", "control", "admin")
WHEN = "A time (2026-12-01T18:00, yours unless it names a zone) or a span from now (2h, 3d)."


def share(
    ctx: typer.Context,
    device: Device,
    user: User,
    *,
    permission: Annotated[str, typer.Option(help="What they may.", **one_of(*PERMISSIONS))],
    starts: Annotated[
        str | None, typer.Option("--from", metavar="TIME", parser=moment_after, help=WHEN)
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", parser=moment_after, help=WHEN)
    ] = None,
) -> None:
    """Let a user see (view), use (control) or administer (admin) a device.

    Sharing again replaces what was granted before.
    """
    session = Session.of(ctx)
    body = {"user": user, "permission": permission, "startsAt": starts, "expiresAt": until}
    wanted = {key: value for key, value in body.items() if value is not None}
    granted = session.client.post(device_path(device, "share"), wanted).data
    session.out.emit(granted, lambda: [visible(_granted(granted, device, user))])


def _granted(granted: dict[str, Any], device: str, user: str) -> str:
    line = f"{granted.get('username') or user} has {granted.get('permission')} of"
    line += f" {granted.get('deviceName') or device}"
    if granted.get("startsAt"):
        line += f" from {views.moment(granted['startsAt'])}"
    if granted.get("expiresAt"):
        line += f" until {views.moment(granted['expiresAt'])}"
    return line


def unshare(ctx: typer.Context, device: Device, user: User, yes: Yes = False) -> None:
    """Take a share back; it stops working at once. It never asks, so -y changes nothing."""
    session = Session.of(ctx)
    answer = session.client.delete(device_path(device, "share", user)).data
    session.out.emit(answer, lambda: [visible(f"{user} no longer has a share of {device}")])


def shares(ctx: typer.Context, device: MaybeDevice = None) -> None:
    """List the shares of a device, or all that you granted, manage or received."""
    session = Session.of(ctx)
    path = device_path(device, "shares") if device else "/api/shares"
    found = session.client.get(path).data
    session.out.emit(found, lambda: _table(session.out, found))


def _table(out: Output, found: list[dict[str, Any]]) -> Iterable[str]:
    if not found:
        out.note("No shares.")
        return []
    return out.table(HEADERS, [_row(each) for each in found])


def _row(each: dict[str, Any]) -> list[Any]:
    granter = each.get("grantedBy")
    return [
        views.text(each.get("deviceName") or each.get("deviceId")),
        views.text(each.get("username") or each.get("userId")),
        views.text(each.get("permission")),
        views.moment(each.get("startsAt")),
        views.moment(each.get("expiresAt")),
        views.text(each.get("active")),
        views.text(granter.get("username") if isinstance(granter, dict) else granter),
    ]

"""Shares for people who have no account yet: invitations ls, accept, revoke."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.failures import CliFailure
from doorlock.cli.inputs import Yes
from doorlock.cli.output import Output, visible
from doorlock.cli.session import Session
from doorlock.client_wire import segment

HEADERS = ("DEVICE", "EMAIL", "PERMISSION", "SCHEDULE", "OPEN", "CODE UNTIL", "BY", "ID")


def ls(ctx: typer.Context) -> None:
    """List the invitations to the devices that you manage."""
    session = Session.of(ctx)
    found = session.client.get("/api/invitations").data
    session.out.emit(found, lambda: _table(session.out, found))


def _table(out: Output, found: list[dict[str, Any]]) -> Iterable[str]:
    if not found:
        out.note("No invitations.")
        return []
    return out.table(HEADERS, [_row(each) for each in found])


def _row(each: dict[str, Any]) -> list[Any]:
    return [
        views.text(each.get("deviceName") or each.get("deviceId")),
        views.text(each.get("email")),
        views.text(each.get("permission")),
        views.text(each.get("schedule")),
        views.text(each.get("open")),
        views.moment(each.get("codeExpiresAt")),
        views.text(each.get("grantedByName") or each.get("grantedBy")),
        views.text(each.get("id")),
    ]


def accept(ctx: typer.Context) -> None:
    """Get the share that a code is for. The code is asked for, or read from stdin, a line."""
    session = Session.of(ctx)
    share = session.client.post("/api/invitations/accept", {"code": _code(session)}).data
    line = f"you have {share.get('permission')} of {share.get('deviceName')}"
    session.out.emit(share, lambda: [visible(line)])


def _code(session: Session) -> str:
    if session.stdin.isatty():
        if session.no_input:
            raise CliFailure("usage", "That needs the code.", "give it on stdin")
        session.out.end_progress()
        session.out.stderr.write("Code: ")
        session.out.stderr.flush()
    code = session.stdin.readline().strip()
    if not code:
        raise CliFailure("usage", "That needs the code.", "give it on stdin, as one line")
    return code


def revoke(
    ctx: typer.Context,
    invitation: Annotated[str, typer.Argument(metavar="ID|EMAIL", help="Which one.")],
    yes: Yes = False,
) -> None:
    """Take an invitation back; its code stops working at once. It never asks, so -y changes
    nothing."""
    session = Session.of(ctx)
    gone = session.client.delete(f"/api/invitations/{segment(invitation)}").data
    line = f"{gone.get('email') or invitation} is no longer invited to {gone.get('deviceName')}"
    session.out.emit(gone, lambda: [visible(line)])

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

HEADERS = ("DEVICE", "USER", "PERMISSION", "FROM", "UNTIL", "SCHEDULE", "ACTIVE", "GRANTED BY")
TERMS = {"permission": "permission", "startsAt": "from", "expiresAt": "until"}
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
    schedule: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help='Only then: "Mon-Fri 09:00-17:00", or an RRULE.'),
    ] = None,
    invite: Annotated[
        bool, typer.Option("--invite", help="Insist: USER is somebody here, or an email address.")
    ] = False,
    invite_until: Annotated[
        str | None,
        typer.Option(metavar="TIME", parser=moment_after, help="Until when its code is good: 7d."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
) -> None:
    """Let a user see (view), use (control) or administer (admin) a device.

    Sharing again replaces what was granted before. A schedule goes by the door's own clock
    (`doorlock set DEVICE --timezone`): weekly windows such as "Mon-Fri 09:00-17:00, Sat
    10:00-12:00" or "22:00-06:00", or "RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=9 DURATION:PT8H". Outside
    of it the device is not even seen.

    Somebody without an account is invited by their email address: a code is printed, this once,
    which you hand over and which becomes the share when they sign up or accept it.
    """
    session = Session.of(ctx)
    body = {
        "user": user,
        "permission": permission,
        "startsAt": starts,
        "expiresAt": until,
        "schedule": schedule,
        "invite": invite or None,
        "inviteExpiresAt": invite_until,
        "dryRun": dry_run or None,
    }
    wanted = {key: value for key, value in body.items() if value is not None}
    granted = session.client.post(device_path(device, "share"), wanted).data
    if dry_run:
        session.out.emit(granted, lambda: _plan(granted, device, user))
    elif granted.get("code"):
        _tell_code(session, granted, device)
    else:
        session.out.emit(granted, lambda: [visible(_granted(granted, device, user))])


def _granted(granted: dict[str, Any], device: str, user: str) -> str:
    return f"{granted.get('username') or user} has {_terms(granted, device)}"


def _terms(granted: dict[str, Any], device: str) -> str:
    line = f"{granted.get('permission')} of {granted.get('deviceName') or device}"
    if granted.get("startsAt"):
        line += f" from {views.moment(granted['startsAt'])}"
    if granted.get("expiresAt"):
        line += f" until {views.moment(granted['expiresAt'])}"
    if granted.get("schedule"):
        line += f", {granted['schedule']} ({granted.get('timezone') or 'its own clock'})"
    return line


def _tell_code(session: Session, made: dict[str, Any], device: str) -> None:
    out, code = session.out, visible(made["code"])
    if out.quiet and out.for_people:
        return out.write(code)
    line = f"invited {made.get('email')} to {_terms(made, device)}"
    out.emit(made, lambda: [visible(line), f"code: {code}"])
    if out.for_people:
        until = views.moment(made.get("codeExpiresAt"))
        out.note(f"Hand the code over: it is not shown again, and good until {until}.")
        out.note("They sign up with it, or run: doorlock invitations accept")
    return None


def _plan(plan: dict[str, Any], device: str, user: str) -> Iterable[str]:
    if plan.get("invitation"):
        yield visible(f"{user} has no account and would be invited to {device}")
    changes = plan.get("changes") or {}
    if not changes:
        yield visible(f"nothing would change: {user} has that of {device} already")
    for name, (before, after) in changes.items():
        show = views.moment if name in ("startsAt", "expiresAt") else views.text
        yield visible(f"{TERMS.get(name, name)}: {show(before)} -> {show(after)}")


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
    return [
        views.text(each.get("deviceName") or each.get("deviceId")),
        views.text(each.get("username") or each.get("userId")),
        views.text(each.get("permission")),
        views.moment(each.get("startsAt")),
        views.moment(each.get("expiresAt")),
        views.text(each.get("schedule")),
        views.text(each.get("active")),
        views.text(each.get("grantedByName") or each.get("grantedBy")),
    ]

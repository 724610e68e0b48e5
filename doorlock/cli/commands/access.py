"""Who could open a door, when, and why: access explain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.inputs import Device, complete_user, moment_after, moment_before
from doorlock.cli.output import Cell, Output, visible
from doorlock.cli.session import Session
from doorlock.client_wire import device_path

HEADERS = ("USER", "OPENS IT", "PERMISSION", "CHANGES", "WHY")
UNCERTAIN = "not certain: enabled again since, and the log does not say when"


def _moment(text: str) -> str:
    return moment_before(text[1:]) if text.startswith("-") else moment_after(text.lstrip("+"))


def explain(
    ctx: typer.Context,
    device: Device,
    *,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="USER", help="Only this one.", autocompletion=complete_user),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            parser=_moment,
            help="A time (2026-12-01T18:00), or so long from now (2h) or ago (-2h).",
        ),
    ] = None,
) -> None:
    """Who could open a device at a time, now if none is given, and why.

    Times that are past are told by the event log, coming ones by the rules as they are now. Who
    may share the device may ask for everybody; anybody may ask with --user for themselves.
    """
    session = Session.of(ctx)
    query = {"user": user, "at": at}
    found = session.client.get(device_path(device, "access"), query).data
    session.out.emit(found, lambda: _lines(session.out, found))


def _lines(out: Output, found: dict[str, Any]) -> Iterable[str]:
    told = "by the log" if found.get("from") == "log" else "by the rules"
    moment = views.moment(found.get("at"))
    yield visible(f"{found.get('deviceName')} at {moment}, {told} ({found.get('timezone')})")
    for note in found.get("notes") or []:
        yield visible(f"Note: {note}.")
    people = found.get("people") or []
    yield from out.table(HEADERS, [_row(each) for each in people])


def _row(each: dict[str, Any]) -> list[str | Cell]:
    opens = bool(each.get("mayOpen"))
    why = views.text(each.get("reason"))
    if each.get("certain") is False:
        why += f" ({UNCERTAIN})"
    return [
        views.text(each.get("username")),
        Cell("yes" if opens else "no", "green" if opens else "red"),
        views.text(each.get("permission")),
        views.moment(each.get("nextChange")),
        why,
    ]

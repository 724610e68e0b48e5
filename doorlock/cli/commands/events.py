"""The event log: events, events verify, events export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.failures import CliFailure
from doorlock.cli.inputs import DeviceOption, UserOption, moment_before
from doorlock.cli.live import print_live
from doorlock.cli.output import Output
from doorlock.cli.session import Session
from doorlock.client import Client
from doorlock.client_wire import device_path

PAGE = 1000
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", parser=moment_before, help="Not before: 1h ago as 1h, or 2026-12-01T18:00."
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", parser=moment_before, help="Not after.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Only these; may be repeated.")
]


def events(
    ctx: typer.Context,
    *,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what happens next.")
    ] = False,
    since: Since = None,
    until: Until = None,
    device: DeviceOption = None,
    user: UserOption = None,
    kinds: Types = None,
    number: Annotated[int, typer.Option("-n", min=0, help="The last so many.")] = 50,
) -> None:
    """Show the event log, the oldest first; -f follows it.

    While following, a daemon that goes away is waited for, and nothing is missed in between.
    """
    session = Session.of(ctx)
    if ctx.invoked_subcommand is not None:
        return
    filters = _filters(session.client, device, user, kinds)
    query = {**filters, "since": since, "until": until}
    found, position = _last(session.client, query, number)
    if follow:
        print_live(session, filters, position, found)
    else:
        session.out.emit(found, lambda: _table(session.out, found))


def _filters(
    client: Client, device: str | None, user: str | None, kinds: list[str] | None
) -> dict[str, Any]:
    return {
        "device": client.get(device_path(device)).data["id"] if device else None,
        "user": user,
        "type": ",".join(kinds) if kinds else None,
    }


def _last(
    client: Client, query: dict[str, Any], number: int
) -> tuple[list[dict[str, Any]], int | None]:
    """The last `number` events in order, and the position after which all are news."""
    found: list[dict[str, Any]] = []
    position = None
    while True:
        limit = min(PAGE, number - len(found))
        before = found[-1]["seq"] if found else None
        page = {**query, "limit": max(limit, 1), "order": "desc", "before": before}
        answer = client.get("/api/logs", page)
        position = answer.position if position is None else position
        found += answer.data[:limit]
        if len(answer.data) < PAGE or len(found) >= number:
            return found[::-1], position


def _table(out: Output, found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        out.note("No events.")
        return
    yield from out.table(views.EVENT_HEADERS, [views.event_row(event) for event in found])


def verify(ctx: typer.Context) -> None:
    """Check that nobody has altered the log: each event seals the one before it."""
    session = Session.of(ctx)
    result = session.client.get("/api/events/verify").data
    if not result.get("ok"):
        where = result.get("brokenAt")
        raise CliFailure(
            "broken_log",
            f"the log was altered: event {where} does not match its seal",
            "compare it with a backup: doorlock events export writes it out",
            result,
        )
    span = f"events {result.get('fromSeq')} to {result.get('toSeq')}"
    session.out.emit(result, lambda: [f"unbroken: {result.get('checked')} checked, {span}"])


def export(
    ctx: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    device: DeviceOption = None,
    user: UserOption = None,
    kinds: Types = None,
) -> None:
    """Write the log out as JSON, one event a line, the oldest first."""
    session = Session.of(ctx)
    query = {**_filters(session.client, device, user, kinds), "since": since, "until": until}
    for line in session.client.lines("/api/events/export", query):
        session.out.write(line)

"""The commands that devices were given: command ls, show, cancel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.inputs import DeviceOption
from doorlock.cli.output import Output, visible
from doorlock.cli.session import Session
from doorlock.client_wire import device_path, segment

CommandId = Annotated[str, typer.Argument(metavar="ID", help="The id of a command.")]


def ls(
    ctx: typer.Context,
    device: DeviceOption = None,
    number: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many.")] = 20,
) -> None:
    """List the last commands, the newest first."""
    session = Session.of(ctx)
    query: dict[str, Any] = {"limit": number}
    if device:
        query["device"] = session.client.get(device_path(device)).data["id"]
    found = session.client.get("/api/command/history", query).data["history"]
    session.out.emit(found, lambda: _table(session.out, found))


def _table(out: Output, found: list[dict[str, Any]]) -> Iterable[str]:
    if not found:
        out.note("No commands.")
        return []
    return out.table(views.COMMAND_HEADERS, [views.command_row(each) for each in found])


def show(ctx: typer.Context, command_id: CommandId) -> None:
    """Show a command and what became of it."""
    session = Session.of(ctx)
    shown = session.client.get(f"/api/command/{segment(command_id)}").data
    session.out.emit(shown, lambda: session.out.record(_fields(shown)))


def _fields(command: dict[str, Any]) -> list[Any]:
    payload = command.get("payload") or {}
    times = ("issuedAt", "sentAt", "acknowledgedAt", "finishedAt", "expiresAt")
    return [
        ("id", views.text(command.get("commandId"))),
        ("device", views.text(command.get("deviceName") or command.get("deviceId"))),
        ("command", views.text(command.get("command"))),
        ("payload", " ".join(f"{k}={views.text(v)}" for k, v in payload.items()) or "-"),
        ("status", views.text(command.get("status"))),
        ("via", views.text(command.get("via"))),
        ("issued by", views.text(command.get("issuedByName") or command.get("issuedBy"))),
        *((name.removesuffix("At"), views.moment(command.get(name))) for name in times),
        ("error", views.text(command.get("errorMessage"))),
    ]


def cancel(ctx: typer.Context, command_id: CommandId) -> None:
    """Cancel a command that still waits to be sent."""
    session = Session.of(ctx)
    cancelled = session.client.post(f"/api/command/{segment(command_id)}/cancel").data
    session.out.emit(cancelled, lambda: [visible(f"{command_id}: {cancelled['status']}")])

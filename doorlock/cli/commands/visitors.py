"""Who is at the door: visitors ls, show, approve, deny, watch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.failures import CliFailure
from doorlock.cli.inputs import DeviceOption, complete_device, one_of
from doorlock.cli.live import print_live
from doorlock.cli.orders import Order, Target, interrupted, see_through
from doorlock.cli.output import Cell, Output, visible
from doorlock.cli.session import Session
from doorlock.client import Client
from doorlock.client_wire import Answer, segment
from doorlock.errors import BadInput
from doorlock.protocol import CommandName

HEADERS = ("TIME", "DEVICE", "STATUS", "RANG", "PICTURE", "DECIDED BY", "NOTE", "ID")
STATUSES = ("pending", "granted", "denied", "expired")
STATUS_STYLES = {"pending": "yellow", "granted": "green", "denied": "red", "expired": "dim"}
EVENTS = ("visitor_arrived", "visitor_granted", "visitor_denied", "visitor_expired")
LOGS = "/api/door/logs"
ID = re.compile(r"[0-9a-f]{24}")

Visitor = Annotated[
    str,
    typer.Argument(
        metavar="VISITOR",
        help="Id of a visitor, or the device where just one waits.",
        autocompletion=complete_device,
    ),
]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="For the log and the camera.")]


def ls(
    ctx: typer.Context,
    *,
    status: Annotated[
        str | None, typer.Option(help="Only those that are so.", **one_of(*STATUSES))
    ] = None,
    device: DeviceOption = None,
    number: Annotated[int, typer.Option("-n", min=1, max=1000, help="The last so many.")] = 50,
) -> None:
    """List who came, the newest first."""
    session = Session.of(ctx)
    query = {"status": status, "device": device, "limit": number}
    found = session.client.get(LOGS, query).data
    session.out.emit(found, lambda: _table(session.out, found))


def _table(out: Output, found: list[dict[str, Any]]) -> Iterable[str]:
    if not found:
        out.note("No visitors.")
        return []
    return out.table(HEADERS, [_row(each) for each in found])


def _row(each: dict[str, Any]) -> list[str | Cell]:
    return [
        views.moment(each.get("timestamp")),
        views.text(each.get("deviceName") or each.get("deviceId")),
        _status(each),
        views.text(each.get("bellPressed")),
        views.text(each.get("image") is not None),
        views.text(each.get("decidedByName") or each.get("decidedBy")),
        views.text(each.get("note")),
        views.text(each.get("id")),
    ]


def _status(each: dict[str, Any]) -> Cell:
    status = views.text(each.get("status"))
    return Cell(status, STATUS_STYLES.get(status, ""))


def show(
    ctx: typer.Context,
    visitor: Annotated[
        str,
        typer.Argument(
            metavar="VISITOR",
            help="Id of a visitor, or a device for its newest.",
            autocompletion=complete_device,
        ),
    ],
    *,
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the picture there instead.")
    ] = None,
) -> None:
    """Show a visitor, with the picture where the terminal can draw one."""
    session = Session.of(ctx)
    shown = _newest(session.client, visitor)
    session.out.emit(shown, lambda: session.out.record(_fields(shown)))
    if shown.get("image") is None:
        if file is not None:
            raise CliFailure("not_found", "there is no picture of this visitor")
        return
    if file is not None:
        _write(file, _picture(session.client, shown))
        session.out.note(visible(f"wrote {file}"))
    elif session.out.for_people and session.out.stdout.isatty():
        _draw(session, _picture(session.client, shown))


def _newest(client: Client, ref: str) -> dict[str, Any]:
    if ID.fullmatch(ref):
        return _by_id(client, ref)
    found: list[dict[str, Any]] = client.get(LOGS, {"device": ref, "limit": 1}).data
    if not found:
        raise CliFailure("not_found", f"nobody came to {ref}")
    return found[0]


def _by_id(client: Client, visitor_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{LOGS}/{visitor_id}").data
    return found


def _fields(shown: dict[str, Any]) -> list[tuple[str, str | Cell]]:
    return [
        ("id", views.text(shown.get("id"))),
        ("device", views.text(shown.get("deviceName") or shown.get("deviceId"))),
        ("came", views.moment(shown.get("timestamp"))),
        ("status", _status(shown)),
        ("rang", views.text(shown.get("bellPressed"))),
        ("message", views.text(shown.get("message"))),
        ("expires", views.moment(shown.get("expiresAt"))),
        ("decided by", views.text(shown.get("decidedByName") or shown.get("decidedBy"))),
        ("decided", views.moment(shown.get("decidedAt"))),
        ("note", views.text(shown.get("note"))),
        ("command", views.text(shown.get("commandId"))),
    ]


def _picture(client: Client, shown: dict[str, Any]) -> bytes:
    place = segment(str(shown["deviceId"])), segment(str(shown["image"]))
    return client.content("/".join(("/api/door/picture", *place)))


def _write(path: Path, content: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _draw(session: Session, content: bytes) -> None:
    from doorlock.cli.pictures import drawing

    drawn = drawing(content, session.env, session.out.columns())
    if drawn is None:
        session.out.note("This terminal cannot draw the picture; --out FILE writes it.")
    else:
        session.out.write(drawn)


def approve(
    ctx: typer.Context,
    visitor: Visitor,
    *,
    note: Note = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the device confirms.")
    ] = True,
) -> None:
    """Let a visitor in: the decision counts for the picture that is there now, and once.

    Then the door is unlocked. Where that does not work the decision stands all the same.
    """
    session = Session.of(ctx)
    answer = _decide(session.client, "open", visitor, note)
    decided, unlock = answer.data, answer.data.get("unlock") or {}
    who = f"the visitor at {decided.get('deviceName')}"
    if not unlock.get("sent"):
        said = f"{who} was let in, but the door was not unlocked: {unlock.get('message')}"
        raise CliFailure(str(unlock.get("code")), said, unlock.get("hint"), decided)
    session.out.note(visible(f"{who} was let in"))
    target = Target(
        str(decided.get("deviceName")), command=dict(unlock["command"]), position=answer.position
    )
    try:
        see_through(session, Order(CommandName.UNLOCK_DOOR, {}, wait), target)
    except KeyboardInterrupt:
        raise interrupted([target]) from None
    decided["unlock"] = {**unlock, "command": target.as_data()}
    if target.problem is not None:
        code, said, hint = target.problem.code, target.problem.message, target.problem.hint
        raise CliFailure(code, f"{who} was let in, but: {said}", hint, decided)
    session.out.emit(decided)


def deny(ctx: typer.Context, visitor: Visitor, *, note: Note = "") -> None:
    """Turn a visitor away: the decision counts for the picture that is there now, and once."""
    session = Session.of(ctx)
    decided = _decide(session.client, "deny", visitor, note).data
    said = f"the visitor at {decided.get('deviceName')} was turned away"
    session.out.emit(decided, lambda: [visible(said)])


def _decide(client: Client, act: str, ref: str, note: str) -> Answer:
    chosen = _by_id(client, ref) if ID.fullmatch(ref) else _waiting(client, ref)
    body = {"visitorLogId": chosen["id"], "notes": note, "image": chosen.get("image")}
    return client.post(f"/api/command/{act}", body)


def _waiting(client: Client, ref: str) -> dict[str, Any]:
    """The one who waits at a device."""
    found: list[dict[str, Any]] = client.get(f"{LOGS}/pending", {"device": ref}).data
    if not found:
        raise CliFailure("not_found", f"nobody waits at {ref}", "who came: doorlock visitors ls")
    if len(found) > 1:
        hint = f"name one by its id: doorlock visitors ls --status pending --device {ref}"
        raise CliFailure("ambiguous", f"{len(found)} visitors wait at {ref}", hint)
    return found[0]


def watch(ctx: typer.Context, *, device: DeviceOption = None) -> None:
    """Show who waits, then everybody who comes and what is decided, until ctrl-c."""
    session = Session.of(ctx)
    waiting = session.client.get(f"{LOGS}/pending", {"device": device, "limit": 1000})
    if session.out.for_people:
        for line in _table(session.out, waiting.data):
            session.out.write(line)
    else:
        session.out.format = "ndjson"
        session.out.emit(waiting.data)
    query = {"type": ",".join(EVENTS), "device": device}
    print_live(session, query, waiting.position)

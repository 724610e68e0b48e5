"""Named tokens, for scripts: token create, ls, revoke; `devices` has those of devices."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.commands import devices
from doorlock.cli.inputs import MaybeDevice, Yes, moment_after, one_of
from doorlock.cli.output import visible
from doorlock.cli.session import Session
from doorlock.client_wire import segment
from doorlock.errors import NotFound

HEADERS = ("NAME", "SCOPE", "WORKS", "SINCE", "UNTIL")
SCOPES = ("view", "control", "admin")


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: Annotated[
        str, typer.Option(help="The most that it gives of what you may.", **one_of(*SCOPES))
    ] = "view",
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", parser=moment_after, help="When it ends: a time, or a span such as 30d."
        ),
    ] = None,
    token_file: devices.TokenFile = None,
) -> None:
    """Make a token for a script, which sends it as `Authorization: Bearer`. It is shown this once.

    It ends when it is revoked, at --expires, or with a new password of yours. With -q nothing but
    the token is printed.
    """
    session = Session.of(ctx)
    body = {"name": name, "scope": scope, "expiresAt": expires}
    with devices.keeping(token_file) as keep:
        made = session.client.post("/api/auth/tokens", body).data
        keep(made["token"])
    _tell(session, made, token_file is not None)


def _tell(session: Session, made: dict[str, Any], is_kept: bool) -> None:
    out = session.out
    if out.quiet and out.for_people and not is_kept:
        return out.write(visible(made["token"]))
    shown = {key: value for key, value in made.items() if key != "token" or not is_kept}
    lines = [visible(f"made the token {made.get('name')}, for {made.get('scope')}")]
    if not is_kept:
        lines.append(visible(f"token: {made['token']}"))
    out.emit(shown, lambda: lines)
    if out.for_people and not is_kept:
        out.note("Keep the token: it is not shown again.")
    return None


def ls(ctx: typer.Context) -> None:
    """List your named tokens."""
    session = Session.of(ctx)
    found = session.client.get("/api/auth/tokens").data
    session.out.emit(found, lambda: session.out.table(HEADERS, [_row(each) for each in found]))


def _row(token: dict[str, Any]) -> list[Any]:
    return [
        views.text(token.get("name")),
        views.text(token.get("scope")),
        views.text(token.get("active")),
        views.moment(token.get("createdAt")),
        views.moment(token["expiresAt"]) if token.get("expiresAt") else views.NOTHING,
    ]


def revoke(
    ctx: typer.Context,
    device: MaybeDevice = None,
    named: Annotated[
        str | None, typer.Option("--named", metavar="NAME", help="Your own token of that name.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Make the token of DEVICE useless and end its sessions, or with --named a token of your own.
    Asks first."""
    if (device is None) == (named is None):
        raise typer.BadParameter("Give a device, or --named and a token of yours.")
    if named is not None:
        return _revoke_named(Session.of(ctx), named, yes)
    assert device is not None
    try:
        return devices.revoke(ctx, device, yes)
    except NotFound as error:
        hint = f"For a token of your own: doorlock token revoke --named {device}"
        raise NotFound(error.message, hint=hint, details=error.details) from None


def _revoke_named(session: Session, name: str, yes: bool) -> None:
    session.confirm(f"Revoke your token {visible(name)}?", yes=yes)
    gone = session.client.delete(f"/api/auth/tokens/{segment(name)}").data
    session.out.emit(gone, lambda: [visible(f"the token {name} is revoked")])

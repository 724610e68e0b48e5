"""The users of the daemon: user add, ls, show, disable, enable, link; whoami."""

from __future__ import annotations

import pwd
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.commands.signin import FromStdin
from doorlock.cli.inputs import User, Yes, one_of
from doorlock.cli.output import Output, visible
from doorlock.cli.session import Session
from doorlock.client_wire import segment
from doorlock.errors import BadInput

HEADERS = ("USERNAME", "NAME", "ROLE", "ACTIVE", "UNIX UID", "EMAIL")
Role = Annotated[str, typer.Option(help="What they are.", **one_of("user", "admin", "super_admin"))]


def add(
    ctx: typer.Context,
    username: Annotated[str, typer.Argument(metavar="USERNAME", help="What to call them.")],
    name: Annotated[str | None, typer.Option(help="Their whole name.")] = None,
    email: Annotated[str | None, typer.Option(help="Their address.")] = None,
    role: Role = "user",
    password_stdin: FromStdin = False,
) -> None:
    """Add a user. `doorlock user link` lets them in by their Unix account, a password
    (--password-stdin, or `doorlock user passwd`) by signing in."""
    session = Session.of(ctx)
    password = session.secret("", from_stdin=True) if password_stdin else None
    body = {
        "username": username,
        "name": name,
        "email": email,
        "role": role,
        "password": password,
    }
    wanted = {key: value for key, value in body.items() if value is not None}
    made = session.client.post("/api/users", wanted).data
    session.out.emit(made, lambda: [visible(f"added {made['username']} ({made['id']})")])


def ls(ctx: typer.Context) -> None:
    """List the users."""
    session = Session.of(ctx)
    found = session.client.get("/api/users").data
    session.out.emit(found, lambda: session.out.table(HEADERS, [_row(each) for each in found]))


def _row(user: dict[str, Any]) -> list[Any]:
    names = ("username", "name", "role", "isActive", "unixUid", "email")
    return [views.text(user.get(name)) for name in names]


def show(ctx: typer.Context, user: User) -> None:
    """Show a user."""
    session = Session.of(ctx)
    shown = session.client.get(f"/api/users/{segment(user)}").data
    session.out.emit(shown, lambda: _record(session.out, shown))


def whoami(ctx: typer.Context) -> None:
    """Show who the daemon takes you for."""
    session = Session.of(ctx)
    me = session.client.get("/api/auth/me").data
    session.out.emit(me, lambda: _record(session.out, me))


def _record(out: Output, user: dict[str, Any]) -> Iterable[str]:
    return out.record(
        [
            ("username", views.text(user.get("username"))),
            ("id", views.text(user.get("id"))),
            ("name", views.text(user.get("name"))),
            ("email", views.text(user.get("email"))),
            ("role", views.text(user.get("role"))),
            ("active", views.text(user.get("isActive"))),
            ("Unix uid", views.text(user.get("unixUid"))),
            ("password", views.text(user.get("hasPassword"))),
            ("since", views.moment(user.get("createdAt"))),
        ]
    )


def disable(ctx: typer.Context, user: User, yes: Yes = False) -> None:
    """Shut a user out, with every session they have; asks first."""
    session = Session.of(ctx)
    session.confirm(f"Shut {visible(user)} out?", yes=yes)
    answer = session.client.post(f"/api/users/{segment(user)}/disable").data
    session.out.emit(answer, lambda: [visible(f"{user} is disabled")])


def enable(ctx: typer.Context, user: User) -> None:
    """Let a user in again."""
    session = Session.of(ctx)
    answer = session.client.post(f"/api/users/{segment(user)}/enable").data
    session.out.emit(answer, lambda: [visible(f"{user} is enabled")])


def link(
    ctx: typer.Context,
    user: User,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="A Unix account, or its uid.")],
) -> None:
    """Tie a Unix account to a user: whoever runs doorlock in it acts as that user."""
    session = Session.of(ctx)
    uid = _uid_of(account)
    answer = session.client.post(f"/api/users/{segment(user)}/link", {"uid": uid}).data
    session.out.emit(answer, lambda: [visible(f"{account} (uid {uid}) is {user}")])


def _uid_of(account: str) -> int:
    try:
        return pwd.getpwnam(account).pw_uid
    except (KeyError, ValueError):
        if account.isascii() and account.isdigit():
            return int(account)
    raise BadInput(
        f"there is no Unix account {account!r}", hint="see the accounts with: getent passwd"
    )

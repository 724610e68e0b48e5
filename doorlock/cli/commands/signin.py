"""Signing in and out, passwords, and the key that signs tokens."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.inputs import Yes, complete_user
from doorlock.cli.output import visible
from doorlock.cli.session import Session
from doorlock.client_wire import segment

FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read it from stdin, a line, and do not ask.")
]


def login(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="Username or email.")],
    password_stdin: FromStdin = False,
) -> None:
    """Sign in to the daemon; until `logout`, doorlock acts as that user there.

    Without it doorlock acts as the user that your Unix account is linked to.
    """
    session = Session.of(ctx)
    password = session.secret("Password: ", from_stdin=password_stdin)
    signed_in = session.client.post("/api/auth/login", {"username": user, "password": password})
    name = str(signed_in.data["user"]["username"])
    assert session.client.reached is not None
    session.logins.keep(session.client.reached, name, signed_in.data["token"])
    session.out.emit(signed_in.data["user"], lambda: [visible(f"signed in as {name}")])


def logout(ctx: typer.Context) -> None:
    """Sign out; the token stops working at once. Your Unix account speaks for you again."""
    session = Session.of(ctx)
    session.client.post("/api/auth/logout")
    assert session.client.reached is not None
    name = session.logins.username(session.client.reached)
    session.logins.forget(session.client.reached)
    line = f"signed out {name}" if name else "you were not signed in"
    session.out.emit({"username": name}, lambda: [visible(line)])


def passwd(
    ctx: typer.Context,
    user: Annotated[
        str | None,
        typer.Argument(
            metavar="USER", help="Whose, for an operator.", autocompletion=complete_user
        ),
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="Read from stdin, a line each: your present password if you have one and it is "
            "yours that changes, then the new one.",
        ),
    ] = False,
) -> None:
    """Change your password, or as an operator set that of a user. Their sessions and named tokens
    end at once."""
    session = Session.of(ctx)
    me = session.client.get("/api/auth/me").data
    if user is None or (user in _names(me) and me.get("role") != "super_admin"):
        return _change_own(session, me, password_stdin)
    new = session.new_secret(from_stdin=password_stdin)
    path = f"/api/users/{segment(user)}/password"
    changed = session.client.post(path, {"newPassword": new}).data
    return session.out.emit(changed, lambda: [visible(f"{user} has a new password")])


def _names(me: dict[str, Any]) -> set[Any]:
    return {me.get("id"), me.get("username"), me.get("email")}


def _change_own(session: Session, me: dict[str, Any], from_stdin: bool) -> None:
    body = {}
    if me.get("hasPassword"):
        body["currentPassword"] = session.secret("Present password: ", from_stdin=from_stdin)
    body["newPassword"] = session.new_secret(from_stdin=from_stdin)
    changed = session.client.put("/api/auth/password", body).data
    reached = session.client.reached
    if reached is not None and session.logins.username(reached) is not None:
        session.logins.keep(reached, str(changed["user"]["username"]), changed["token"])
    session.out.emit(changed["user"], lambda: ["your password is changed"])
    session.out.note("Every other session of yours, and every named token, has ended.")


def rotate_key(ctx: typer.Context, yes: Yes = False) -> None:
    """Sign tokens with a new key. What the old one signed works until it runs out. Asks first."""
    session = Session.of(ctx)
    session.confirm("Sign tokens with a new key from now on?", yes=yes)
    rotated = session.client.post("/api/auth/rotate-key").data
    until = views.moment(rotated.get("oldKeyVerifiesUntil"))
    session.out.emit(rotated, lambda: [f"a new key signs; the old one verifies until {until}"])

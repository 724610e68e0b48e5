"""The daemon itself: daemon run, config show, validate and path, broker mosquitto-conf.

The command line and the daemon do not import one another: this process becomes the daemon's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from doorlock.cli import views
from doorlock.cli.session import Session

Arguments = Annotated[
    list[str] | None, typer.Argument(metavar="[ARGUMENTS...]", help="Those of doorlockd(8).")
]
File = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Another file than the usual.")]


def become_daemon(session: Session, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the daemon's program, with these arguments."""
    session.out.stdout.flush()
    chosen = ["--socket", session.socket] if session.socket else []
    command = [sys.executable, "-m", "doorlock.daemon", *chosen, *arguments]
    os.execv(sys.executable, command)


def run(ctx: typer.Context, arguments: Arguments = None) -> None:
    """Run the daemon in the foreground. Its arguments are those of doorlockd(8)."""
    become_daemon(Session.of(ctx), arguments or [])


def validate_config(ctx: typer.Context, file: File = None) -> None:
    """Check a configuration file: exit 0 if the daemon can use it, 78 if not."""
    chosen = ["--config", str(file)] if file else []
    become_daemon(Session.of(ctx), ["--check-config", *chosen])


def config_path(ctx: typer.Context) -> None:
    """Print where the daemon looks for its configuration."""
    become_daemon(Session.of(ctx), ["--print-config-path"])


def mosquitto_conf(ctx: typer.Context, arguments: Arguments = None) -> None:
    """Print the configuration that a Mosquitto of your own needs to serve the daemon."""
    become_daemon(Session.of(ctx), ["--print-mosquitto-conf", *(arguments or [])])


def show_config(ctx: typer.Context) -> None:
    """Show the settings in force in the running daemon; no secret is among them."""
    session = Session.of(ctx)
    settings = session.client.get("/api/config").data
    session.out.emit(settings, lambda: session.out.record(list(_flat(settings))))


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or views.NOTHING
        else:
            yield f"{prefix}{name}", views.text(value)

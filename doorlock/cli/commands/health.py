"""How the daemon is: status, doctor, version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock import __version__
from doorlock.cli import views
from doorlock.cli.exit_codes import ExitCode
from doorlock.cli.failures import CliFailure
from doorlock.cli.output import Cell, Output, visible
from doorlock.cli.redraw import redraw
from doorlock.cli.session import Session
from doorlock.errors import DaemonUnreachable, DoorlockError, NotAllowed
from doorlock.protocol import API_VERSION

_HEALTH = "/api/health/detailed"
CHECK_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def status(
    ctx: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Go on, and show it anew at every event.")
    ] = False,
) -> None:
    """Show how the daemon is doing: what it runs on, and how many devices it has."""
    session = Session.of(ctx)
    if watch:
        redraw(session, _HEALTH, lambda health: _show(session, health))
    _show(session, session.client.get(_HEALTH).data)


def _show(session: Session, health: dict[str, Any]) -> None:
    session.out.emit(health, lambda: session.out.record(_fields(health, session.verbose)))


def _fields(health: dict[str, Any], verbose: bool) -> list[Any]:
    state = views.text(health.get("status"))
    fields: list[Any] = [
        ("daemon", Cell(state, "green" if state in {"ok", "healthy"} else "yellow")),
        ("version", views.text(health.get("version"))),
        ("up", views.span(float(health.get("uptime") or 0))),
    ]
    services = health.get("services") or {}
    fields += [(str(name), _service(value, verbose)) for name, value in services.items()]
    for part in ("devices", "connections"):
        if part in health:
            fields.append((part, _words(health[part])))
    return fields


def _service(value: object, verbose: bool) -> str:
    """How a service is; all that it counts where more was asked for."""
    if verbose or not isinstance(value, dict) or "status" not in value:
        return _words(value)
    said = value.get("message")
    return f"{views.text(value['status'])}: {said}" if said else views.text(value["status"])


def _words(value: object) -> str:
    """A value of any shape in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items()) or views.NOTHING
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or views.NOTHING
    return views.text(value)


def doctor(ctx: typer.Context) -> int:
    """Check everything, and say how to mend what is broken."""
    session = Session.of(ctx)
    checks = _checks(session)
    session.out.emit(checks, lambda: _report(session.out, checks))
    codes = [each["exit"] for each in checks if "exit" in each]
    broken = any(each["status"] == "error" for each in checks)
    return int(codes[0] if codes else ExitCode.UNEXPECTED if broken else ExitCode.DONE)


def _checks(session: Session) -> list[dict[str, Any]]:
    """The checks on this side, and the daemon's own where it can be reached."""
    try:
        version = session.client.get("/api/version").data
    except (DaemonUnreachable, NotAllowed) as error:
        exits = ExitCode.NO_DAEMON if isinstance(error, DaemonUnreachable) else 4
        return [_check("socket", "error", error.message, error.hint) | {"exit": int(exits)}]
    where = next((str(path) for path in session.sockets if path.exists()), "-")
    checks = [_check("socket", "ok", f"the daemon answers at {where}"), _version_check(version)]
    try:
        health = session.client.get("/api/health/detailed").data
    except DoorlockError as error:
        return [*checks, _check("access", "error", error.message, error.hint)]
    return [*checks, *health.get("checks", [])]


def _version_check(version: dict[str, Any]) -> dict[str, Any]:
    if version.get("api") != API_VERSION:
        said = f"the daemon speaks API {version.get('api')}, this command line {API_VERSION}"
        return _check("version", "error", said, "install the same version of both")
    if version.get("version") != __version__:
        said = f"the daemon is {version.get('version')}, this command line {__version__}"
        return _check("version", "warning", said, "restart the daemon after an upgrade")
    return _check("version", "ok", f"both are {__version__}")


def _check(name: str, state: str, message: str, hint: str | None = None) -> dict[str, Any]:
    return {"name": name, "status": state, "message": message, "hint": hint}


def _report(out: Output, checks: list[dict[str, Any]]) -> Iterable[str]:
    for check in checks:
        state = views.text(check.get("status"))
        label = out.style(visible(state).ljust(7), CHECK_STYLES.get(state, ""))
        yield f"{label}  {visible(check.get('name'))}: {visible(check.get('message'))}"
        if check.get("hint"):
            yield f"         {visible(check['hint'])}"


def version(ctx: typer.Context) -> None:
    """Print the versions of this command line and of the daemon, where one runs."""
    session = Session.of(ctx)
    try:
        daemon = session.client.get("/api/version").data
    except (DoorlockError, CliFailure):
        daemon = None
    versions = {"doorlock": __version__, "api": API_VERSION, "daemon": daemon}
    running = f"{daemon.get('version')} at {daemon.get('url') or '-'}" if daemon else "not running"
    session.out.emit(versions, lambda: [f"doorlock {__version__}", visible(f"daemon {running}")])

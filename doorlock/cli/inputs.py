"""Arguments and options that several verbs share, and what completion offers for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from doorlock.cli.session import Session
from doorlock.errors import DoorlockError
from doorlock.protocol import DeviceType
from doorlock.times import iso, parse_span, parse_time, utc_now

# Completed text is read by the shell, and names are anybody's: what is odd is not offered.
HARMLESS = re.compile(r"[\w.@:+-]+", re.ASCII)
COMPLETION_PATIENCE = 1.0


def span(text: str) -> timedelta:
    """A span, or a usage error."""
    try:
        return parse_span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment_after(text: str) -> str:
    """ISO 8601 text, or a span from now, as a time of the wire."""
    return _moment(text, lambda ahead: utc_now() + ahead)


def moment_before(text: str) -> str:
    """ISO 8601 text, or a span until now, as a time of the wire."""
    return _moment(text, lambda back: utc_now() - back)


def _moment(text: str, shifted: Callable[[timedelta], datetime]) -> str:
    try:
        if re.match(r"\d{4}-", text):
            return iso(_local(text))
        return iso(shifted(parse_span(text)))
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a time (2026-12-01T18:00) nor a span (30m, 2h, 3d)."
        ) from None


def _local(text: str) -> datetime:
    # A person who writes no zone means their own, unlike a device on the wire.
    naive = datetime.fromisoformat(text)
    return parse_time(text) if naive.tzinfo else naive.astimezone()


def _completing(values: Callable[[Session], Iterable[str]]) -> Callable[..., list[str]]:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        session = Session.of(ctx)
        session.client.patience = COMPLETION_PATIENCE
        try:
            found = list(values(session))
        except DoorlockError:
            return []
        return [name for name in found if name.startswith(incomplete) and HARMLESS.fullmatch(name)]

    return complete


def _device_names(session: Session) -> Iterable[str]:
    return (str(device["name"]) for device in session.client.items("/api/device"))


def _user_names(session: Session) -> Iterable[str]:
    return (str(user["username"]) for user in session.client.get("/api/users").data)


def one_of(*values: str) -> Any:
    """A metavar, a check and completions for an option with few values."""

    def check(text: str) -> str:
        if text not in values:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(values)}.")
        return text

    return {
        "metavar": "|".join(values),
        "parser": check,
        "autocompletion": _completing(lambda _: values),
    }


complete_device = _completing(_device_names)
complete_user = _completing(_user_names)

DEVICE_HELP = "Name, ESP id or id of a device."
Device = Annotated[
    str, typer.Argument(metavar="DEVICE", help=DEVICE_HELP, autocompletion=complete_device)
]
MaybeDevice = Annotated[
    str | None, typer.Argument(metavar="DEVICE", help=DEVICE_HELP, autocompletion=complete_device)
]
Devices = Annotated[
    list[str],
    typer.Argument(metavar="DEVICE...", help=DEVICE_HELP, autocompletion=complete_device),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE", help="Only this one.", autocompletion=complete_device
    ),
]
User = Annotated[
    str, typer.Argument(metavar="USER", help="Username or id.", autocompletion=complete_user)
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="USER", help="Only this one's.", autocompletion=complete_user),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
Timeout = Annotated[
    timedelta | None, typer.Option(metavar="SPAN", parser=span, help="Wait no longer, as in 30s.")
]
DeviceKind = Annotated[
    str, typer.Option("--type", help="What it is.", **one_of(*(kind.value for kind in DeviceType)))
]

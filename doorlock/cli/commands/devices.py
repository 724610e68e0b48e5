"""Administering devices: register, rename, set, rm, qr, token rotate and revoke."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.inputs import Device, DeviceKind, Yes
from doorlock.cli.output import visible
from doorlock.cli.session import Session
from doorlock.cli.settings import parse_changes
from doorlock.client_wire import device_path
from doorlock.errors import BadInput

SECRET_FIELDS = ("deviceToken", "onboardingURL", "qrCode")
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the token there, for you alone, and do not print it."),
]
Room = Annotated[str | None, typer.Option(help="The room that it is in.")]
Location = Annotated[str | None, typer.Option(help="Where in the room, or the address.")]


def register(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    *,
    esp_id: Annotated[str, typer.Option(metavar="ID", help="The id that it was made with.")],
    kind: DeviceKind = "door-lock",
    room: Room = None,
    location: Location = None,
    token_file: TokenFile = None,
) -> None:
    """Register a device and get its token.

    The token is shown this once; on a terminal so is the code that pairs a device by its camera.
    With -q nothing but the token is printed.
    """
    session = Session.of(ctx)
    body = {"name": name, "espId": esp_id, "deviceType": kind, "room": room, "location": location}
    wanted = {key: value for key, value in body.items() if value is not None}
    with keeping(token_file) as keep:
        made = session.client.post("/api/device/register", wanted).data
        keep(made["deviceToken"])
    _tell_token(session, made, f"registered {made.get('name', name)}", token_file)


@contextmanager
def keeping(path: Path | None) -> Iterator[Any]:
    """A function that keeps the token in a new file, made before there is a token to lose."""
    if path is None:
        yield lambda token: None
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise BadInput(f"cannot make {path}: {error.strerror}", hint="name a new file") from None
    try:
        with os.fdopen(handle, "w") as file:
            yield lambda token: file.write(token + "\n")
    except BaseException:
        path.unlink()
        raise


def _tell_token(session: Session, made: dict[str, Any], what: str, token_file: Path | None) -> None:
    out = session.out
    if token_file is not None:
        kept = {key: value for key, value in made.items() if key not in SECRET_FIELDS}
        return out.emit(kept, lambda: [visible(f"{what}; its token is in {token_file}")])
    token = made["deviceToken"]
    if out.quiet and out.for_people:
        return out.write(visible(token))
    out.emit(made, lambda: [visible(what), visible(f"token: {token}")])
    if out.for_people:
        out.note("Keep the token: it is not shown again.")
        _draw_code(session, made.get("onboardingURL"))
    return None


def _draw_code(session: Session, url: object) -> None:
    if not url or not session.out.stdout.isatty():
        return
    import segno

    segno.make(str(url)).terminal(session.out.stdout, compact=True)


def rename(
    ctx: typer.Context,
    device: Device,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it from now on.")],
) -> None:
    """Give a device another name."""
    session = Session.of(ctx)
    changed = session.client.put(device_path(device), {"name": name}).data
    session.out.emit(changed, lambda: [visible(f"{device} is now {changed.get('name', name)}")])


def set_fields(
    ctx: typer.Context,
    device: Device,
    changes: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...")] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of the door's clock, as in Europe/Berlin.")
    ] = None,
) -> None:
    """Change what is known of a device, or how it behaves.

    Known of it: room, location, active (yes or no), timezone, by which the schedules of its
    shares go. Its own settings, which it is told of:
    auto-lock-timeout (1s to 60s), motion-sensitivity (0 to 100), capture-mode (on_motion,
    continuous or manual), notifications (yes or no).
    """
    session = Session.of(ctx)
    wanted = parse_changes(changes or [])
    if timezone is not None:
        wanted["timezone"] = timezone
    if not wanted:
        raise typer.BadParameter("Give KEY=VALUE, or --timezone.")
    changed = session.client.put(device_path(device), wanted).data
    session.out.emit(changed, lambda: [visible(_changed(device, changed))])


def _changed(device: str, changed: dict[str, Any]) -> str:
    command = changed.get("command")
    told = f"; telling the device: {command.get('status')}" if isinstance(command, dict) else ""
    return f"{changed.get('name', device)} changed{told}"


def rm(ctx: typer.Context, device: Device, yes: Yes = False) -> None:
    """Remove a device. Its token stops working at once; asks first."""
    session = Session.of(ctx)
    session.confirm(f"Remove {visible(device)}, with its shares?", yes=yes)
    removed = session.client.delete(device_path(device)).data
    session.out.emit(removed, lambda: [visible(f"removed {device}")])


def rotate(
    ctx: typer.Context, device: Device, token_file: TokenFile = None, yes: Yes = False
) -> None:
    """Give a device a new token. The old one stops working at once; asks first."""
    session = Session.of(ctx)
    question = f"Give {visible(device)} a new token and cut it off until it has it?"
    session.confirm(question, yes=yes)
    with keeping(token_file) as keep:
        made = session.client.post(device_path(device, "token", "rotate")).data
        keep(made["deviceToken"])
    _tell_token(session, made, f"{device} has a new token", token_file)


def revoke(ctx: typer.Context, device: Device, yes: Yes = False) -> None:
    """Make the token of a device useless and end its sessions; asks first."""
    session = Session.of(ctx)
    session.confirm(f"Revoke the token of {visible(device)} and cut it off?", yes=yes)
    answer = session.client.post(device_path(device, "token", "revoke")).data
    session.out.emit(answer, lambda: [visible(f"the token of {device} is revoked")])


def qr(
    ctx: typer.Context,
    device: Device,
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the picture there instead.")
    ] = None,
) -> None:
    """Show the code that pairs a device. It is good for fifteen minutes."""
    session = Session.of(ctx)
    code = session.client.get(device_path(device, "qr")).data
    if png is not None:
        _write_picture(png, str(code["qrCode"]))
        kept = {key: value for key, value in code.items() if key not in SECRET_FIELDS}
        return session.out.emit(kept, lambda: [visible(f"wrote {png}")])
    session.out.emit(code, lambda: [visible(code["onboardingURL"])])
    if session.out.for_people:
        _draw_code(session, code["onboardingURL"])
        session.out.note(f"Good until {views.moment(code.get('expiresAt'))}.")
    return None


def _write_picture(path: Path, data_url: str) -> None:
    from base64 import b64decode

    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(b64decode(data_url.partition(",")[2]))

"""Waiting and watching: wait, watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.failures import CliFailure
from doorlock.cli.inputs import Device, Timeout, complete_device, one_of
from doorlock.cli.live import print_live
from doorlock.cli.output import GAP, dump, visible
from doorlock.cli.session import Session
from doorlock.client_wire import device_path
from doorlock.errors import DaemonUnreachable

ETERNITY = 10 * 365 * 86400.0
STATES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "online": lambda device: bool(device.get("online")),
    "offline": lambda device: not device.get("online"),
    "locked": lambda device: device.get("lockState") == "locked",
    "unlocked": lambda device: device.get("lockState") == "unlocked",
}


def wait(
    ctx: typer.Context,
    device: Device,
    *,
    until: Annotated[str, typer.Option(help="What to wait for.", **one_of(*STATES))],
    timeout: Timeout = None,
) -> None:
    """Wait until a device is online, offline, locked or unlocked; exit 3 if --timeout passes."""
    session = Session.of(ctx)
    seconds = ETERNITY if timeout is None else timeout.total_seconds()
    try:
        found = _wait(session, device, until, time.monotonic() + seconds)
    except TimeoutError:
        said = f"{device} was not {until} within {views.span(seconds)}"
        raise CliFailure("timed_out", said, f"its state: doorlock show {device}") from None
    finally:
        session.out.end_progress()
    session.out.emit(found, lambda: [visible(f"{found.get('name', device)}: {until}")])


def _wait(session: Session, ref: str, until: str, deadline: float) -> dict[str, Any]:
    """The device once it is so: its state first, then every change after that."""
    answer = session.client.get(device_path(ref))
    device: dict[str, Any] = answer.data
    if STATES[until](device):
        return device
    session.out.progress(f"{visible(device.get('name'))}: waiting until it is {until}…")
    query = {"device": device["id"]}
    for event in session.client.follow(query, after=answer.position, deadline=deadline):
        try:
            device = session.client.get(device_path(str(device["id"]))).data
        except DaemonUnreachable:
            continue  # the stream comes back with a `hello`, and then the state is read again
        if STATES[until](device) or _says(event.data, until):
            return device
    raise AssertionError("the stream does not end")


def _says(event: dict[str, Any], until: str) -> bool:
    """Whether the event itself says so: a door may have moved on since."""
    payload = event.get("payload") or {}
    return event.get("eventType") == "status_changed" and until in {
        payload.get("lockState"),
        payload.get("status"),
    }


def watch(
    ctx: typer.Context,
    devices: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DEVICE...]", help="All if none.", autocompletion=complete_device),
    ] = None,
) -> None:
    """Show the state of the doors, then everything that happens, until ctrl-c."""
    session = Session.of(ctx)
    shown, position = _states(session, devices or [])
    for device in shown:
        session.out.write(_state_line(session, device))
    chosen = {str(device["id"]) for device in shown} if devices else ()
    print_live(session, {}, position, devices=chosen)


def _states(session: Session, refs: list[str]) -> tuple[list[dict[str, Any]], int | None]:
    """The devices, and the position of the first that was read: no change after it is missed."""
    if not refs:
        answer = session.client.get("/api/device", {"limit": 1000})
        return answer.data, answer.position
    answers = [session.client.get(device_path(ref)) for ref in refs]
    return [answer.data for answer in answers], answers[0].position


def _state_line(session: Session, device: dict[str, Any]) -> str:
    out = session.out
    if not out.for_people:
        return dump(device)
    status, door = views.status_cell(device), views.door_cell(device)
    words = [visible(device.get("name")).ljust(16)]
    words += [out.style(visible(cell.text).ljust(11), cell.style) for cell in (status, door)]
    return GAP.join(words)

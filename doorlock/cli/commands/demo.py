"""`doorlock demo`: a daemon, four simulated locks, one door unlocked, and what happened."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Any

import typer

from doorlock.cli import views
from doorlock.cli.live import print_live
from doorlock.cli.orders import Order, give
from doorlock.cli.output import Cell, visible
from doorlock.cli.session import Session
from doorlock.cli.stage import Stage
from doorlock.client_wire import device_path
from doorlock.errors import DaemonUnreachable, DoorlockError
from doorlock.protocol import CommandName

DOORS = {"front": "hall", "garden": "garden", "garage": "garage", "office": "upstairs"}


def demo(ctx: typer.Context) -> None:
    """Start a daemon with four simulated locks, unlock one and show what happened.

    Everything is in a throw-away folder and is gone afterwards. On a terminal it goes on showing
    what happens until ctrl-c; without one it ends by itself.
    """
    session = Session.of(ctx)
    with Stage() as stage:
        _start_daemon(session, stage)
        version = stage.until("the daemon", lambda: _answer(session))
        _start_locks(session, stage, version)
        _show_doors(session)
        before = session.client.get("/api/logs", {"limit": 1, "order": "desc"}).position
        session.out.note("\n$ doorlock unlock front --for 1s")
        give(session, Order(CommandName.UNLOCK_DOOR, {"duration": 1000}), ["front"])
        position = _show_trail(session, before)
        if session.out.stdout.isatty() and not session.no_input:
            _stay(session, position)


def _start_daemon(session: Session, stage: Stage) -> None:
    session.socket = str(stage.folder / "d.sock")
    session.as_user = None
    config = stage.folder / "doorlock.toml"
    # A file of its own, so that a configuration of this machine is not read.
    config.write_text(f'[listen]\nport = 0\n\n[mqtt]\nembedded = "auto"\nport = {_free_port()}\n')
    session.out.note(f"Starting a daemon in {stage.folder}")
    state = str(stage.folder / "state")
    where = ["--config", str(config), "--socket", session.socket, "--state-dir", state]
    stage.start("daemon", "doorlock.daemon", where)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def _answer(session: Session) -> dict[str, Any] | None:
    with contextlib.suppress(DaemonUnreachable):
        version: dict[str, Any] = session.client.get("/api/version").data
        return version
    return None


def _start_locks(session: Session, stage: Stage, version: dict[str, Any]) -> None:
    both = bool(version.get("mqttUrl"))
    means = "WebSocket and MQTT" if both else "WebSocket (no Mosquitto here, so no MQTT)"
    session.out.note(f"Registering {len(DOORS)} simulated locks, over {means}")
    tokens = stage.folder / "tokens.json"
    with os.fdopen(os.open(tokens, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(_register(session), file)
    where = ["--url", str(version["url"]), "--transport", "both" if both else "websocket"]
    where += ["--mqtt", str(version["mqttUrl"])] if both else []
    stage.start("locks", "doorlock.cli.app", ["simulate", "--tokens", str(tokens), *where])
    stage.until("the locks", lambda: _all_connected(session, 2 if both else 1))


def _register(session: Session) -> dict[str, str]:
    """The doors' tokens by their ids."""
    tokens = {}
    for number, (name, room) in enumerate(DOORS.items(), 1):
        body = {
            "name": name,
            "espId": f"DEMO-{number:03d}",
            "deviceType": "door-lock",
            "room": room,
        }
        made = session.client.post("/api/device/register", body).data
        tokens[made["id"]] = made["deviceToken"]
    return tokens


def _all_connected(session: Session, transports: int) -> bool | None:
    devices = session.client.get("/api/device").data
    ready = all(len(device.get("connections") or []) >= transports for device in devices)
    return True if ready else None


def _show_doors(session: Session) -> None:
    if not session.out.for_people:
        return
    headers = ("NAME", "STATUS", "DOOR", "VIA", "ROOM")
    rows: list[list[str | Cell]] = [
        [
            views.text(device.get("name")),
            views.status_cell(device),
            views.door_cell(device),
            views.connections(device),
            views.text(device.get("room")),
        ]
        for device in session.client.get("/api/device").data
    ]
    session.out.note("")
    for line in session.out.table(headers, rows):
        session.out.write(line)


def _show_trail(session: Session, before: int | None) -> int | None:
    """Print what the log holds of the unlock; the position after it."""
    front = session.client.get(device_path("front")).data["id"]
    answer = session.client.get("/api/logs", {"device": front, "after": before, "order": "asc"})
    rows = [views.event_row(event) for event in answer.data]
    if session.out.for_people:
        session.out.note("\nWhat the event log says of it:")
        for line in session.out.table(views.EVENT_HEADERS, rows):
            session.out.write(line)
    position: int | None = answer.position
    return position


def _stay(session: Session, position: int | None) -> None:
    command = f"doorlock --socket {session.socket} unlock garden"
    with contextlib.suppress(KeyboardInterrupt, DoorlockError):
        session.out.note(f"\nLive from here until ctrl-c. In another terminal: {visible(command)}")
        print_live(session, {}, position)

"""Looking at devices: ls, show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from doorlock.cli import views
from doorlock.cli.inputs import Device, one_of
from doorlock.cli.output import Output
from doorlock.cli.session import Session
from doorlock.client_wire import device_path

HEADERS = ("NAME", "STATUS", "DOOR", "BATTERY", "ROOM", "SEEN", "ESP ID")
Status = Annotated[
    str | None,
    typer.Option(help="Only those that are so.", **one_of("online", "offline", "maintenance")),
]


def ls(ctx: typer.Context, status: Status = None) -> None:
    """List the devices that you may see, with their state and where that is known from."""
    session = Session.of(ctx)
    devices = list(session.client.items("/api/device", {"status": status}))
    session.out.emit(devices, lambda: _table(session.out, devices))


def _table(out: Output, devices: list[dict[str, Any]]) -> Iterable[str]:
    if not devices:
        out.note("No devices. Register one with: doorlock register NAME --esp-id ID")
        return []
    return out.table(HEADERS, [_row(device) for device in devices])


def _row(device: dict[str, Any]) -> list[Any]:
    return [
        views.text(device.get("name")),
        views.status_cell(device),
        views.door_cell(device),
        views.battery(device),
        views.text(device.get("room")),
        views.age(device.get("lastSeen")),
        views.text(device.get("espId")),
    ]


def show(ctx: typer.Context, device: Device) -> None:
    """Show a device: its state and where that is known from, its settings, its last commands."""
    session = Session.of(ctx)
    shown = session.client.get(device_path(device)).data
    session.out.emit(shown, lambda: _record(session.out, shown))


def _record(out: Output, device: dict[str, Any]) -> Iterable[str]:
    yield from out.record(_fields(device))
    if commands := device.get("lastCommands"):
        yield ""
        yield from out.table(views.COMMAND_HEADERS, [views.command_row(each) for each in commands])


def _fields(device: dict[str, Any]) -> list[Any]:
    settings = device.get("settings") or {}
    owner = device.get("owner") or {}
    return [
        ("name", views.text(device.get("name"))),
        ("id", views.text(device.get("id"))),
        ("ESP id", views.text(device.get("espId"))),
        ("type", views.text(device.get("deviceType"))),
        ("status", views.status_cell(device)),
        ("door", views.door_cell(device)),
        ("connected via", views.connections(device)),
        ("last seen", views.age(device.get("lastSeen"))),
        ("battery", views.battery(device)),
        ("firmware", views.text(device.get("firmwareVersion"))),
        ("room", views.text(device.get("room"))),
        ("location", views.text(device.get("location"))),
        ("activated", views.text(device.get("activated"))),
        ("active", views.text(device.get("isActive"))),
        ("owner", views.text(owner.get("username"))),
        ("your permission", views.text((device.get("userPermissions") or {}).get("permission"))),
        ("settings", " ".join(f"{k}={views.text(v)}" for k, v in settings.items()) or "-"),
    ]

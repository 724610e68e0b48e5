"""What is done to doors: lock, unlock, snapshot, restart."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from doorlock.cli.inputs import Devices, Timeout, Yes, one_of, span
from doorlock.cli.orders import Order, give
from doorlock.cli.session import Session
from doorlock.protocol import CommandName

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the device confirms.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check that it may be done; do nothing.")]
Duration = Annotated[
    timedelta | None,
    typer.Option("--for", metavar="SPAN", parser=span, help="Locks again after this: 1s to 30s."),
]
Quality = Annotated[str, typer.Option(help="Of the picture.", **one_of("low", "medium", "high"))]


def unlock(
    ctx: typer.Context,
    devices: Devices,
    *,
    duration: Duration = None,
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Unlock doors. Each locks itself again after --for.

    Succeeds when the device has confirmed, which many do only once it has locked again. It never
    asks, so -y changes nothing.
    """
    payload = {"duration": _milliseconds(duration)} if duration else {}
    order = Order(CommandName.UNLOCK_DOOR, payload, wait, _seconds(timeout), dry_run)
    give(Session.of(ctx), order, devices)


def lock(
    ctx: typer.Context,
    devices: Devices,
    *,
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Lock doors. It never asks, so -y changes nothing."""
    order = Order(CommandName.LOCK_DOOR, {}, wait, _seconds(timeout), dry_run)
    give(Session.of(ctx), order, devices)


def snapshot(
    ctx: typer.Context,
    devices: Devices,
    *,
    quality: Quality = "high",
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Have cameras take a picture. It never asks, so -y changes nothing."""
    payload = {"quality": quality}
    order = Order(CommandName.REQUEST_SNAPSHOT, payload, wait, _seconds(timeout), dry_run)
    give(Session.of(ctx), order, devices)


def restart(
    ctx: typer.Context,
    devices: Devices,
    *,
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Restart devices. It never asks, so -y changes nothing."""
    order = Order(CommandName.RESTART_DEVICE, {}, wait, _seconds(timeout), dry_run)
    give(Session.of(ctx), order, devices)


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def _seconds(timeout: timedelta | None) -> float | None:
    return None if timeout is None else timeout.total_seconds()

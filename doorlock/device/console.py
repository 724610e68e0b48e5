"""What running from a terminal needs: log lines, signals, TLS trust."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from doorlock.device.runner import Device
from doorlock.errors import BadInput
from doorlock.protocol import Transport


def log_to_stderr() -> None:
    """Send the device's log lines to stderr, unless the program has seen to it already."""
    log = logging.getLogger("doorlock.device")
    if not log.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def run_until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main` with an event that SIGTERM sets. Ctrl-c raises KeyboardInterrupt at the end."""

    async def body() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await main(stop)

    asyncio.run(body())


def trust(ca: Path | None) -> ssl.SSLContext | None:
    """A TLS context that trusts `ca` beside nothing else; None for the system's trust."""
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"{ca} is not a usable CA certificate") from error


def announce(devices: Sequence[Device], say: Callable[[str], None]) -> list[asyncio.Task[None]]:
    """Say once for each device and transport that it is connected."""

    async def one(device: Device, transport: Transport) -> None:
        await device.connected(transport, seconds=None)
        say(f"{device.spec.name or device.spec.device_id}\t{device.spec.device_id}\t{transport}")

    return [
        asyncio.ensure_future(one(device, transport))
        for device in devices
        for transport in device.transports
    ]

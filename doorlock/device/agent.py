"""What `doorlock device run` does: one real lock on the pins of a Raspberry Pi."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doorlock.device.console import announce, log_to_stderr, run_until_stopped, trust
from doorlock.device.hardware import GpioBolt, Hardware, SimulatedBolt
from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from doorlock.device.tokens import read_token
from doorlock.errors import BadInput


@dataclass(frozen=True, slots=True)
class Wiring:
    """How the lock is connected; `mock` simulates it."""

    relay_pin: int | None = None
    sensor_pin: int | None = None
    active_low: bool = False
    mock: bool = False


def open_hardware(wiring: Wiring) -> Hardware:
    """Raises BadInput without a relay, BadConfig where the pins cannot be used."""
    if wiring.mock:
        return SimulatedBolt()
    if wiring.relay_pin is None:
        raise BadInput("which pin is the relay on?", hint="Pass --relay-pin N, or --mock.")
    return GpioBolt(wiring.relay_pin, wiring.sensor_pin, active_high=not wiring.active_low)


def run_agent(
    *,
    device_id: str,
    esp_id: str,
    token_file: Path | None,
    state_dir: Path,
    url: str | None,
    mqtt: str | None,
    ca: Path | None,
    wiring: Wiring,
    say: Callable[[str], None],
) -> None:
    """Run until SIGTERM or ctrl-c. Raises DoorlockError for anything that a person can mend."""
    if url is None and mqtt is None:
        raise BadInput("where is the daemon?", hint="Pass --url, --mqtt or both.")
    spec = DeviceSpec(
        device_id=device_id,
        token=read_token(token_file),
        state_dir=state_dir,
        url=url,
        mqtt_url=mqtt,
        esp_id=esp_id,
        tls=trust(ca),
        persistent_session=True,
    )
    log_to_stderr()
    if wiring.mock:
        say("no pins are used: the bolt is simulated (--mock)")
    run_until_stopped(lambda stop: _run(spec, open_hardware(wiring), say, stop))


async def _run(
    spec: DeviceSpec, hardware: Hardware, say: Callable[[str], None], stop: asyncio.Event
) -> None:
    async with Device(spec, hardware) as device:
        announcing = announce([device], say)
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(device.broken())]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*announcing, *waits):
                task.cancel()

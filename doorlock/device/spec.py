"""What a device needs to run."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from doorlock.device.backoff import Backoff
from doorlock.device.faults import FaultSpec
from doorlock.protocol import DeviceType
from doorlock.times import utc_now


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device: at least one of `url` (Socket.IO) and `mqtt_url`. Times are in seconds.

    Its commands, settings and movements are kept in `state_dir`, which must be its own.
    """

    device_id: str
    token: str = field(repr=False)
    state_dir: Path
    url: str | None = None
    mqtt_url: str | None = None
    name: str = ""
    esp_id: str = "ESP32-REF"
    device_type: DeviceType = DeviceType.DOOR_LOCK
    heartbeat: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)
    faults: tuple[FaultSpec, ...] = ()
    seed: int | None = None
    boot_seconds: float = 1.0
    persistent_session: bool = False
    mqtt_keepalive: int = 30
    confirm_seconds: float = 2.0
    tls: ssl.SSLContext | None = None
    clock: Callable[[], datetime] = utc_now

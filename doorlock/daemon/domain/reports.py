"""What a device can say, checked and typed; WIRE section 2, "Device to daemon".

Field names are the wire's by alias. Unknown fields are dropped. `claimed_at` is the time that the
device gives: kept, never believed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from doorlock.daemon.domain.commands import AckStatus
from doorlock.protocol import DeviceType, LockValue
from doorlock.times import parse_time


def _claimed(value: object) -> datetime | None:
    return None if value is None else parse_time(value)


def _metadata(value: object) -> object:
    return {} if value is None else value


Claimed = Annotated[datetime | None, BeforeValidator(_claimed)]
Percent = Annotated[float, Field(ge=0, le=100)]
Text = Annotated[str, Field(max_length=2000)]
Label = Annotated[str, Field(min_length=1, max_length=200)]
Metadata = Annotated[dict[str, Any], BeforeValidator(_metadata)]
TriggeredBy = Annotated[str, Field(max_length=40)]


class Report(BaseModel):
    """What every message has: whom it claims to be from, and when it claims to have happened."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", frozen=True, populate_by_name=True
    )
    event: ClassVar[str]

    device_id: str | None = None
    claimed_at: Claimed = Field(default=None, alias="timestamp")
    metadata: Metadata = Field(default_factory=dict)


class Registered(Report):
    event = "device_register"
    esp_id: Label | None = None
    device_type: DeviceType | None = None
    firmware_version: Annotated[str, Field(max_length=100)] | None = None


class Heartbeat(Report):
    event = "device_heartbeat"
    battery_level: Percent | None = None
    status: Literal["online", "offline", "maintenance"] = "online"


class DoorStatus(Report):
    event = "door_status_changed"
    status: LockValue
    triggered_by: TriggeredBy | None = None
    battery_level: Percent | None = None


class SnapshotReady(Report):
    event = "snapshot_ready"
    image_url: Annotated[str, Field(max_length=2000)]
    triggered_by: TriggeredBy | None = None


class Motion(Report):
    event = "motion_detected"
    confidence: Percent | None = None


class LowBattery(Report):
    event = "low_battery"
    battery_level: Percent


class DeviceFault(Report):
    event = "error_occurred"
    error_code: Annotated[str | int, Field()] | None = None
    error_message: Text | None = None


class CommandAck(Report):
    event = "command_ack"
    command_id: Label
    status: AckStatus
    error_message: Text | None = None


class BellPressed(Report):
    event = "bell-pressed"
    pressed_by: Annotated[str, Field(max_length=200)] | None = None


class CameraOnline(Report):
    event = "camera-online"


class Snapshot(Report):
    event = "snapshot"
    image: str
    quality: str | int | None = None


class Frame(Report):
    event = "frame"
    image: str
    fps: float | None = None


REPORTS: tuple[type[Report], ...] = (
    Registered,
    Heartbeat,
    DoorStatus,
    SnapshotReady,
    Motion,
    LowBattery,
    DeviceFault,
    CommandAck,
    BellPressed,
    CameraOnline,
    Snapshot,
    Frame,
)
"""Every message a device can send, once."""

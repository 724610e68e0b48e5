"""What the device's pure core asks of the world, in the order in which it has to happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from doorlock.device.state import DeviceState, Record
from doorlock.protocol import CommandStatus, LockValue, Transport


class Timer(StrEnum):
    """The device's two clocks; starting one again replaces it."""

    TRAVEL = "travel"
    RELOCK = "relock"


@dataclass(frozen=True, slots=True)
class SendAck:
    """Tell the daemon how a command fares, over `via` if that is live."""

    command_id: str
    status: CommandStatus
    via: Transport
    at: datetime
    error: str | None = None

    @property
    def is_outcome(self) -> bool:
        return self.status in (CommandStatus.EXECUTED, CommandStatus.FAILED)


@dataclass(frozen=True, slots=True)
class SendEvent:
    """Report something over any one link; kept while there is none."""

    event: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SendTo:
    """Say something about one link over that very link, or not at all."""

    via: Transport
    event: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Remember:
    """Write the record so that it outlives a power cut."""

    record: Record


@dataclass(frozen=True, slots=True)
class Begin:
    """Call `begin` once everything before this is done, or `refuse` when that failed."""

    command_id: str


@dataclass(frozen=True, slots=True)
class MoveBolt:
    """Switch the bolt; `command_id` names the command that asked for it, if one did."""

    target: LockValue
    command_id: str | None


@dataclass(frozen=True, slots=True)
class StartTimer:
    timer: Timer
    seconds: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    timer: Timer


@dataclass(frozen=True, slots=True)
class SaveState:
    """Put the state on the disk, and answer with `saved`."""

    command_id: str
    state: DeviceState


@dataclass(frozen=True, slots=True)
class Download:
    """Fetch firmware, compare its SHA-256, and answer with `downloaded`."""

    command_id: str
    url: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Start from the journal again."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """A message that gets no answer; the reason is for the log."""

    reason: str


Action = (
    SendAck
    | SendEvent
    | SendTo
    | Remember
    | Begin
    | MoveBolt
    | StartTimer
    | CancelTimer
    | SaveState
    | Download
    | Restart
    | Ignore
)

"""The device as a pure state machine: what happens goes in, what to do comes out.

No I/O, no asyncio, no clock of its own. Each method returns the actions in the order in which they
have to be carried out; a test plays a conversation by calling them.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Concatenate, ParamSpec

from doorlock.device.actions import (
    Action,
    Begin,
    Download,
    Ignore,
    Remember,
    Restart,
    SaveState,
    SendAck,
    SendEvent,
    SendTo,
    Timer,
)
from doorlock.device.bolt import Bolt, BoltStep, Sensed, Settled
from doorlock.device.image import grey_jpeg
from doorlock.device.rules import (
    BOLT_COMMANDS,
    EXPIRED,
    Command,
    Refused,
    command_id_of,
    read_command,
)
from doorlock.device.state import DeviceState, Memory, Record, Stage
from doorlock.protocol import CommandName, CommandStatus, DeviceType, LockValue, Transport
from doorlock.times import iso

INTERRUPTED = "the device restarted in the middle of it"
LOW_BATTERY = 20
_PICTURE_SIZES = {"low": (160, 120), "medium": (320, 240), "high": (640, 480)}

_P = ParamSpec("_P")


def _listed(
    method: Callable[Concatenate[DeviceCore, _P], Iterator[Action]],
) -> Callable[Concatenate[DeviceCore, _P], list[Action]]:
    """Run the generator to its end, so that the state has changed when the caller has the list."""

    def call(self: DeviceCore, /, *args: _P.args, **kwargs: _P.kwargs) -> list[Action]:
        return list(method(self, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device says that it is."""

    device_id: str
    esp_id: str
    device_type: DeviceType = DeviceType.DOOR_LOCK


class DeviceCore:
    """One device between two reboots. `now` is the device's own clock, aware, in UTC."""

    def __init__(self, identity: Identity, state: DeviceState, memory: Memory, bolt: Bolt) -> None:
        self._identity = identity
        self._memory = memory
        self._bolt = bolt
        self._admitted: dict[str, Command] = {}
        self._live: set[Transport] = set()
        self._battery = 100
        self.state = state

    @property
    def lock_value(self) -> LockValue | None:
        """What the device last said of its bolt; None without a sensor."""
        return self._bolt.shown

    def outcome(self, command_id: str) -> Record | None:
        return self._memory.get(command_id)

    @_listed
    def boot(self, seen: LockValue | None, now: datetime) -> Iterator[Action]:
        """Lock, and own up to what the last run left open."""
        unfinished = [record for record in self._memory if record.stage is Stage.STARTED]
        unheard = [r for r in self._memory if r not in unfinished and not r.delivered]
        moved = any(record.command in BOLT_COMMANDS for record in unfinished)
        yield from self._steps(self._bolt.boot(seen, now, interrupted=moved), now)
        for record in unfinished:
            restarted = record.command == CommandName.RESTART_DEVICE
            yield from self._settle(record, None if restarted else INTERRUPTED, now)
        for record in unheard:
            yield from self._repeat(record, record.via, now)

    @_listed
    def command(self, data: Mapping[str, Any], via: Transport, now: datetime) -> Iterator[Action]:
        """A command arrived. It acts only after `begin`, so that the journal is written first."""
        command_id = command_id_of(data)
        if command_id is None:
            yield Ignore("a command without a usable commandId")
        elif data.get("deviceId", self._identity.device_id) != self._identity.device_id:
            yield Ignore("a command for another device")
        elif known := self._memory.get(command_id):
            yield from self._repeat(self._memory.put(replace(known, via=via)), via, now)
        elif not self._memory.make_room(now):
            yield Ignore("a command beyond what the device can remember")
        else:
            yield from self._admit(command_id, data, via, now)

    def _admit(
        self, command_id: str, data: Mapping[str, Any], via: Transport, now: datetime
    ) -> Iterator[Action]:
        try:
            command = read_command(data, now)
        except Refused as refusal:
            name = str(data.get("command"))[:32]
            record = Record(command_id, name, Stage.STARTED, via)
            yield from self._settle(record, str(refusal), now)
            return
        self._admitted[command_id] = command
        record = Record(command_id, command.name, Stage.STARTED, via, command.expires_at)
        yield SendAck(command_id, CommandStatus.RECEIVED, via, now)
        yield Remember(self._memory.put(record))
        yield Begin(command_id)

    @_listed
    def begin(self, command_id: str, now: datetime) -> Iterator[Action]:
        """The journal holds the command: carry it out, unless it became too late meanwhile."""
        command = self._admitted.pop(command_id)
        record = self._memory.get(command_id)
        assert record is not None
        if command.is_late(now):
            yield from self._settle(record, EXPIRED, now)
            return
        yield SendAck(command_id, CommandStatus.EXECUTING, record.via, now)
        yield from self._carry_out(command, record, now)

    @_listed
    def refuse(self, command_id: str, reason: str, now: datetime) -> Iterator[Action]:
        """The command could not be written down, so it does not happen."""
        del self._admitted[command_id]
        yield from self._end(command_id, reason, now)

    def _carry_out(self, command: Command, record: Record, now: datetime) -> Iterator[Action]:
        arguments = command.arguments
        match command.name:
            case CommandName.UNLOCK_DOOR:
                hold = arguments["seconds"]
                yield from self._steps(self._bolt.unlock(record.command_id, hold, now), now)
            case CommandName.LOCK_DOOR:
                yield from self._steps(self._bolt.lock(record.command_id, now), now)
            case CommandName.REQUEST_SNAPSHOT:
                yield self._snapshot(arguments["quality"], record.command_id, now)
                yield from self._settle(record, None, now)
            case CommandName.UPDATE_SETTINGS:
                changed = replace(self.state.settings, **arguments)
                yield SaveState(record.command_id, replace(self.state, settings=changed))
            case CommandName.RESTART_DEVICE:
                yield Restart()
            case CommandName.FIRMWARE_UPDATE:
                self._admitted[record.command_id] = command
                yield Download(record.command_id, arguments["url"], arguments["checksum"])

    @_listed
    def downloaded(self, command_id: str, error: str | None, now: datetime) -> Iterator[Action]:
        """The firmware is here and its checksum fits, or `error` says why not."""
        command = self._admitted.pop(command_id)
        if error is None:
            version = command.arguments["version"]
            yield SaveState(command_id, replace(self.state, firmware_version=version))
        else:
            yield from self._end(command_id, error, now)

    @_listed
    def saved(
        self, command_id: str, state: DeviceState, error: str | None, now: datetime
    ) -> Iterator[Action]:
        """The new state is on the disk, or `error` says why not; then the old one stays."""
        is_new_version = state.firmware_version != self.state.firmware_version
        if error is None:
            self.state = state
        yield from self._end(command_id, error, now)
        for via in sorted(self._live) if is_new_version and error is None else ():
            yield SendTo(via, "device_register", self._registration())

    @_listed
    def timer(self, timer: Timer, now: datetime) -> Iterator[Action]:
        yield from self._steps(self._bolt.timer(timer, now), now)

    @_listed
    def sensor(self, value: LockValue, now: datetime) -> Iterator[Action]:
        timeout = self.state.settings.auto_lock_timeout
        auto_lock = None if timeout is None else timeout / 1000
        yield from self._steps(self._bolt.sensor(value, now, auto_lock), now)

    @_listed
    def connected(self, via: Transport, now: datetime) -> Iterator[Action]:
        """A link is live. The first of them also hears how the door stands."""
        first = not self._live
        self._live.add(via)
        yield SendTo(via, "device_register", self._registration())
        yield from self._heartbeat(via)
        if first and (shown := self._bolt.shown) is not None:
            yield self._door(shown, "auto", now)

    def disconnected(self, via: Transport) -> None:
        self._live.discard(via)

    @_listed
    def heartbeat(self, via: Transport) -> Iterator[Action]:
        yield from self._heartbeat(via)

    @_listed
    def bell(self, now: datetime) -> Iterator[Action]:
        fields = {"pressedBy": "visitor", "metadata": {"location": "front"}}
        yield self._event("bell-pressed", now, **fields)

    @_listed
    def motion(self, confidence: int, now: datetime) -> Iterator[Action]:
        """Reported when it is as sure as `motionSensitivity` asks for; at 0 never."""
        sensitivity = self.state.settings.motion_sensitivity
        if sensitivity and confidence >= 100 - sensitivity:
            yield self._event("motion_detected", now, confidence=confidence, metadata={})

    @_listed
    def battery(self, level: int, now: datetime) -> Iterator[Action]:
        """Reported once each time that it falls to a low level."""
        fell = level <= LOW_BATTERY < self._battery
        self._battery = level
        if fell:
            yield self._event("low_battery", now, batteryLevel=level)

    @_listed
    def report(self, event: str, fields: Mapping[str, Any], now: datetime) -> Iterator[Action]:
        """Any other event of the wire contract, with `deviceId` and `timestamp` filled in."""
        yield self._event(event, now, **fields)

    def _steps(self, steps: Iterator[BoltStep], now: datetime) -> Iterator[Action]:
        for step in steps:
            if isinstance(step, Settled):
                yield from self._end(step.command_id, step.error, now)
            elif isinstance(step, Sensed):
                yield from self._sensed(step, now)
            else:
                yield step

    def _sensed(self, step: Sensed, now: datetime) -> Iterator[Action]:
        yield self._door(step.value, step.triggered_by, now)
        if step.value is LockValue.JAMMED:
            message = "the bolt did not reach its place"
            yield self._event(
                "error_occurred", now, errorCode="bolt_jammed", errorMessage=message, metadata={}
            )

    def _end(self, command_id: str, error: str | None, now: datetime) -> Iterator[Action]:
        if record := self._memory.get(command_id):
            yield from self._settle(record, error, now)

    def _settle(self, record: Record, error: str | None, now: datetime) -> Iterator[Action]:
        done = self._memory.put(record.finished(error))
        yield Remember(done)
        yield from self._repeat(done, done.via, now)

    def _repeat(self, record: Record, via: Transport, now: datetime) -> Iterator[Action]:
        yield SendAck(record.command_id, record.status, via, now, record.error)

    def _event(self, name: str, now: datetime, /, **fields: Any) -> SendEvent:
        return SendEvent(
            name, {"deviceId": self._identity.device_id, "timestamp": iso(now), **fields}
        )

    def _door(self, value: LockValue, triggered_by: str, now: datetime) -> SendEvent:
        return self._event(
            "door_status_changed",
            now,
            status=value.value,
            triggeredBy=triggered_by,
            batteryLevel=self._battery,
        )

    def _snapshot(self, quality: str, command_id: str, now: datetime) -> SendEvent:
        width, height = _PICTURE_SIZES[quality]
        picture = base64.b64encode(grey_jpeg(width, height)).decode()
        size = {"width": width, "height": height, "format": "jpeg", "motion": False}
        about = {**size, "commandId": command_id}
        return self._event("snapshot", now, image=picture, quality=quality, metadata=about)

    def _heartbeat(self, via: Transport) -> Iterator[Action]:
        data = {
            "deviceId": self._identity.device_id,
            "batteryLevel": self._battery,
            "status": "online",
            "metadata": {"transport": via.value},
        }
        yield SendTo(via, "device_heartbeat", data)

    def _registration(self) -> dict[str, Any]:
        return {
            "deviceId": self._identity.device_id,
            "espId": self._identity.esp_id,
            "deviceType": self._identity.device_type.value,
            "firmwareVersion": self.state.firmware_version,
            "metadata": {"chipModel": "doorlock-reference"},
        }

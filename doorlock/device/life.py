"""A device from one start to the next power cut: carries out what the pure core decides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from doorlock.device import actions as do
from doorlock.device.bolt import Bolt
from doorlock.device.core import DeviceCore, Identity
from doorlock.device.faults import Fault, Faults
from doorlock.device.firmware import check_firmware
from doorlock.device.hardware import Hardware, SimulatedBolt
from doorlock.device.journal import DeviceFiles
from doorlock.device.outbox import Outgoing
from doorlock.device.state import DeviceState, Record
from doorlock.protocol import LockValue, Transport
from doorlock.times import iso

log = logging.getLogger("doorlock.device")

NOT_WRITTEN = "the device could not write it down"
_OPPOSITE = {"locked": "unlocked", "unlocked": "locked"}
_NOBODY = "f" * 24


class Surroundings(Protocol):
    """What a life needs of the device that it belongs to."""

    def now(self) -> datetime: ...
    def say(self, item: Outgoing) -> None: ...
    def say_over(self, via: Transport, event: str, data: Mapping[str, Any]) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def restart(self) -> None: ...
    def reboot(self) -> None: ...
    def changed(self) -> None: ...


class Life:
    """One run of the core. After `end` nothing that it began goes on."""

    def __init__(
        self,
        identity: Identity,
        files: DeviceFiles,
        hardware: Hardware,
        faults: Faults,
        around: Surroundings,
    ) -> None:
        self._identity = identity
        self._files = files
        self._hardware = hardware
        self._faults = faults
        self._around = around
        self.alive = True
        self._timers: dict[do.Timer, asyncio.TimerHandle] = {}
        self._late: list[asyncio.TimerHandle] = []
        self._unwritten: set[str] = set()
        state, memory = files.load()
        bolt = Bolt(has_sensor=hardware.has_sensor, travel_limit=hardware.travel_limit)
        self.core = DeviceCore(identity, state, memory, bolt)

    def begin(self) -> None:
        self._hardware.listen(self._sensed)
        self.perform(self.core.boot(self._hardware.read(), self._around.now()))

    def end(self) -> None:
        """The power is gone."""
        self.alive = False
        for handle in (*self._timers.values(), *self._late):
            handle.cancel()

    def command(self, data: Mapping[str, Any], via: Transport) -> None:
        command_id = data.get("commandId")
        if isinstance(command_id, str) and Fault.SILENT in self._faults.of(command_id):
            return
        self.perform(self.core.command(data, via, self._around.now()))

    def perform(self, actions: list[do.Action]) -> None:
        """Carry the actions out in their order. A power cut in between takes the rest with it."""
        for action in actions:
            if not self.alive:
                break
            self._act(action)
        self._around.changed()

    def _act(self, action: do.Action) -> None:
        match action:
            case do.SendAck():
                self._acknowledge(action)
            case do.SendEvent(event, data):
                self._around.say(Outgoing(event, self._as_told(event, data)))
            case do.SendTo(via, event, data):
                self._around.say_over(via, event, data)
            case do.Remember(record):
                self._remember(record)
            case do.Begin(command_id):
                self._carry_out(command_id)
            case do.MoveBolt(target, command_id):
                self._move(target, command_id)
            case do.StartTimer(timer, seconds):
                self._cancel(timer)
                loop = asyncio.get_running_loop()
                self._timers[timer] = loop.call_later(seconds, self._expired, timer)
            case do.CancelTimer(timer):
                self._cancel(timer)
            case do.SaveState(command_id, state):
                self._save(command_id, state)
            case do.Download():
                self._around.spawn(self._download(action))
            case do.Restart():
                self._around.spawn(self._around.restart())
            case do.Ignore(reason):
                log.warning("%s: ignored %s", self._identity.device_id, reason)

    def _remember(self, record: Record) -> None:
        try:
            self._files.remember(record)
        except OSError as error:
            log.error("%s: the journal cannot be written: %s", self._identity.device_id, error)
            self._unwritten.add(record.command_id)

    def _carry_out(self, command_id: str) -> None:
        if command_id in self._unwritten:
            self.perform(self.core.refuse(command_id, NOT_WRITTEN, self._around.now()))
        else:
            self.perform(self.core.begin(command_id, self._around.now()))

    def _move(self, target: LockValue, command_id: str | None) -> None:
        faults = self._faults.of(command_id)
        if isinstance(self._hardware, SimulatedBolt):
            self._hardware.jammed = Fault.JAM in faults
            self._hardware.slowness = faults.get(Fault.SLOW, 0.0)
        self._files.actuated(command_id, target)
        self._hardware.drive(target)
        if target is LockValue.UNLOCKED and Fault.REBOOT in faults:
            self._around.reboot()

    def _acknowledge(self, ack: do.SendAck) -> None:
        faults = self._faults.of(ack.command_id)
        outcome_of = ack.command_id if ack.is_outcome else None
        if Fault.LOST_ACK in faults:
            self._files.delivered(ack.command_id)
            return
        data = self._ack_data(ack, _NOBODY if Fault.WRONG_DEVICE_ID in faults else None)
        for _ in range(2 if Fault.ACK_TWICE in faults else 1):
            item = Outgoing("command_ack", data, ack.via, outcome_of, outcome_of is None)
            if seconds := faults.get(Fault.LATE_ACK):
                loop = asyncio.get_running_loop()
                self._late = [handle for handle in self._late if handle.when() > loop.time()]
                self._late.append(loop.call_later(seconds, self._around.say, item))
            else:
                self._around.say(item)

    def _ack_data(self, ack: do.SendAck, stranger: str | None) -> dict[str, Any]:
        data = {
            "commandId": ack.command_id,
            "deviceId": stranger or self._identity.device_id,
            "status": ack.status.value,
            "timestamp": iso(ack.at),
        }
        return data if ack.error is None else {**data, "errorMessage": ack.error}

    def _as_told(self, event: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the sensor is made to say, where a fault has it disagree with the bolt."""
        status = data.get("status")
        if event != "door_status_changed" or status not in _OPPOSITE:
            return data
        return {**data, "status": _OPPOSITE[status]} if self._faults.sensor_disagrees() else data

    def _save(self, command_id: str, state: DeviceState) -> None:
        error = None
        try:
            self._files.save_state(state)
        except OSError:
            error = NOT_WRITTEN
        self.perform(self.core.saved(command_id, state, error, self._around.now()))

    async def _download(self, wanted: do.Download) -> None:
        error = await check_firmware(wanted.url, wanted.checksum)
        if self.alive:
            self.perform(self.core.downloaded(wanted.command_id, error, self._around.now()))

    def _sensed(self, value: LockValue) -> None:
        if self.alive:
            self.perform(self.core.sensor(value, self._around.now()))

    def _expired(self, timer: do.Timer) -> None:
        self._timers.pop(timer, None)
        self.perform(self.core.timer(timer, self._around.now()))

    def _cancel(self, timer: do.Timer) -> None:
        if handle := self._timers.pop(timer, None):
            handle.cancel()


def clock_with(skew: float, clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """The device's own clock, `skew` seconds ahead of `clock`."""
    return lambda: clock() + timedelta(seconds=skew)

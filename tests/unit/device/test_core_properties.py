"""Delivered twice, late, over either transport, around power cuts: it acts once and in time."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from doorlock.device import actions as do
from doorlock.protocol import LockValue, Transport
from doorlock.times import parse_time
from tests.unit.device.conftest import PowerCut, World

NAMES = st.sampled_from(["unlock_door", "unlock_door", "lock_door", "restart_device"])
VIAS = st.sampled_from(list(Transport))


class Deliveries(RuleBasedStateMachine):
    """A device with a tiny memory, a bad bolt and a worse power supply."""

    @initialize(has_sensor=st.booleans(), capacity=st.integers(2, 6))
    def start(self, has_sensor: bool, capacity: int) -> None:
        self.world = World(capacity=capacity, has_sensor=has_sensor)
        self.sent: list[Any] = []
        self.disk_failed = False

    @rule(name=NAMES, lifetime=st.integers(-2, 12), hold=st.integers(1, 30), via=VIAS)
    def send(self, name: str, lifetime: int, hold: int, via: Transport) -> None:
        self.sent.append(self.world.make(name, lifetime=lifetime, duration=hold * 1000))
        self._survive(lambda: self.world.command(self.sent[-1], via))

    @rule(which=st.integers(0, 50), via=VIAS)
    def send_again(self, which: int, via: Transport) -> None:
        if self.sent:
            self._survive(lambda: self.world.command(self.sent[which % len(self.sent)], via))

    @rule(seconds=st.sampled_from([0.5, 1, 3, 5, 20]))
    def time_passes(self, seconds: float) -> None:
        self._survive(lambda: self.world.pass_time(seconds))

    @rule(value=st.sampled_from([LockValue.LOCKED, LockValue.UNLOCKED, LockValue.JAMMED]))
    def sensor(self, value: LockValue) -> None:
        if self.world.has_sensor:
            self._survive(lambda: self.world.sense(value))

    @rule()
    def arrive(self) -> None:
        if self.world.has_sensor:
            self._survive(self.world.arrive)

    @rule(after=st.integers(0, 6))
    def arm_power_cut(self, after: int) -> None:
        self.world.fuse = after

    @rule(broken=st.booleans(), seconds=st.sampled_from([0.0, 0.0, 2.0]))
    def disk(self, broken: bool, seconds: float) -> None:
        self.world.broken_disk = broken
        self.disk_failed |= broken
        self.world.disk_seconds = seconds

    @rule()
    def reboot(self) -> None:
        self.world.fuse = None
        self.world.boot()

    def _survive(self, step: Any) -> None:
        try:
            step()
        except PowerCut:
            self.world.boot()

    @invariant()
    def never_twice(self) -> None:
        moves = Counter(c for _, c, target in self.world.moves if target is LockValue.UNLOCKED)
        assert None not in moves
        assert all(count == 1 for count in moves.values())

    @invariant()
    def never_late(self) -> None:
        deadlines = {data["commandId"]: parse_time(data["expiresAt"]) for data in self.sent}
        for at, command_id, target in self.world.moves:
            if target is LockValue.UNLOCKED:
                assert at < deadlines[command_id]

    @invariant()
    def never_both_done_and_failed(self) -> None:
        if self.disk_failed or len(self.sent) > self.world.capacity:
            return  # what was never written or is forgotten cannot be held to an earlier word
        for data in self.sent:
            record = self.world.core.outcome(data["commandId"])
            outcomes = {s for s in self.world.told(data) if s in ("executed", "failed")}
            if record is not None and record.error != "the device restarted in the middle of it":
                assert len(outcomes) <= 1

    @invariant()
    def never_open_without_an_end(self) -> None:
        if self.world.relay is LockValue.UNLOCKED:
            assert self.world.timers.keys() & {do.Timer.TRAVEL, do.Timer.RELOCK}


Deliveries.TestCase.settings = settings(
    max_examples=250, stateful_step_count=40, deadline=None, print_blob=True
)
TestDeliveries = Deliveries.TestCase

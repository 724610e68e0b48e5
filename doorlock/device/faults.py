"""Faults on demand, each with its probability, reproducible by a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from doorlock.errors import BadInput


class Fault(StrEnum):
    """What can go wrong with a device, as `--fault` names it."""

    JAM = "jam"
    SLOW = "slow"
    SILENT = "silent"
    LOST_ACK = "lost-ack"
    LATE_ACK = "late-ack"
    ACK_TWICE = "ack-twice"
    WRONG_DEVICE_ID = "wrong-device-id"
    SKEWED_CLOCK = "skewed-clock"
    SENSOR_DISAGREES = "sensor-disagrees"
    REBOOT = "reboot-in-the-middle"


_DEFAULT_SECONDS = {Fault.SLOW: 3.0, Fault.LATE_ACK: 45.0, Fault.SKEWED_CLOCK: -3600.0}


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault that befalls a command with `probability`; `seconds` where the fault has a length."""

    fault: Fault
    seconds: float = 0.0
    probability: float = 1.0

    @classmethod
    def parse(cls, text: str) -> FaultSpec:
        """Read `NAME[=SECONDS][:PROBABILITY]`. Raises BadInput on anything else."""
        rest, _, probability = text.partition(":")
        name, _, seconds = rest.partition("=")
        try:
            fault = Fault(name)
            if seconds and fault not in _DEFAULT_SECONDS:
                raise ValueError("this fault has no length")
            length = float(seconds) if seconds else _DEFAULT_SECONDS.get(fault, 0.0)
            if not math.isfinite(length) or (length < 0 and fault is not Fault.SKEWED_CLOCK):
                raise ValueError("a length is a number of seconds")
            chance = float(probability) if probability else 1.0
            if not 0 <= chance <= 1:
                raise ValueError("a probability is 0 to 1")
        except ValueError as error:
            known = ", ".join(Fault)
            hint = f"Write NAME[=SECONDS][:PROBABILITY]; the names are {known}."
            raise BadInput(f"{text!r} is not a fault", hint=hint) from error
        return cls(fault, length, chance)


class Faults:
    """The faults of one device. Which of them befall a command is decided once for its id."""

    def __init__(self, specs: Sequence[FaultSpec] = (), seed: int | None = None) -> None:
        self._specs = tuple(specs)
        self._dice = random.Random(seed)
        self._rolled: dict[str, dict[Fault, float]] = {}

    @property
    def clock_skew(self) -> float:
        """Seconds that the device's clock is ahead, for as long as it runs."""
        return sum(s.seconds for s in self._specs if s.fault is Fault.SKEWED_CLOCK)

    def of(self, command_id: str | None) -> dict[Fault, float]:
        """The faults that befall a command, with their lengths; none for what nobody commanded."""
        if command_id is None or not self._specs:
            return {}
        if command_id not in self._rolled:
            self._rolled[command_id] = {
                spec.fault: spec.seconds
                for spec in self._specs
                if self._dice.random() < spec.probability
            }
            while len(self._rolled) > 1000:
                del self._rolled[next(iter(self._rolled))]
        return self._rolled[command_id]

    def sensor_disagrees(self) -> bool:
        """Whether the next word of the sensor is the contrary of the truth."""
        return any(
            spec.fault is Fault.SENSOR_DISAGREES and self._dice.random() < spec.probability
            for spec in self._specs
        )

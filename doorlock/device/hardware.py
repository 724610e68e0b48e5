"""The bolt and its sensor: simulated, or on the pins of a Raspberry Pi."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from doorlock.errors import BadConfig
from doorlock.protocol import LockValue

Listener = Callable[[LockValue], None]


class Hardware(Protocol):
    """One bolt. `changed` passed to `listen` is called in the event loop's thread.

    `travel_limit` is how many seconds a movement may take: with a sensor it is jammed after that,
    without one it is believed to have arrived.
    """

    has_sensor: bool
    travel_limit: float

    def read(self) -> LockValue | None: ...
    def drive(self, target: LockValue) -> None: ...
    def listen(self, changed: Listener) -> None: ...
    def close(self) -> None: ...


class SimulatedBolt:
    """A bolt that takes `travel` seconds, and can be jammed, slowed and turned by hand."""

    has_sensor = True
    travel_limit = 120.0

    def __init__(self, travel: float = 0.05) -> None:
        self.jammed = False
        self.slowness = 0.0
        self._travel = travel
        self._value = LockValue.LOCKED
        self._changed: Listener = lambda _value: None
        self._pending: asyncio.TimerHandle | None = None
        self._stuck = False

    def read(self) -> LockValue:
        return self._value

    def listen(self, changed: Listener) -> None:
        self._changed = changed

    def drive(self, target: LockValue) -> None:
        self.close()
        if self._stuck and target is self._value:
            return
        if self.jammed:
            seen, wait = LockValue.JAMMED, self._travel
        else:
            seen, wait = target, self._travel + self.slowness
        self._pending = asyncio.get_running_loop().call_later(wait, self._arrive, seen)

    def turn(self, value: LockValue) -> None:
        """Somebody turns it by hand."""
        self._arrive(value)

    def close(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _arrive(self, seen: LockValue) -> None:
        self._stuck = seen is LockValue.JAMMED
        if not self._stuck:
            self._value = seen
        self._changed(seen)


class GpioBolt:
    """A strike that opens while its relay is energised; the contact closes when it is locked.

    Raises BadConfig without gpiozero or without pins that it can use.
    """

    def __init__(
        self, relay_pin: int, sensor_pin: int | None, *, active_high: bool = True, travel: float = 3
    ) -> None:
        self.has_sensor = sensor_pin is not None
        self.travel_limit = travel
        relay_class, contact_class = _gpiozero()
        try:
            self._relay = relay_class(relay_pin, active_high=active_high, initial_value=False)
            self._contact = None if sensor_pin is None else contact_class(sensor_pin, pull_up=True)
        except Exception as error:
            raise BadConfig(
                f"the pins cannot be used: {type(error).__name__}",
                hint="Check --relay-pin and --sensor-pin, or try --mock.",
            ) from error

    def read(self) -> LockValue | None:
        if self._contact is None:
            return None
        return LockValue.LOCKED if self._contact.is_active else LockValue.UNLOCKED

    def drive(self, target: LockValue) -> None:
        if target is LockValue.UNLOCKED:
            self._relay.on()
        else:
            self._relay.off()

    def listen(self, changed: Listener) -> None:
        if self._contact is None:
            return
        loop = asyncio.get_running_loop()

        def report(value: LockValue) -> None:
            # gpiozero calls from a thread of its own, perhaps after the loop has closed
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(changed, value)

        self._contact.when_activated = lambda: report(LockValue.LOCKED)
        self._contact.when_deactivated = lambda: report(LockValue.UNLOCKED)

    def close(self) -> None:
        self._relay.off()
        self._relay.close()
        if self._contact is not None:
            self._contact.close()


def _gpiozero() -> tuple[Any, Any]:
    try:
        from gpiozero import DigitalInputDevice, DigitalOutputDevice
    except ImportError as error:
        raise BadConfig(
            "gpiozero is not installed, so there are no pins",
            hint="Install doorlock[pi] on a Raspberry Pi, or pass --mock to simulate the bolt.",
        ) from error
    return DigitalOutputDevice, DigitalInputDevice

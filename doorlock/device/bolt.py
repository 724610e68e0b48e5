"""The bolt's rules: when it moves, when it locks itself again, what the sensor's word means.

Pure: time comes in, actions go out. Whoever asked for a movement hears of its end by `Settled`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from doorlock.device.actions import CancelTimer, MoveBolt, StartTimer, Timer
from doorlock.device.rules import MAX_DURATION
from doorlock.protocol import LockValue

LOCKED, UNLOCKED, JAMMED = LockValue.LOCKED, LockValue.UNLOCKED, LockValue.JAMMED


@dataclass(frozen=True, slots=True)
class Settled:
    """A command has come to its end; `error` None means that it was carried out."""

    command_id: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sensed:
    """What the sensor shows, and who caused it (`remote`, `manual`, `auto`)."""

    value: LockValue
    triggered_by: str


BoltStep = MoveBolt | StartTimer | CancelTimer | Settled | Sensed


@dataclass(slots=True)
class _Run:
    """A command that waits for the bolt; `opened` only ever turns true for an unlock."""

    is_unlock: bool
    hold: float = 0.0
    opened: bool = False


class Bolt:
    """One bolt that fails secure: without a running unlock its target is `locked`."""

    def __init__(self, *, has_sensor: bool, travel_limit: float) -> None:
        self._has_sensor = has_sensor
        self._travel_limit = travel_limit
        self._target = LOCKED
        self._seen: LockValue | None = None
        self._shown: LockValue | None = None
        self._moving = False
        self._cause = "auto"
        self._holder: str | None = None
        self._relock_at: datetime | None = None
        self._runs: dict[str, _Run] = {}

    @property
    def shown(self) -> LockValue | None:
        """What was last said of the bolt; None without a sensor."""
        return self._shown

    def boot(
        self, seen: LockValue | None, now: datetime, *, interrupted: bool
    ) -> Iterator[BoltStep]:
        """Lock whatever may be open; `interrupted` when the journal holds an unfinished move."""
        self._seen = self._shown = seen if self._has_sensor else None
        if interrupted or self._seen is not LOCKED:
            yield from self._drive(LOCKED, None, "auto", now)

    def unlock(self, command_id: str, hold: float, now: datetime) -> Iterator[BoltStep]:
        """Open for `hold` seconds; joins an unlock that is already running."""
        run = self._runs[command_id] = _Run(is_unlock=True, hold=hold)
        if self._target is UNLOCKED:
            if not self._moving:
                run.opened = True
                yield from self._hold_open(hold, now)
            return
        overtaken = [other for other, run in self._runs.items() if not run.is_unlock]
        self._holder = command_id
        # The bolt moves first: what is written down before it would cost time that may run out
        yield from self._drive(UNLOCKED, command_id, "remote", now)
        for other in overtaken:
            yield self._settle(other, "an unlock came before it was done")

    def lock(self, command_id: str, now: datetime) -> Iterator[BoltStep]:
        self._runs[command_id] = _Run(is_unlock=False)
        if self._target is LOCKED and self._moving:
            return
        if self._target is LOCKED and self._shown is LOCKED:
            yield from self._say(LOCKED, "remote")
            yield self._settle(command_id, None)
            return
        yield from self._drive(LOCKED, command_id, "remote", now)

    def sensor(
        self, value: LockValue, now: datetime, auto_lock: float | None
    ) -> Iterator[BoltStep]:
        """The sensor changed; `auto_lock` is how long a door opened by hand may stay open."""
        if value is JAMMED:
            yield from self._jam() if self._moving else self._say(JAMMED, "manual")
        elif value is not self._seen or self._shown is JAMMED:
            self._seen = value
            yield from self._sensed(value, now, auto_lock)

    def _sensed(
        self, value: LockValue, now: datetime, auto_lock: float | None
    ) -> Iterator[BoltStep]:
        if self._moving and value is self._target:
            yield from self._arrive(now)
        elif value is self._target:
            if value is LOCKED:
                yield CancelTimer(Timer.RELOCK)
            yield from self._say(value, "auto" if self._shown is JAMMED else "manual")
        elif value is LOCKED and not self._moving:
            yield from self._drive(LOCKED, None, "manual", now)
        else:
            yield from self._say(value, "manual")
            if auto_lock is not None and not self._moving:
                yield StartTimer(Timer.RELOCK, auto_lock)

    def timer(self, timer: Timer, now: datetime) -> Iterator[BoltStep]:
        if timer is Timer.RELOCK:
            yield from self._drive(LOCKED, self._holder, "auto", now)
        elif self._moving and self._has_sensor:
            yield from self._jam()
        elif self._moving:
            self._seen = self._target
            yield from self._arrive(now)

    def _drive(
        self, target: LockValue, command_id: str | None, cause: str, now: datetime
    ) -> Iterator[BoltStep]:
        self._target, self._cause, self._relock_at = target, cause, None
        yield CancelTimer(Timer.RELOCK)
        yield MoveBolt(target, command_id)
        if self._seen is target:
            yield from self._arrive(now)
            return
        self._moving = True
        yield StartTimer(Timer.TRAVEL, self._travel_limit)
        yield from self._say(LockValue.LOCKING if target is LOCKED else LockValue.UNLOCKING, cause)

    def _arrive(self, now: datetime) -> Iterator[BoltStep]:
        self._moving = False
        yield CancelTimer(Timer.TRAVEL)
        yield from self._say(self._target, self._cause)
        if self._target is LOCKED:
            yield from self._finish_all()
        else:
            for run in self._runs.values():
                run.opened = run.is_unlock
            yield from self._hold_open(max(run.hold for run in self._runs.values()), now)

    def _hold_open(self, seconds: float, now: datetime) -> Iterator[BoltStep]:
        """Keep it open for so long, or longer where another unlock still asks for it."""
        wanted = now + timedelta(seconds=seconds)
        latest = now + timedelta(milliseconds=MAX_DURATION)
        self._relock_at = min(max(wanted, self._relock_at or wanted), latest)
        yield StartTimer(Timer.RELOCK, (self._relock_at - now).total_seconds())

    def _jam(self) -> Iterator[BoltStep]:
        was_opening = self._target is UNLOCKED
        self._moving = False
        yield CancelTimer(Timer.TRAVEL)
        yield from self._say(JAMMED, self._cause)
        if was_opening:
            self._target = LOCKED
            yield MoveBolt(LOCKED, None)
        yield from self._finish_all(jammed=True)

    def _finish_all(self, *, jammed: bool = False) -> Iterator[BoltStep]:
        self._holder = None
        for command_id, run in list(self._runs.items()):
            yield self._settle(command_id, _verdict(run, jammed=jammed))

    def _settle(self, command_id: str, error: str | None) -> Settled:
        del self._runs[command_id]
        return Settled(command_id, error)

    def _say(self, value: LockValue, cause: str) -> Iterator[BoltStep]:
        if self._has_sensor:
            self._shown = value
            yield Sensed(value, cause)


def _verdict(run: _Run, *, jammed: bool) -> str | None:
    if run.is_unlock and not run.opened:
        return "the bolt jammed" if jammed else "it was locked again before it opened"
    if jammed:
        return "it opened, but the bolt jammed when it locked" if run.opened else "the bolt jammed"
    return None

"""Handing commands to devices: recorded first, then sent once over each transport at most."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import structlog

from doorlock.daemon.domain.access import Level
from doorlock.daemon.domain.commands import Cancel, Changed, Command, Send, Undelivered
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.ports import Clock, DeviceGateway, NotConnected, Store
from doorlock.daemon.services.clock import Agenda
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.lifecycle import SYSTEM, Lifecycle
from doorlock.daemon.services.presence import Presence
from doorlock.errors import Unavailable
from doorlock.protocol import CommandStatus, Transport

log = structlog.get_logger("doorlock.dispatch")

_GONE = "the device went offline before it could be sent"
_LATE = "it expired before it could be sent, so nothing happened"
_WITHDRAWN = "permission was withdrawn before it was sent"


class Dispatch:
    """Sends what was recorded, over the best live transport, and fails over to the other."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        agenda: Agenda,
        guard: Guard,
        presence: Presence,
        lifecycle: Lifecycle,
        failover_after: timedelta,
    ) -> None:
        self._store, self._clock, self._agenda = store, clock, agenda
        self._guard, self._presence, self._lifecycle = guard, presence, lifecycle
        self._failover_after = failover_after
        self._gateways: dict[Transport, DeviceGateway] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_the_way: set[str] = set()
        self._handed: set[str] = set()  # by this run: what an earlier one sent is never sent again
        lifecycle.on_change(self._forget)

    def connect(self, gateways: Mapping[Transport, DeviceGateway]) -> None:
        """The ways down, known once they are built."""
        self._gateways = dict(gateways)

    def start(self, command_id: str) -> None:
        """Send a command that is queued; returns at once."""
        self._spawn(command_id)

    async def device_is_back(self, device_id: str) -> None:
        """Send what waited for the device: settings and firmware, oldest first."""
        for command in self._lifecycle.unfinished():
            if command.device_id == device_id and command.status is CommandStatus.QUEUED:
                self._spawn(command.id)

    def transport_lost(self, device_id: str) -> None:
        """Do not wait for the failover of what went over a connection that has just closed."""
        for command in self._lifecycle.unfinished():
            if command.device_id == device_id and command.id in self._handed:
                self._spawn(command.id)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, command_id: str) -> None:
        if command_id in self._on_the_way:
            return
        self._on_the_way.add(command_id)
        task = asyncio.ensure_future(self._send(command_id))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._arrived(done, command_id))

    def _arrived(self, task: asyncio.Task[None], command_id: str) -> None:
        self._tasks.discard(task)
        self._on_the_way.discard(command_id)

    async def _send(self, command_id: str) -> None:
        try:
            await self._send_by_best(command_id)
        except Unavailable as error:
            # nothing is handed over that is not recorded: the deadline tells how it ended
            log.warning("a command could not be recorded as sent", error=error.message)
        except Exception:
            log.exception("a command could not be sent")

    async def _send_by_best(self, command_id: str) -> None:
        command = await self._lifecycle.get(command_id)
        if command is None or command.status not in (CommandStatus.QUEUED, CommandStatus.SENT):
            return
        first = command.status is CommandStatus.QUEUED
        if not await self._still_allowed(command, stop=first):
            return
        for transport in self._presence.transports(command.device_id):
            gateway = self._gateways.get(transport)
            if gateway is None or transport in command.tried:
                continue
            sent, decision = await self._lifecycle.apply(command_id, Send(transport))
            if not isinstance(decision, Changed) or sent is None:
                return
            command = sent
            # recording takes its time: what was true before it is asked again after it
            if not await self._still_allowed(sent, stop=first):
                return
            if await self._handed_over(gateway, sent):
                return
        if first and command.tried:
            await self._lifecycle.apply(command_id, Undelivered(_GONE))
        elif first and command.is_interactive:
            await self._lifecycle.apply(command_id, Cancel(_GONE))

    async def _handed_over(self, gateway: DeviceGateway, command: Command) -> bool:
        """False when nothing can have reached the device. What breaks half way may have."""
        device, now = await self._store.get_device(command.device_id), self._clock.now()
        if device is None:
            return False
        try:
            await gateway.send_command(command, device, now)
        except NotConnected:
            return False
        except Exception:
            log.exception("a command broke on its way out")
        self._handed.add(command.id)
        moment = self._clock.now() + self._failover_after
        still = partial(self._lifecycle.is_unfinished, command.id)
        self._agenda.at(moment, partial(self._fail_over, command.id), still)
        return True

    async def _fail_over(self, command_id: str) -> None:
        command = await self._lifecycle.get(command_id)
        if command is not None and command.status is CommandStatus.SENT:
            self._spawn(command_id)

    def _forget(self, command: Command) -> None:
        if command.is_finished:
            self._handed.discard(command.id)

    async def _still_allowed(self, command: Command, *, stop: bool) -> bool:
        """Whether it may go out now; where it may not and `stop`, the device having heard nothing
        of it, it ends here."""
        device = await self._store.get_device(command.device_id)
        if device is None:
            return False
        if self._clock.now() >= command.expires_at:
            if stop and command.status is CommandStatus.SENT:
                await self._lifecycle.apply(command.id, Undelivered(_LATE))
            return False
        user = await self._store.get_user(command.issued_by)
        allowed = user is not None and await self._guard.level(user, device) >= Level.CONTROL
        if allowed and device.is_active:
            return True
        if stop:
            await self._withdraw(command)
        return False

    async def _withdraw(self, command: Command) -> None:
        refused = NewEvent(
            EventType.ACCESS_REFUSED,
            self._clock.now(),
            device_id=command.device_id,
            user_id=command.issued_by,
            command_id=command.id,
            payload={"act": command.name.value, "reason": "permission ended before the send"},
            metadata=SYSTEM,
        )
        queued = command.status is CommandStatus.QUEUED
        end = Cancel(_WITHDRAWN) if queued else Undelivered(_WITHDRAWN)
        await self._lifecycle.apply(command.id, end, also=[refused])

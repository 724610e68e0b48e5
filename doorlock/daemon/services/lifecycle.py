"""The durable life of every command: `domain.commands` decides, the store records, we tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import structlog

from doorlock.daemon.domain import commands, devices
from doorlock.daemon.domain.commands import Command, Decision, Ignored, Input, Tick
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType, NewEvent
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.clock import Agenda
from doorlock.errors import Unavailable
from doorlock.times import iso

log = structlog.get_logger("doorlock.lifecycle")

SYSTEM = {"source": "system"}
_AGAIN = timedelta(seconds=1)


class Lifecycle:
    """The only writer of commands. Holds the unfinished ones at hand; the store has the word."""

    def __init__(self, store: Store, clock: Clock, agenda: Agenda) -> None:
        self._store, self._clock, self._agenda = store, clock, agenda
        self._at_hand: dict[str, Command] = {}
        self._waiting: dict[str, list[asyncio.Future[Command]]] = {}
        self._on_change: list[Callable[[Command], None]] = []
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def on_change(self, listener: Callable[[Command], None]) -> None:
        """`listener` hears of each command as it is now, after that was recorded."""
        self._on_change.append(listener)

    async def begin(self, command: Command, metadata: Mapping[str, Any]) -> Sequence[Event]:
        """Record a new command; as `Store.add_command`. From here on its deadline is kept."""
        # to the end even if the caller goes away: what is recorded has its deadline kept
        return await asyncio.shield(self._begin(command, metadata))

    async def _begin(self, command: Command, metadata: Mapping[str, Any]) -> Sequence[Event]:
        queued = event_of(command, EventType.COMMAND_QUEUED, metadata, command.issued_at)
        events = await self._store.add_command(command, [queued])
        self.adopt(command)
        return events

    def adopt(self, command: Command) -> None:
        """Keep the deadline of a command that is in the store."""
        self._at_hand[command.id] = command
        self._keep_deadline(command)

    async def get(self, command_id: str) -> Command | None:
        return self._at_hand.get(command_id) or await self._store.get_command(command_id)

    async def recorded(self, command_id: str) -> Command | None:
        """The command as the store has it. Whoever was told of a change by the event log finds it
        here, while `get` may still be the moment behind that the writing takes to return."""
        return await self._store.get_command(command_id)

    async def apply(
        self,
        command_id: str,
        given: Input,
        metadata: Mapping[str, Any] = SYSTEM,
        also: Sequence[NewEvent] = (),
    ) -> tuple[Command | None, Decision]:
        """Let `given` happen to the command: the command as it is then, and what was decided.

        None with Ignored where there is no such command. `also` is recorded with the change.
        """
        turn = self._turns.setdefault(command_id, asyncio.Lock())
        async with turn:
            return await self._applied(command_id, given, metadata, also)

    async def _applied(
        self,
        command_id: str,
        given: Input,
        metadata: Mapping[str, Any],
        also: Sequence[NewEvent],
    ) -> tuple[Command | None, Decision]:
        command = await self.get(command_id)
        while command is not None:
            now = self._clock.now()
            decision = commands.decide(command, given, now)
            if isinstance(decision, Ignored):
                return command, decision
            event = event_of(decision.command, decision.event, metadata, now, decision.detail)
            if await self._record(decision.command, [event, *also]):
                self._changed(command, decision.command)
                return decision.command, decision
            command = await self._store.get_command(command_id)  # somebody else was faster
            if command is None or command.is_finished:
                self._at_hand.pop(command_id, None)
            else:
                self._at_hand[command_id] = command
        return None, Ignored("there is no such command", suspicious=True)

    async def finished(self, command_id: str, within: timedelta) -> Command | None:
        """The command once it is finished, or as it is when `within` has passed."""
        command = await self.get(command_id)
        if command is None or command.is_finished:
            return command
        future: asyncio.Future[Command] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(command_id, []).append(future)
        with suppress(TimeoutError):
            return await asyncio.wait_for(future, within.total_seconds())
        return await self.get(command_id)

    def unfinished(self) -> Sequence[Command]:
        return list(self._at_hand.values())

    def is_unfinished(self, command_id: str) -> bool:
        return command_id in self._at_hand

    async def _record(self, command: Command, events: Sequence[NewEvent]) -> bool:
        if not command.is_finished or command.name not in devices.MOVES_BOLT:
            return await self._store.update_command(command, events) is not None
        device = await self._store.get_device(command.device_id)
        # together, so that one transaction can carry both
        written, _ = await asyncio.gather(
            self._store.update_command(command, events), self._note_door(command, device)
        )
        return written is not None

    async def _note_door(self, command: Command, device: Device | None) -> None:
        if device is None or command.finished_at is None:
            return
        now = command.finished_at
        state = devices.lock_after(command, device.lock_state, now)
        if state is None:
            return
        event = NewEvent(
            EventType.STATUS_CHANGED,
            now,
            device_id=device.id,
            command_id=command.id,
            correlation_id=command.correlation_id,
            payload={"status": state.value, "source": state.origin, "triggeredBy": "remote"},
            metadata=SYSTEM,
        )
        expect = {"lock_state": device.lock_state}
        await self._store.update_device(
            device.id, {"lock_state": state, "updated_at": now}, [event], expect=expect
        )

    def _changed(self, before: Command, command: Command) -> None:
        if command.is_finished:
            self._at_hand.pop(command.id, None)
            for future in self._waiting.pop(command.id, ()):
                if not future.done():
                    future.set_result(command)
        else:
            self._at_hand[command.id] = command
            if command.due_at != before.due_at:
                self._keep_deadline(command)
        for listener in self._on_change:
            listener(command)

    def _keep_deadline(self, command: Command) -> None:
        still = partial(self.is_unfinished, command.id)
        self._agenda.at(command.due_at, partial(self._due, command.id), still)

    async def _due(self, command_id: str) -> None:
        try:
            await self.apply(command_id, Tick())
        except Unavailable as error:
            log.warning("a deadline cannot be recorded yet", error=error.message)
            self._agenda.at(self._clock.now() + _AGAIN, lambda: self._due(command_id))


def event_of(
    command: Command,
    event: EventType,
    metadata: Mapping[str, Any],
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> NewEvent:
    """The log's entry for what `command` has just become."""
    payload: dict[str, Any] = {
        "command": command.name.value,
        "status": command.status.value,
        "via": command.via,
        "errorMessage": command.error_message,
        **(detail or {}),
    }
    if event is EventType.COMMAND_QUEUED:
        payload |= {"payload": dict(command.payload), "expiresAt": iso(command.expires_at)}
    if command.operator_id is not None:
        metadata = {**metadata, "operatorId": command.operator_id}
    return NewEvent(
        event,
        now,
        device_id=command.device_id,
        user_id=command.issued_by,
        command_id=command.id,
        correlation_id=command.correlation_id,
        payload=payload,
        metadata=metadata,
    )

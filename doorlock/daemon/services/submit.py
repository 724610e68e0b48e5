"""Asking for a command: permission, presence, and one durable record before anything moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from doorlock.daemon.config import CommandsSection
from doorlock.daemon.domain import payloads
from doorlock.daemon.domain.access import Level
from doorlock.daemon.domain.commands import FIRMWARE_WAIT, Cancel, Command, Ignored
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.ids import new_command_id
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import AlreadyAsked, Clock, SlotBusy, Store
from doorlock.daemon.services.dispatch import Dispatch
from doorlock.daemon.services.feed import Feed
from doorlock.daemon.services.guard import Guard, metadata_of
from doorlock.daemon.services.lifecycle import Lifecycle, event_of
from doorlock.daemon.services.presence import Presence
from doorlock.errors import BadInput, Conflict, DeviceOffline, NotFound
from doorlock.protocol import INTERACTIVE, CommandName, Transport

_ACTS = {
    CommandName.LOCK_DOOR: "lock",
    CommandName.UNLOCK_DOOR: "unlock",
    CommandName.REQUEST_SNAPSHOT: "take a snapshot with",
    CommandName.UPDATE_SETTINGS: "change the settings of",
    CommandName.RESTART_DEVICE: "restart",
    CommandName.FIRMWARE_UPDATE: "update the firmware of",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants done. `timeout` shortens the configured one, never lengthens it."""

    ref: str
    command: str
    payload: Mapping[str, Any]
    idempotency_key: str | None = None
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The command as recorded; `joined` when one that was running already stands for it.

    Whoever follows the log after `position` hears of everything that becomes of it.
    """

    command: Command
    device: Device
    joined: bool
    position: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a dry run found: it would have been sent over `via` (None: queued)."""

    device: Device
    command: CommandName
    via: Transport | None


class Submit:
    """The one way in for commands, whoever asks and however."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: CommandsSection,
        guard: Guard,
        presence: Presence,
        lifecycle: Lifecycle,
        dispatch: Dispatch,
        feed: Feed,
    ) -> None:
        self._store, self._clock, self._settings = store, clock, settings
        self._guard, self._presence = guard, presence
        self._lifecycle, self._dispatch, self._feed = lifecycle, dispatch, feed

    async def submit(self, caller: Caller, asked: Asked) -> Submitted:
        """Raises NotFound, NotAllowed (recorded), BadInput, DeviceOffline, Conflict."""
        device, name, payload = await self._judged(caller, asked)
        command = self._command(caller, device, name, payload, asked)
        key = asked.idempotency_key
        if key and (earlier := await self._store.command_by_key(caller.user.id, key)):
            return self._repeated(earlier, command, device)
        self._require_online(device, name)
        try:
            events = await self._lifecycle.begin(command, metadata_of(caller))
        except AlreadyAsked as repeat:
            return self._repeated(repeat.earlier, command, device)
        except SlotBusy as busy:
            return await self._joined(caller, busy.running, command, device)
        self._dispatch.start(command.id)
        return Submitted(command, device, joined=False, position=events[-1].seq)

    async def check(self, caller: Caller, asked: Asked) -> Allowed:
        """What `submit` would say, without doing anything."""
        device, name, _ = await self._judged(caller, asked)
        self._require_online(device, name)
        for running in await self._store.unfinished_commands(device.id):
            if running.slot and name in INTERACTIVE and running.name is not name:
                raise _busy(running, device)
        return Allowed(device, name, next(iter(self._presence.transports(device.id)), None))

    async def cancel(self, caller: Caller, command_id: str) -> Command:
        """Stop a command that was not sent yet. Raises NotFound, NotAllowed, Conflict."""
        command = await self._lifecycle.get(command_id)
        if command is None:
            raise NotFound("there is no such command")
        await self._guard.require(caller, command.device_id, Level.CONTROL, "operate")
        reason = f"cancelled by {caller.user.username}"
        changed, decision = await self._lifecycle.apply(
            command_id, Cancel(reason), metadata_of(caller)
        )
        if isinstance(decision, Ignored) or changed is None:
            raise Conflict(f"it cannot be cancelled: {decision.reason}")  # type: ignore[union-attr]
        return changed

    async def _judged(
        self, caller: Caller, asked: Asked
    ) -> tuple[Device, CommandName, dict[str, Any]]:
        name = payloads.command_named(asked.command)
        seen = await self._guard.operating(caller, asked.ref, _ACTS[name])
        payload = payloads.checked(name, asked.payload)
        if name is CommandName.UPDATE_SETTINGS and not payload["settings"]:
            raise BadInput("no setting was given")
        return seen.device, name, payload

    def _require_online(self, device: Device, name: CommandName) -> None:
        if name in INTERACTIVE and not self._presence.online(device.id):
            raise DeviceOffline(
                f"{device.name!r} is offline, so nothing was sent",
                hint="It is never queued: try again when the device is back "
                "(`doorlock wait` tells when).",
            )

    def _command(
        self,
        caller: Caller,
        device: Device,
        name: CommandName,
        payload: dict[str, Any],
        asked: Asked,
    ) -> Command:
        now = self._clock.now()
        timeout = min(asked.timeout or self._settings.timeout, self._settings.timeout)
        online = self._presence.online(device.id)
        may_act = timeout if name in INTERACTIVE or online else self._settings.queue_for
        return Command(
            id=new_command_id(),
            device_id=device.id,
            name=name,
            issued_by=caller.user.id,
            issued_at=now,
            expires_at=now + may_act,
            wait=_wait(name, payload, self._settings.timeout),
            payload=payload,
            operator_id=caller.operator.id if caller.operator else None,
            idempotency_key=asked.idempotency_key,
        )

    def _repeated(self, earlier: Command, wanted: Command, device: Device) -> Submitted:
        same = (earlier.device_id, earlier.name) == (wanted.device_id, wanted.name)
        own = earlier.idempotency_key == wanted.idempotency_key  # else that request had joined it
        if not same or (own and earlier.payload != wanted.payload):
            raise Conflict(
                "that idempotency key was used for something else",
                hint="Use a new key for a new command.",
                details={"commandId": earlier.id},
            )
        # the log's start: whoever asks again may have missed anything
        return Submitted(earlier, device, joined=True, position=0)

    async def _joined(
        self, caller: Caller, running: Command, wanted: Command, device: Device
    ) -> Submitted:
        if running.name is not wanted.name:
            raise _busy(running, device)
        position = self._feed.position
        asked_too = event_of(
            replace(running, issued_by=caller.user.id, operator_id=wanted.operator_id),
            EventType.COMMAND_QUEUED,
            metadata_of(caller),
            wanted.issued_at,
            {"joined": True},
        )
        try:
            await self._store.join_command(
                running.id, caller.user.id, wanted.idempotency_key, [asked_too]
            )
        except AlreadyAsked as repeat:
            return self._repeated(repeat.earlier, wanted, device)
        current = await self._lifecycle.recorded(running.id) or running
        return Submitted(current, device, joined=True, position=position)


def _wait(name: CommandName, payload: Mapping[str, Any], timeout: timedelta) -> timedelta:
    if name is CommandName.UNLOCK_DOOR:
        return timedelta(milliseconds=payload["duration"])
    if name is CommandName.FIRMWARE_UPDATE:
        return FIRMWARE_WAIT
    return timedelta(0) if name in INTERACTIVE else timeout


def _busy(running: Command, device: Device) -> Conflict:
    return Conflict(
        f"{device.name!r} is busy with {running.name}",
        hint="Wait until that is over, then try again.",
        details={"commandId": running.id, "command": running.name.value},
    )

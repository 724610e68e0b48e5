"""Visitors: a ring or a picture opens one, somebody decides, and the door and the camera hear of
it. Everything that is decided is recorded before anything moves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

import structlog

from doorlock.daemon.domain import visitors as rules
from doorlock.daemon.domain.access import Level
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import is_id, new_id
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.domain.visitors import Arrival, Refused, Verdict, Visitor, VisitorStatus
from doorlock.daemon.ports import Clock, Outgoing, Store
from doorlock.daemon.services.clock import Agenda
from doorlock.daemon.services.guard import Guard, metadata_of
from doorlock.daemon.services.lifecycle import SYSTEM
from doorlock.daemon.services.submit import Asked, Submit, Submitted
from doorlock.daemon.services.telling import Telling
from doorlock.errors import Conflict, DoorlockError, NotFound, Unavailable
from doorlock.protocol import CommandName
from doorlock.times import iso, iso_or_none

log = structlog.get_logger("doorlock.visitors")

_AGAIN = timedelta(seconds=1)
_DECISION = {
    VisitorStatus.GRANTED: EventType.VISITOR_GRANTED,
    VisitorStatus.DENIED: EventType.VISITOR_DENIED,
}


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that stands. Of somebody let in, `unlock` is the command, or `error` why there is
    none; `position` is that of the decision in the log or before: what follows is news."""

    visitor: Visitor
    device: Device
    position: int
    unlock: Submitted | None = None
    error: DoorlockError | None = None


class Visitors:
    """The only writer of visitors. `told_within` is how long a decision may be on its way to the
    camera."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        agenda: Agenda,
        guard: Guard,
        submit: Submit,
        telling: Telling,
        expire_after: timedelta,
        told_within: timedelta,
    ) -> None:
        self._store, self._clock, self._agenda = store, clock, agenda
        self._guard, self._submit, self._telling = guard, submit, telling
        self._expire_after, self._told_within = expire_after, told_within
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._deciding: set[asyncio.Task[Decided]] = set()

    async def recover(self) -> int:
        """After a start: keep the deadlines of those who still wait; returns how many they are."""
        waiting = await self._store.pending_visitors()
        for visitor in waiting:
            self._expire_later(visitor)
        return len(waiting)

    async def stop(self) -> None:
        """See what was decided through to its end."""
        await asyncio.gather(*self._deciding, return_exceptions=True)

    # arriving

    async def arrived(
        self,
        device_id: str,
        arrival: Arrival,
        metadata: Mapping[str, Any],
        detail: Mapping[str, Any] | None = None,
    ) -> Visitor:
        """A ring, or a picture that was sent for a decision: a new visitor, or the one that came
        to this camera within the minute. `detail` goes into the log."""
        async with self._turns.setdefault(device_id, asyncio.Lock()):
            joined = await self._joined(device_id, arrival, metadata, detail or {})
            if joined is not None:
                return joined
            now = self._clock.now()
            visitor = rules.open_visitor(new_id(), device_id, arrival, now, self._expire_after)
            event = self._event(
                EventType.VISITOR_ARRIVED,
                visitor,
                {**_arrival(visitor), **(detail or {})},
                metadata,
            )
            await self._store.add_visitor(visitor, [event])
            self._expire_later(visitor)
            return visitor

    async def pictured(
        self, device_id: str, arrival: Arrival, metadata: Mapping[str, Any]
    ) -> Visitor | None:
        """A picture that shows a visitor who has just rung, and opens none by itself."""
        async with self._turns.setdefault(device_id, asyncio.Lock()):
            return await self._joined(device_id, arrival, metadata, {})

    async def _joined(
        self,
        device_id: str,
        arrival: Arrival,
        metadata: Mapping[str, Any],
        detail: Mapping[str, Any],
    ) -> Visitor | None:
        for visitor in reversed(await self._store.pending_visitors(device_id)):
            joined = rules.join(visitor, arrival, self._clock.now())
            if joined is visitor:
                return visitor
            if joined is None:
                continue
            payload = {**_arrival(joined), "joined": True, **detail}
            event = self._event(EventType.VISITOR_ARRIVED, joined, payload, metadata)
            if await self._store.update_visitor(joined, [event]) is not None:
                return joined
        return None

    # deciding

    async def decide(self, caller: Caller, visitor_id: str, verdict: Verdict) -> Decided:
        """Let the visitor in or turn them away: once, by the first who may and does.

        Raises NotFound (also for what the caller may not see), NotAllowed and, for whoever comes
        second, Conflict; the last two are recorded. A door that cannot be unlocked does not undo
        the decision. Once it is recorded it is carried out, even when the caller goes away.
        """
        act = "let visitors in at" if verdict.granted else "turn visitors away at"
        visitor, device = await self._found(caller, visitor_id, act)
        # the picture that counts is the one that was there when this was asked
        task = asyncio.ensure_future(self._decided(caller, visitor, device, verdict, act))
        self._deciding.add(task)
        task.add_done_callback(self._deciding.discard)
        return await asyncio.shield(task)

    async def _found(self, caller: Caller, visitor_id: str, act: str) -> tuple[Visitor, Device]:
        visitor = await self._store.get_visitor(visitor_id) if is_id(visitor_id) else None
        if visitor is None:
            raise no_such_visitor()
        try:
            seen = await self._guard.find(caller, visitor.device_id)
        except NotFound:
            raise no_such_visitor() from None
        if seen.device.id != visitor.device_id:  # one that is only called so
            raise no_such_visitor()
        await self._guard.require(caller, seen.device.id, Level.CONTROL, act)
        return visitor, seen.device

    async def _decided(
        self, caller: Caller, visitor: Visitor, device: Device, verdict: Verdict, act: str
    ) -> Decided:
        decided = rules.decide(visitor, verdict, self._clock.now())
        if isinstance(decided, Refused):
            raise await self._too_late(caller, visitor, device, decided.reason, act)
        payload = {
            "visitorId": decided.id,
            "image": decided.image,
            "decision": decided.status.value,
            "decidedBy": caller.user.username,
            "note": decided.note,
        }
        metadata = metadata_of(caller)
        kind = _DECISION[decided.status]
        event = self._event(kind, decided, payload, metadata, caller.user.id)
        written = await self._store.update_visitor(decided, [event])
        if written is None:
            now = await self._store.get_visitor(visitor.id) or visitor
            looked = rules.decide(now, verdict, self._clock.now())
            reason = looked.reason if isinstance(looked, Refused) else "something new has come"
            raise await self._too_late(caller, now, device, reason, act)
        return await self._carried_out(caller, decided, device, written[-1].seq)

    async def _too_late(
        self, caller: Caller, visitor: Visitor, device: Device, reason: str, act: str
    ) -> Conflict:
        detail = {"visitorId": visitor.id, "reason": reason, "status": visitor.status.value}
        await self._guard.refuse(caller, device, act, detail)
        details = {"visitorId": visitor.id, "status": visitor.status.value}
        if visitor.decided_by is not None:
            by = await self._store.get_user(visitor.decided_by)
            details["decidedBy"] = by.username if by else visitor.decided_by
        details["decidedAt"] = iso_or_none(visitor.decided_at) or ""
        hint = "Look at the visitor again." if visitor.is_pending else None
        return Conflict(reason, hint=hint, details=details)

    async def _carried_out(
        self, caller: Caller, visitor: Visitor, device: Device, position: int
    ) -> Decided:
        unlock, error = None, None
        if visitor.status is VisitorStatus.GRANTED:
            try:
                unlock = await self._unlock(caller, visitor)
                visitor = rules.with_command(visitor, unlock.command.id)
            except DoorlockError as refused:
                error = refused
        try:
            await self._tell_camera(caller, visitor, device)
            if unlock is not None:
                await self._store.update_visitor(visitor)
        except Unavailable as failed:
            log.warning("a visitor's unlock could not be noted", error=failed.message)
        return Decided(visitor, device, position, unlock, error)

    async def _unlock(self, caller: Caller, visitor: Visitor) -> Submitted:
        """The camera drives the strike as well: it is the visitor's own device that opens."""
        key = f"visitor:{visitor.id}"
        asked = Asked(visitor.device_id, CommandName.UNLOCK_DOOR, {}, idempotency_key=key)
        return await self._submit.submit(caller, asked)

    async def _tell_camera(self, caller: Caller, visitor: Visitor, device: Device) -> None:
        granted = visitor.status is VisitorStatus.GRANTED
        now = self._clock.now()
        fixed = {"visitorId": visitor.id, "timestamp": iso(now)}
        answer = {
            **fixed,
            "_id": visitor.id,
            "approved": granted,
            "note" if granted else "reason": visitor.note,
            "deviceId": device.id,
            "deviceName": device.name,
        }
        decision = {
            **fixed,
            "decision": visitor.status.value,
            "adminUsername": caller.user.username,
        }
        name = "access_granted" if granted else "access_denied"
        until = now + self._told_within
        await self._telling.tell(Outgoing(device.id, name, answer, until))
        await self._telling.tell(Outgoing(device.id, "door_decision", decision, until))

    # waiting in vain

    def _expire_later(self, visitor: Visitor) -> None:
        self._agenda.at(visitor.expires_at, lambda: self._due(visitor.id))

    async def _due(self, visitor_id: str) -> None:
        try:
            await self._expire(visitor_id)
        except Unavailable as error:
            log.warning("a visitor's end cannot be recorded yet", error=error.message)
            self._agenda.at(self._clock.now() + _AGAIN, lambda: self._due(visitor_id))

    async def _expire(self, visitor_id: str) -> None:
        while (visitor := await self._store.get_visitor(visitor_id)) is not None:
            expired = rules.expire(visitor, self._clock.now())
            if expired is None:
                return
            payload = {"visitorId": expired.id, "image": expired.image}
            event = self._event(EventType.VISITOR_EXPIRED, expired, payload, SYSTEM)
            if await self._store.update_visitor(expired, [event]) is not None:
                return

    def _event(
        self,
        kind: EventType,
        visitor: Visitor,
        payload: Mapping[str, Any],
        metadata: Mapping[str, Any],
        user_id: str | None = None,
    ) -> NewEvent:
        return NewEvent(
            kind,
            self._clock.now(),
            device_id=visitor.device_id,
            user_id=user_id,
            correlation_id=visitor.id,
            payload=payload,
            metadata=metadata,
        )


def _arrival(visitor: Visitor) -> dict[str, Any]:
    return {
        "visitorId": visitor.id,
        "image": visitor.image,
        "bellPressed": visitor.bell_pressed,
        "message": visitor.message,
    }


def no_such_visitor() -> NotFound:
    return NotFound("there is no such visitor", hint="`doorlock visitors ls` lists them.")

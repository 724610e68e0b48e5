"""The one way up: who a device is, that it is there, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from doorlock.daemon.domain import reports, tokens
from doorlock.daemon.domain.commands import Ack, Ignored
from doorlock.daemon.domain.devices import Device, LockState
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.pictures import BadPicture, from_text
from doorlock.daemon.domain.rates import Bucket
from doorlock.daemon.domain.reports import Report
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.visitors import Arrival
from doorlock.daemon.ports import AuthRefused, Clock, Store
from doorlock.daemon.services.dispatch import Dispatch
from doorlock.daemon.services.frames import Frames
from doorlock.daemon.services.lifecycle import Lifecycle
from doorlock.daemon.services.pictures import Pictures
from doorlock.daemon.services.presence import Presence
from doorlock.daemon.services.visitors import Visitors
from doorlock.errors import NotAllowed, TooLarge
from doorlock.protocol import LockOrigin
from doorlock.times import iso_or_none

log = structlog.get_logger("doorlock.ingest")

_BURST, _PER_SECOND = 200, 50  # far above any device in order, far below what hurts the log
_MOST_METADATA = 64
_REJECTIONS, _REJECTIONS_PER_SECOND = 20, 0.5
_NOTES_PER_SECOND = 1 / 60

TokenSeen = Callable[[Device, str], None]
Drop = Callable[[str, str], Awaitable[None]]


@dataclass(slots=True)
class _Limits:
    messages: Bucket
    rejections: Bucket
    notes: Bucket


class Ingest:
    """`ReportSink` for every gateway."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        presence: Presence,
        lifecycle: Lifecycle,
        dispatch: Dispatch,
        visitors: Visitors,
        pictures: Pictures,
        frames: Frames,
        *,
        managed_broker: Callable[[], bool],
        token_seen: TokenSeen,
        drop: Drop,
    ) -> None:
        self._store, self._clock = store, clock
        self._presence, self._lifecycle, self._dispatch = presence, lifecycle, dispatch
        self._visitors, self._pictures, self._frames = visitors, pictures, frames
        self._managed_broker = managed_broker
        self._token_seen, self._drop = token_seen, drop
        self._limits: dict[str, _Limits] = {}
        self._on_quiet_change: list[Callable[[str], None]] = []
        self.rejected_count = 0

    def on_quiet_change(self, listener: Callable[[str], None]) -> None:
        """`listener` hears of each device of which something has changed without an event."""
        self._on_quiet_change.append(listener)

    def _changed_quietly(self, device_id: str) -> None:
        for listener in self._on_quiet_change:
            listener(device_id)

    # who it is

    async def authenticate(self, device_id: str, token: str, where: Mapping[str, Any]) -> Device:
        device = await self._store.get_device(device_id)
        if not tokens.matches(token, device.token_hash if device else None) or device is None:
            device = await self._paired(device, token, where)
        if not device.is_active:
            raise AuthRefused("Device not activated")
        self._token_seen(device, token)
        return await self._activated(device, where)

    async def vouched(self, device_id: str, where: Mapping[str, Any]) -> Device:
        device = await self._store.get_device(device_id)
        known = device is not None and device.token_hash is not None
        # a broker that we manage may still hold a token that was replaced while it was away
        if not known or device is None or (self._managed_broker() and not device.mqtt_provisioned):
            raise AuthRefused("Invalid device token")
        if not device.is_active:
            raise AuthRefused("Device not activated")
        return await self._activated(device, where)

    async def _paired(self, device: Device | None, token: str, where: Mapping[str, Any]) -> Device:
        """The device, when `token` is the one that it was paired with and is still in time: it
        takes the place of the old one, whose sessions end."""
        now = self._clock.now()
        pending = device.pending_token_hash if device else None
        if not tokens.matches(token, pending) or device is None:
            raise AuthRefused("Invalid device token")
        if device.pending_expires_at is None or device.pending_expires_at <= now:
            raise AuthRefused("Invalid device token")
        event = NewEvent(
            EventType.TOKEN_ROTATED,
            now,
            device_id=device.id,
            payload={"paired": True},
            metadata=dict(where),
        )
        changes = {
            "token_hash": pending,
            "pending_token_hash": None,
            "pending_expires_at": None,
            "mqtt_provisioned": False,
            "updated_at": now,
        }
        changed = await self._store.update_device(
            device.id, changes, [event], expect={"pending_token_hash": pending}
        )
        if changed is None:
            raise AuthRefused("Invalid device token")
        await self._drop(device.id, "token replaced")
        return changed

    async def _activated(self, device: Device, where: Mapping[str, Any]) -> Device:
        if device.activated_at is not None:
            return device
        now = self._clock.now()
        event = NewEvent(EventType.DEVICE_ACTIVATED, now, device_id=device.id, metadata=dict(where))
        changes = {"activated_at": now, "updated_at": now}
        expect = {"activated_at": None, "token_hash": device.token_hash}
        done = await self._store.update_device(device.id, changes, [event], expect=expect)
        current = done or await self._store.get_device(device.id)
        # its token may have been replaced while this was written: no session begins with the old
        if current is None or current.token_hash != device.token_hash:
            raise AuthRefused("Invalid device token")
        return current

    # that it is there

    async def connected(self, session: Session) -> None:
        was_online = self._presence.online(session.device_id)
        first = self._presence.opened(session)
        # each connection anew: which of them sends the frames is the camera's own matter
        await self._frames.device_is_back(session.device_id)
        if not first:
            return
        payload = {"connectionType": session.transport.value, "wasOnline": was_online}
        await self._record(session, EventType.DEVICE_CONNECTED, payload)
        await self._dispatch.device_is_back(session.device_id)

    async def disconnected(self, session: Session, reason: str) -> None:
        await self._gone(session, reason, self._presence.closed(session))

    async def _gone(self, session: Session, reason: str, offline: bool) -> None:
        if session.transport not in self._presence.transports(session.device_id):
            self._dispatch.transport_lost(session.device_id)
        if offline:
            payload = {"connectionType": session.transport.value, "reason": reason[:100]}
            await self._record(session, EventType.DEVICE_DISCONNECTED, payload)

    def alive(self, session: Session) -> None:
        self._presence.pinged(session)

    # what it says

    async def report(self, session: Session, report: Report) -> None:
        if report.device_id not in (None, session.device_id):
            await self.rejected(session, report.event, "it speaks for another device")
            raise NotAllowed("deviceId does not match this connection")
        if not await self._within_limits(session, report):
            return
        goes = isinstance(report, reports.Heartbeat) and report.status == "offline"
        if goes:
            await self._gone(session, "said offline", self._presence.silenced(session))
            return
        if not self._presence.knows(session):
            await self.connected(session)
        self._presence.heard(session, beat=isinstance(report, reports.Heartbeat))
        await self._handle(session, report)

    async def beat_by_http(
        self, device: Device, beat: reports.Heartbeat, where: Mapping[str, Any]
    ) -> None:
        """A heartbeat by plain HTTP: it notes that the device lives, but opens no way to it."""
        now = self._clock.now()
        changes, kinds = _beaten(device, beat)
        events = [
            NewEvent(kind, now, device_id=device.id, payload=payload, metadata=dict(where))
            for kind, payload in kinds
        ]
        await self._store.update_device(device.id, {**changes, "last_seen": now}, events)
        self._changed_quietly(device.id)

    async def rejected(self, session: Session, event: str, reason: str) -> None:
        self.rejected_count += 1
        if not self._limits_of(session).rejections.take(self._clock.now()):
            return  # counted; a flood of them must not fill the log
        payload = {"event": event[:60], "reason": reason[:200]}
        await self._record(session, EventType.MESSAGE_REJECTED, payload)

    def _limits_of(self, session: Session) -> _Limits:
        now = self._clock.now()
        return self._limits.setdefault(  # a device's, not a session's: coming back resets nothing
            session.device_id,
            _Limits(
                Bucket(_BURST, _PER_SECOND, now),
                Bucket(_REJECTIONS, _REJECTIONS_PER_SECOND, now),
                Bucket(1, _NOTES_PER_SECOND, now),
            ),
        )

    async def _within_limits(self, session: Session, report: Report) -> bool:
        if isinstance(report, reports.CommandAck):
            return True  # an outcome is never dropped
        limits = self._limits_of(session)
        if limits.messages.take(self._clock.now()):
            return True
        if limits.notes.take(self._clock.now()):
            await self._record(session, EventType.RATE_LIMITED, {"event": report.event})
        return False

    async def _handle(self, session: Session, report: Report) -> None:
        match report:
            case reports.CommandAck():
                await self._acknowledged(session, report)
            case reports.Heartbeat():
                await self._beat(session, report)
            case reports.DoorStatus():
                await self._door(session, report)
            case reports.Registered():
                await self._described(session, report, report.firmware_version)
            case reports.CameraOnline():
                await self._described(session, report, report.metadata.get("version"))
            case reports.LowBattery():
                await self._battery(session, report)
            case reports.BellPressed():
                await self._rang(session, report)
            case reports.Snapshot():
                await self._pictured(session, report)
            case reports.Frame():
                await self._filmed(session, report)
            case _:
                await self._logged(session, report)

    async def _acknowledged(self, session: Session, ack: reports.CommandAck) -> None:
        given = Ack(session.device_id, ack.status, session.transport, ack.error_message)
        claimed = {"claimedAt": iso_or_none(ack.claimed_at)}
        _, decision = await self._lifecycle.apply(
            ack.command_id, given, {**session.metadata(), **claimed}
        )
        if isinstance(decision, Ignored) and decision.suspicious:
            await self.rejected(session, ack.event, decision.reason)

    async def _beat(self, session: Session, beat: reports.Heartbeat) -> None:
        device = await self._store.get_device(session.device_id)
        if device is None:
            return
        changes, kinds = _beaten(device, beat)
        if changes:
            events = [self._event(session, kind, payload) for kind, payload in kinds]
            await self._store.update_device(device.id, changes, events)
            self._changed_quietly(device.id)

    async def _door(self, session: Session, door: reports.DoorStatus) -> None:
        now = self._clock.now()
        payload = {
            "status": door.status.value,
            "source": LockOrigin.SENSOR.value,
            "triggeredBy": door.triggered_by,
            "batteryLevel": door.battery_level,
        }
        changes: dict[str, Any] = {
            "lock_state": LockState(door.status, LockOrigin.SENSOR, now),
            "updated_at": now,
        }
        if door.battery_level is not None:
            changes["battery_level"] = round(door.battery_level)
        event = self._event(session, EventType.STATUS_CHANGED, payload, door.claimed_at)
        await self._store.update_device(session.device_id, changes, [event])

    async def _described(self, session: Session, report: Report, version: object) -> None:
        device = await self._store.get_device(session.device_id)
        if device is None:
            return
        changes: dict[str, Any] = {}
        events = []
        if report.metadata:
            changes["metadata"] = _merged(device.metadata, report.metadata)
        if isinstance(version, str) and version != device.firmware_version:
            changes["firmware_version"] = version[:100]
            if device.firmware_version is not None:
                payload = {"from": device.firmware_version, "to": version[:100]}
                events.append(self._event(session, EventType.FIRMWARE_UPDATED, payload))
        if changes:
            changes["updated_at"] = self._clock.now()
            await self._store.update_device(device.id, changes, events)

    async def _battery(self, session: Session, low: reports.LowBattery) -> None:
        payload = {"batteryLevel": low.battery_level}
        event = self._event(session, EventType.LOW_BATTERY, payload, low.claimed_at)
        changes = {"battery_level": round(low.battery_level), "updated_at": self._clock.now()}
        await self._store.update_device(session.device_id, changes, [event])

    async def _rang(self, session: Session, ring: reports.BellPressed) -> None:
        detail: dict[str, Any] = {"pressedBy": ring.pressed_by}
        if isinstance(place := ring.metadata.get("location"), str):
            detail["location"] = place[:200]
        if ring.claimed_at is not None:
            detail["claimedAt"] = iso_or_none(ring.claimed_at)
        arrival = Arrival(bell=True)
        await self._visitors.arrived(session.device_id, arrival, session.metadata(), detail)

    async def _pictured(self, session: Session, snapshot: reports.Snapshot) -> None:
        captured = {"quality": snapshot.quality, "metadata": snapshot.metadata}
        if snapshot.claimed_at is not None:
            captured["claimedAt"] = iso_or_none(snapshot.claimed_at)
        try:
            content = await asyncio.to_thread(from_text, snapshot.image)
        except (BadPicture, TooLarge) as error:
            await self.rejected(session, snapshot.event, error.message)
            raise
        try:
            picture = await self._pictures.keep(
                session.device_id, content, session.metadata(), captured
            )
        except BadPicture as error:  # something was taken all the same: say so, and keep nothing
            told = {"imageBytes": len(content), **captured, "problem": error.message}
            await self._record(session, EventType.SNAPSHOT_CAPTURED, told)
            return
        arrival = Arrival(image=picture.image)
        await self._visitors.pictured(session.device_id, arrival, session.metadata())

    async def _filmed(self, session: Session, frame: reports.Frame) -> None:
        try:
            self._frames.publish(session.device_id, frame.image)
        except (BadPicture, TooLarge) as error:
            await self.rejected(session, frame.event, error.message)
            raise

    async def _logged(self, session: Session, report: Report) -> None:
        kind = _LOGGED_AS[type(report)]
        body = report.model_dump(mode="json", by_alias=True, exclude_none=True)
        for known in ("deviceId", "timestamp"):
            body.pop(known, None)
        await self._store.append([self._event(session, kind, body, report.claimed_at)])

    async def _record(self, session: Session, kind: EventType, payload: Mapping[str, Any]) -> None:
        await self._store.append([self._event(session, kind, payload)])

    def _event(
        self,
        session: Session,
        kind: EventType,
        payload: Mapping[str, Any],
        claimed_at: datetime | None = None,
    ) -> NewEvent:
        if claimed_at is not None:
            payload = {**payload, "claimedAt": iso_or_none(claimed_at)}
        return NewEvent(
            kind,
            self._clock.now(),
            device_id=session.device_id,
            payload=payload,
            metadata=session.metadata(),
        )


_LOGGED_AS = {
    reports.SnapshotReady: EventType.SNAPSHOT_CAPTURED,
    reports.Motion: EventType.MOTION_DETECTED,
    reports.DeviceFault: EventType.ERROR_OCCURRED,
}


def _beaten(
    device: Device, beat: reports.Heartbeat
) -> tuple[dict[str, Any], list[tuple[EventType, Mapping[str, Any]]]]:
    """What a heartbeat changes of its device, and what the log should say of that."""
    changes: dict[str, Any] = {}
    kinds: list[tuple[EventType, Mapping[str, Any]]] = []
    if beat.metadata and (merged := _merged(device.metadata, beat.metadata)) != device.metadata:
        changes["metadata"] = merged
    if beat.battery_level is not None and round(beat.battery_level) != device.battery_level:
        changes["battery_level"] = round(beat.battery_level)
    if beat.status != "offline" and (beat.status == "maintenance") != device.maintenance:
        changes["maintenance"] = beat.status == "maintenance"
        kinds.append((EventType.STATUS_CHANGED, {"status": beat.status}))
    return changes, kinds


def _merged(kept: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the device; when it grows too large, what it says now is enough."""
    merged = {**kept, **said}
    return merged if len(merged) <= _MOST_METADATA else dict(said)

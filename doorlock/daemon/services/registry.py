"""Devices: registering, changing and removing them, and the tokens that prove who they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

import structlog

from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.access import Level
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.payloads import settings_checked
from doorlock.daemon.domain.schedules import zone_named
from doorlock.daemon.domain.users import Caller, Scope
from doorlock.daemon.ports import Clock, Credentials, DeviceGateway, Store, Taken
from doorlock.daemon.services.guard import Guard, Seen, metadata_of, require_scope
from doorlock.errors import Conflict, NotFound, Unavailable
from doorlock.protocol import DeviceType

log = structlog.get_logger("doorlock.registry")

PAIRING_LIFE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Issued:
    """A device and its new token, which is shown this once. `warning` says what did not work."""

    device: Device
    token: str
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What somebody says of a new device."""

    name: str
    esp_id: str
    device_type: DeviceType = DeviceType.DOOR_LOCK
    room: str = ""
    location: str = ""
    firmware_version: str | None = None
    metadata: Mapping[str, Any] | None = None


class Registry:
    """The devices and their tokens; `credentials` is None where the broker's users are not ours."""

    def __init__(self, store: Store, clock: Clock, guard: Guard) -> None:
        self._store, self._clock, self._guard = store, clock, guard
        self._credentials: Credentials | None = None
        self._gateways: tuple[DeviceGateway, ...] = ()
        self._unknown_to_broker: Callable[[], Set[str]] = frozenset
        self._provisioning: dict[str, asyncio.Task[None]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def connect(
        self,
        credentials: Credentials | None,
        gateways: tuple[DeviceGateway, ...],
        unknown_to_broker: Callable[[], Set[str]] = frozenset,
    ) -> None:
        """The ways out, known once they are built. `unknown_to_broker` gives the devices that the
        broker was found not to know, whatever was recorded."""
        self._credentials, self._gateways = credentials, gateways
        self._unknown_to_broker = unknown_to_broker

    async def register(self, caller: Caller, described: Described) -> Issued:
        """Raises NotAllowed, and Conflict for an ESP id that is registered already."""
        require_scope(caller, Scope.ADMIN, "register devices")
        now, token = self._clock.now(), tokens.new_token()
        device = Device(
            id=new_id(),
            name=described.name,
            esp_id=described.esp_id,
            owner_id=caller.user.id,
            created_at=now,
            updated_at=now,
            device_type=described.device_type,
            room=described.room,
            location=described.location,
            firmware_version=described.firmware_version,
            metadata=described.metadata or {},
            token_hash=tokens.hashed(token),
        )
        payload = {"name": device.name, "espId": device.esp_id, "deviceType": device.device_type}
        event = self._event(caller, device, EventType.DEVICE_REGISTERED, payload)
        try:
            await self._store.add_device(device, [event])
        except Taken as taken:
            raise Conflict(
                f"a device with the ESP id {described.esp_id!r} is registered already",
                hint="`doorlock token rotate` gives a registered device a new token.",
            ) from taken
        return await self._provisioned(device, token)

    async def update(self, caller: Caller, ref: str, changes: Mapping[str, Any]) -> Seen:
        """Change name, room, location, time zone, isActive or settings. Raises NotFound,
        NotAllowed, BadInput.

        Settings take `control`, the rest `admin`.
        """
        fields = dict(changes)
        only_settings = set(fields) <= {"settings"}
        least = Level.CONTROL if only_settings else Level.ADMIN
        seen = await self._guard.require(caller, ref, least, "change")
        device, events = seen.device, []
        if "settings" in fields:
            wanted = settings_checked(fields["settings"])
            fields["settings"] = {**device.settings, **wanted}
            payload = {"settings": wanted}
            events.append(self._event(caller, device, EventType.SETTINGS_UPDATED, payload))
        plain = {key: value for key, value in fields.items() if key != "settings"}
        if plain:
            payload = {"changes": plain}
            if "timezone" in plain:
                zone_named(plain["timezone"])
                payload["before"] = {"timezone": device.timezone}
            events.append(self._event(caller, device, EventType.SETTINGS_UPDATED, payload))
        fields["updated_at"] = self._clock.now()
        expect = {"settings": device.settings} if "settings" in fields else None
        changed = await self._store.update_device(device.id, fields, events, expect=expect)
        if changed is None and await self._store.get_device(device.id) is not None:
            raise Conflict("somebody else changed its settings just now", hint="Try again.")
        if changed is None:
            raise NotFound("the device was removed in the meantime")
        if device.is_active and not changed.is_active:
            await self._drop(device.id, "switched off")
        return replace(seen, device=changed)

    async def remove(self, caller: Caller, ref: str) -> Device:
        """Raises NotFound, NotAllowed. Its sessions end at once; its events stay."""
        device = (await self._guard.require(caller, ref, Level.OWNER, "remove")).device
        payload = {"name": device.name, "espId": device.esp_id}
        event = self._event(caller, device, EventType.DEVICE_REMOVED, payload)
        if not await self._store.remove_device(device.id, [event]):
            raise NotFound("the device was removed in the meantime")
        await self._drop(device.id, "removed")
        await self._withdraw(device.id)
        return device

    async def rotate(self, caller: Caller, ref: str) -> Issued:
        """A new token; the old one and its sessions end at once. Raises NotFound, NotAllowed."""
        device = (await self._guard.require(caller, ref, Level.ADMIN, "give a new token to")).device
        token = tokens.new_token()
        changed = await self._retoken(caller, device, tokens.hashed(token), EventType.TOKEN_ROTATED)
        return await self._provisioned(changed, token)

    async def revoke(self, caller: Caller, ref: str) -> Device:
        """No token any more, until the next rotation. Raises NotFound, NotAllowed."""
        device = (await self._guard.require(caller, ref, Level.ADMIN, "revoke the token of")).device
        changed = await self._retoken(caller, device, None, EventType.TOKEN_REVOKED)
        await self._withdraw(device.id)
        return changed

    async def pair(self, caller: Caller, ref: str) -> Issued:
        """A pending token, which replaces the present one when the device first uses it within
        15 minutes. Raises NotFound, NotAllowed."""
        device = (await self._guard.require(caller, ref, Level.ADMIN, "pair")).device
        now, token = self._clock.now(), tokens.new_token()
        changes = {
            "pending_token_hash": tokens.hashed(token),
            "pending_expires_at": now + PAIRING_LIFE,
            "updated_at": now,
        }
        changed = await self._store.update_device(device.id, changes)
        if changed is None:
            raise NotFound("the device was removed in the meantime")
        return Issued(changed, token)

    def token_seen(self, device: Device, token: str) -> None:
        """The device has just proved itself by `token`: let the broker know it, if it does not."""
        known = device.mqtt_provisioned and device.id not in self._unknown_to_broker()
        if self._credentials is not None and not known and device.id not in self._provisioning:
            task = asyncio.ensure_future(self._provision_later(device, token))
            self._provisioning[device.id] = task
            task.add_done_callback(lambda _: self._provisioning.pop(device.id, None))

    async def stop(self) -> None:
        """End what was still being provisioned."""
        tasks = list(self._provisioning.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _provision_later(self, device: Device, token: str) -> None:
        await self._provisioned(device, token)

    async def _retoken(
        self, caller: Caller, device: Device, token_hash: str | None, kind: EventType
    ) -> Device:
        changes = {
            "token_hash": token_hash,
            "mqtt_provisioned": False,
            "pending_token_hash": None,
            "pending_expires_at": None,
            "updated_at": self._clock.now(),
        }
        event = self._event(caller, device, kind, {})
        changed = await self._store.update_device(device.id, changes, [event])
        if changed is None:
            raise NotFound("the device was removed in the meantime")
        await self._drop(device.id, "token replaced")
        return changed

    async def _provisioned(self, device: Device, token: str) -> Issued:
        if self._credentials is None:
            return Issued(device, token)
        token_hash = tokens.hashed(token)
        try:
            async with self._turn(device.id):
                current = await self._store.get_device(device.id)
                if current is None or current.token_hash != token_hash:
                    return Issued(device, token)  # replaced meanwhile: not to reach the broker
                await self._credentials.grant(device.id, token)
        except Unavailable as error:
            log.warning("the broker does not know a device yet", device=device.id)
            return Issued(
                device,
                token,
                f"MQTT does not know this device yet ({error.message}); it will once the device "
                "has connected by Socket.IO, or after `doorlock token rotate`.",
            )
        # only for the token that was granted: another rotation may have come between
        changed = await self._store.update_device(
            device.id, {"mqtt_provisioned": True}, expect={"token_hash": token_hash}
        )
        return Issued(changed or device, token)

    def _turn(self, device_id: str) -> asyncio.Lock:
        return self._turns.setdefault(device_id, asyncio.Lock())

    async def _drop(self, device_id: str, reason: str) -> None:
        for gateway in self._gateways:
            await gateway.drop(device_id, reason)

    async def _withdraw(self, device_id: str) -> None:
        if self._credentials is None:
            return
        try:
            async with self._turn(device_id):
                await self._credentials.withdraw(device_id)
        except Unavailable:
            # its messages are refused all the same, and the next start takes it out
            log.warning("the broker still knows a device that may not connect", device=device_id)

    def _event(
        self, caller: Caller, device: Device, kind: EventType, payload: Mapping[str, Any]
    ) -> NewEvent:
        return NewEvent(
            kind,
            self._clock.now(),
            device_id=device.id,
            user_id=caller.user.id,
            payload=payload,
            metadata=metadata_of(caller),
        )


def onboarding_url(base: str, device: Device, token: str) -> str:
    """What the pairing QR says: where the daemon is, who the device is, and its token."""
    fields = {
        "deviceId": device.id,
        "token": token,
        "type": device.device_type.value,
        "room": device.room,
    }
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in fields.items())
    return f"{base.rstrip('/')}/onboard?{query}"

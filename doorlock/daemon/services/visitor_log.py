"""Who came and what became of it, as the wire shows it to who may see the camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.ids import is_id
from doorlock.daemon.domain.visitors import Visitor, VisitorStatus
from doorlock.daemon.ports import Clock, Store, VisitorFilter
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.pictures import Pictures, Reader
from doorlock.daemon.services.visitors import no_such_visitor
from doorlock.errors import BadInput, NotFound
from doorlock.times import iso, iso_or_none

_ALIASES = {"approved": VisitorStatus.GRANTED, "rejected": VisitorStatus.DENIED}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asks for; the device by whatever names it."""

    status: VisitorStatus | None = None
    device: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class VisitorLog:
    """Reads only; everything passes the guard."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        guard: Guard,
        pictures: Pictures,
        public_url: Callable[[], str],
    ) -> None:
        self._store, self._clock, self._guard = store, clock, guard
        self._pictures, self._public_url = pictures, public_url

    async def page(
        self, reader: Reader, wanted: Wanted, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Newest first, and how many there are. Raises NotFound for a device not seen."""
        statuses = frozenset({wanted.status}) if wanted.status else frozenset()
        scope = VisitorFilter(
            await self._devices(reader, wanted.device), statuses, wanted.since, wanted.until
        )
        found, total = await self._store.list_visitors(scope, limit=limit, offset=offset)
        return await self.views(reader, found), total

    async def pending(self, reader: Reader, device: str | None = None) -> list[dict[str, Any]]:
        """Those that still wait, oldest first. Raises NotFound for a device not seen."""
        allowed, now = await self._devices(reader, device), self._clock.now()
        waiting = [
            visitor
            for visitor in await self._store.pending_visitors()
            if now < visitor.expires_at and (allowed is None or visitor.device_id in allowed)
        ]
        return await self.views(reader, waiting)

    async def one(self, reader: Reader, visitor_id: str) -> dict[str, Any]:
        """Raises NotFound for what the reader may not see, whether it exists or not."""
        visitor = await self._store.get_visitor(visitor_id) if is_id(visitor_id) else None
        if visitor is None or not await self._pictures.sees(reader, visitor.device_id):
            raise no_such_visitor()
        return (await self.views(reader, [visitor]))[0]

    async def stats(self, reader: Reader, device: str | None = None) -> dict[str, Any]:
        """How many came, by what became of them."""
        devices, now = await self._devices(reader, device), self._clock.now()
        counted = await self._store.count_visitors(VisitorFilter(devices))
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        today = await self._store.count_visitors(VisitorFilter(devices, since=midnight))
        week = VisitorFilter(devices, since=now - timedelta(days=7))
        by_status = {status.value: counted.get(status, 0) for status in VisitorStatus}
        return {
            "total": sum(counted.values()),
            **by_status,
            **{alias: by_status[status.value] for alias, status in _ALIASES.items()},
            "today": sum(today.values()),
            "thisWeek": sum((await self._store.count_visitors(week)).values()),
        }

    async def views(self, reader: Reader, visitors: Sequence[Visitor]) -> list[dict[str, Any]]:
        """Visitors whom the reader may see, with addresses of their pictures for this reader."""
        devices = await self._store.list_devices({visitor.device_id for visitor in visitors})
        names = {device.id: device.name for device in devices}
        for user_id in {visitor.decided_by for visitor in visitors} - {None}:
            if (user := await self._store.get_user(str(user_id))) is not None:
                names[user.id] = user.username
        return [
            {**_view(visitor, names), "imageUrl": self.image_url(reader, visitor)}
            for visitor in visitors
        ]

    def image_url(self, reader: Reader, visitor: Visitor) -> str | None:
        """The picture's address, for this reader alone and for an hour; None without a picture."""
        if visitor.image is None:
            return None
        return self._public_url() + self._pictures.path(reader, visitor.device_id, visitor.image)

    async def latest(self, reader: Reader, device: Device) -> dict[str, Any]:
        """The newest picture of a device that the reader sees. Raises NotFound."""
        picture = await self._pictures.latest(device.id)
        if picture is None:
            raise NotFound(
                "the camera has taken no picture yet", hint="`doorlock snapshot` has it take one."
            )
        return {
            "cameraId": device.id,
            "deviceId": device.id,
            "deviceName": device.name,
            "image": picture.image,
            "imageUrl": self._public_url() + self._pictures.path(reader, device.id, picture.image),
            "timestamp": iso(picture.taken_at),
        }

    async def _devices(self, reader: Reader, ref: str | None) -> frozenset[str] | None:
        """The devices whose visitors the reader may see; None is all of them."""
        if isinstance(reader, Device):
            if ref is not None and ref not in (reader.id, reader.esp_id, reader.name):
                raise NotFound(f"there is no device {ref!r} that you may see")
            return frozenset({reader.id})
        if ref is not None:
            return frozenset({(await self._guard.find(reader, ref)).device.id})
        if reader.user.is_operator:
            return None
        return frozenset(one.device.id for one in await self._guard.visible(reader.user))


def status_named(text: str | None) -> VisitorStatus | None:
    """A status of the wire, by either of its names; None for all. Raises BadInput."""
    if text in (None, "", "all"):
        return None
    try:
        return _ALIASES.get(str(text)) or VisitorStatus(str(text))
    except ValueError as error:
        known = ", ".join(VisitorStatus)
        raise BadInput("there is no such status", hint=f"Known are: {known}, all.") from error


def _view(visitor: Visitor, names: dict[str, str]) -> dict[str, Any]:
    opened = iso(visitor.opened_at)
    return {
        "_id": visitor.id,
        "id": visitor.id,
        "visitorId": visitor.id,
        "visitorLogId": visitor.id,
        "deviceId": visitor.device_id,
        "deviceName": names.get(visitor.device_id),
        "timestamp": opened,
        "createdAt": opened,
        "expiresAt": iso(visitor.expires_at),
        "status": visitor.status.value,
        "image": visitor.image,
        "bellPressed": visitor.bell_pressed,
        "message": visitor.message,
        "decidedBy": visitor.decided_by,
        "decidedByName": names.get(visitor.decided_by or ""),
        "decidedAt": iso_or_none(visitor.decided_at),
        "note": visitor.note,
        "notes": visitor.note,
        "commandId": visitor.command_id,
    }

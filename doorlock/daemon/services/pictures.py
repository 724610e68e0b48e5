"""Pictures from cameras: checked, kept by their content, shown to who may see the camera, and let
go in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import is_id
from doorlock.daemon.domain.pictures import Picture, media_type, stripped
from doorlock.daemon.domain.rates import Bucket
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import Clock, SnapshotStore, Store
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.links import Links
from doorlock.errors import NotAuthenticated, NotFound, RateLimited, Unavailable

log = structlog.get_logger("doorlock.pictures")

Reader = Caller | Device
"""Who reads: a person, or a device that sees what is its own."""

_BURST, _PER_SECOND = 20, 0.5
_NOTES_PER_SECOND = 1 / 60
_LINK_LIFE = timedelta(hours=1)
_UNUSED_LIFE = timedelta(hours=1)
_EVERY = timedelta(hours=1)
_STEP = 500


class Pictures:
    """What cameras saw. `keep` is how long it is kept."""

    def __init__(
        self,
        store: Store,
        snapshots: SnapshotStore,
        clock: Clock,
        guard: Guard,
        links: Links,
        keep: timedelta,
    ) -> None:
        self._store, self._snapshots, self._clock = store, snapshots, clock
        self._guard, self._links, self._keep_for = guard, links, keep
        self._limits: dict[str, tuple[Bucket, Bucket]] = {}

    # in

    async def keep(
        self,
        device_id: str,
        content: bytes,
        metadata: Mapping[str, Any],
        captured: Mapping[str, Any] | None = None,
    ) -> Picture:
        """Keep what a camera took, cleared of its metadata. `captured` is what the log says of it,
        None where it is told of with something else. Raises BadPicture, TooLarge, RateLimited."""
        await self._within_limits(device_id, metadata)
        clean = await asyncio.to_thread(stripped, content)
        now = self._clock.now()
        picture = Picture(device_id, await self._snapshots.put(clean), now)
        events: Sequence[NewEvent] = ()
        if captured is not None:
            payload = {"image": picture.image, "imageBytes": len(clean), **captured}
            events = [_event(EventType.SNAPSHOT_CAPTURED, picture, payload, metadata)]
        await self._store.add_picture(picture, events)
        return picture

    async def _within_limits(self, device_id: str, metadata: Mapping[str, Any]) -> None:
        now = self._clock.now()
        pictures, notes = self._limits.setdefault(
            device_id, (Bucket(_BURST, _PER_SECOND, now), Bucket(1, _NOTES_PER_SECOND, now))
        )
        if pictures.take(now):
            return
        if notes.take(now):
            payload = {"event": "picture"}
            picture = Picture(device_id, "", now)
            await self._store.append([_event(EventType.RATE_LIMITED, picture, payload, metadata)])
        raise RateLimited(
            "too many pictures from this device",
            hint="Send fewer.",
            details={"retryAfter": round(1 / _PER_SECOND)},
        )

    # out

    def path(self, reader: Reader, device_id: str, image: str) -> str:
        """Where the picture is, for an `<img>` of this reader; it works for an hour."""
        place = _place(device_id, image)
        return f"{place}?link={self._links.make(subject(reader), place, _LINK_LIFE)}"

    async def linked(self, link: str, device_id: str, image: str) -> bytes:
        """The picture, for whom the link was made, if they may still see it. Raises
        NotAuthenticated, NotFound."""
        reader = await self.reader_of(self._links.subject_of(link, _place(device_id, image)))
        return await self.content(reader, device_id, image)

    async def reader_of(self, whose: str) -> Reader:
        """Whom a link speaks for, as they are now. Raises NotAuthenticated."""
        kind, reader_id = whose[:1], whose[1:]
        if kind == "u":
            user = await self._store.get_user(reader_id)
            if user is not None and user.is_active:
                return Caller(user, source="http")
        if kind == "d":
            device = await self._store.get_device(reader_id)
            if device is not None and device.is_active:
                return device
        raise NotAuthenticated("the link is no longer valid", hint="Ask for a new one.")

    async def content(self, reader: Reader, device_id: str, image: str) -> bytes:
        """The picture. Raises NotFound for what the reader may not see, whether it is there or
        not."""
        if await self.sees(reader, device_id) and await self._store.get_picture(device_id, image):
            found = await self._snapshots.get(image)
            if found is not None and media_type(found) is not None:
                return found
        raise NotFound("there is no such picture")

    async def latest(self, device_id: str) -> Picture | None:
        """The newest of a device; whoever asks must have been let in before."""
        return await self._store.latest_picture(device_id)

    async def sees(self, reader: Reader, device_id: str) -> bool:
        """Whether the reader may see this device now, and what it saw."""
        if isinstance(reader, Device):
            return reader.id == device_id
        if not is_id(device_id):
            return False
        try:
            found = await self._guard.find(reader, device_id)
        except NotFound:
            return False
        return found.device.id == device_id  # and no other that is only called so

    # away

    async def run(self) -> None:
        """Until cancelled: let go of what is old, once now and then every hour."""
        while True:
            try:
                await self.sweep()
            except Unavailable as error:
                log.warning("old pictures could not be removed", error=error.message)
            await self._clock.sleep_until(self._clock.now() + _EVERY)

    async def sweep(self) -> int:
        """Remove visitors and pictures that are too old, and pictures that nobody needs; returns
        how many pictures went from where they are kept."""
        now = self._clock.now()
        before, unused = now - self._keep_for, now - min(_UNUSED_LIFE, self._keep_for)
        while await self._store.forget_visitors(before, _STEP) == _STEP:
            log.debug("visitors were forgotten", count=_STEP)
        while await self._store.forget_pictures(before, unused, _STEP) == _STEP:
            log.debug("pictures were forgotten", count=_STEP)
        candidates, removed = await self._snapshots.put_before(unused), 0
        for begin in range(0, len(candidates), _STEP):
            step = candidates[begin : begin + _STEP]
            used = await self._store.images_in_use(step)
            for image in step:
                removed += image not in used and await self._snapshots.remove(image, unused)
        return removed


def subject(reader: Reader) -> str:
    """The reader, as a link names them."""
    return f"d{reader.id}" if isinstance(reader, Device) else f"u{reader.user.id}"


def _place(device_id: str, image: str) -> str:
    return f"/api/door/picture/{device_id}/{image}"


def _event(
    kind: EventType, picture: Picture, payload: Mapping[str, Any], metadata: Mapping[str, Any]
) -> NewEvent:
    return NewEvent(
        kind, picture.taken_at, device_id=picture.device_id, payload=payload, metadata=metadata
    )

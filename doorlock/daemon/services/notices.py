"""Tells people's dashboards what happens, each one only what its user may see at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import structlog

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.feed import Feed, Gap
from doorlock.daemon.services.presence import Presence
from doorlock.daemon.services.sight import Sight
from doorlock.daemon.services.told import (
    Notice,
    Scene,
    notices_of,
    row_notice,
    status_message,
    status_of,
)

log = structlog.get_logger("doorlock.notices")

Say = Callable[[str, Mapping[str, Any]], Awaitable[None]]
ImageUrl = Callable[[Caller, str, str], str]
"""The address of a device's picture for one who reads."""

_MOVED_FOR = timedelta(seconds=30)


class Viewer:
    """One dashboard that is open: who looks, and how to say something to it."""

    def __init__(self, caller: Caller, say: Say) -> None:
        self.caller, self.say = caller, say


class Notices:
    """Follows the event log for every dashboard at once."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        feed: Feed,
        presence: Presence,
        sight: Sight,
        image_url: ImageUrl,
    ) -> None:
        self._store, self._clock, self._feed = store, clock, feed
        self._presence, self._sight, self._image_url = presence, sight, image_url
        self._viewers: set[Viewer] = set()
        self._moved: dict[str, datetime] = {}
        self._changed: set[str] = set()
        self._wake, self._watched = asyncio.Event(), asyncio.Event()
        self._from = 0
        store.listen(self._arrived)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def join(self, viewer: Viewer) -> None:
        """From now on it is told what happens."""
        if not self._viewers:
            self._from = self._feed.position
        self._viewers.add(viewer)
        self._watched.set()

    def leave(self, viewer: Viewer) -> None:
        """Harmless twice."""
        self._viewers.discard(viewer)

    def changed(self, device_id: str) -> None:
        """Something of the device has changed that the log does not tell of; returns at once."""
        if self._viewers:
            self._changed.add(device_id)
            self._wake.set()

    def status(self, device: Device) -> dict[str, Any]:
        """The device as `device_status` tells of it."""
        now = self._clock.now()
        return status_message(device, self._status(device), now)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_events())
            group.create_task(self._tell_changes())

    async def _tell_events(self) -> None:
        while True:  # the log is followed only while somebody looks: each event costs a wake-up
            await self._watched.wait()
            async with aclosing(self._feed.follow(self._from)) as followed:
                async for item in followed:
                    await self._tell_item(item)
                    if not self._viewers:
                        self._watched.clear()
                        break

    async def _tell_item(self, item: Event | Gap) -> None:
        if isinstance(item, Gap):
            log.warning("dashboards have missed events", first=item.first)
            return
        try:
            await self._tell(item)
        except Exception:
            log.exception("an event could not be told", event_type=item.new.type)

    async def _tell_changes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            for device_id in changed:
                try:
                    await self._tell_status(device_id)
                except Exception:
                    log.exception("a change could not be told")

    async def _tell_status(self, device_id: str) -> None:
        device = await self._store.get_device(device_id)
        if device is not None:
            await self._say_of(device.id, [Notice("device_status", self.status(device))])

    async def _tell(self, event: Event) -> None:
        new = event.new
        username = await self._username(new.user_id)
        device = await self._store.get_device(new.device_id) if new.device_id else None
        if device is None:
            await self._say_aside(event, list(row_notice(event, None, username)))
        else:
            scene = Scene(device, username, self._status(device))
            await self._say_of(device.id, list(notices_of(event, scene)))

    async def _say_of(self, device_id: str, notices: Sequence[Notice]) -> None:
        """To whoever sees the device when it is their turn."""
        for viewer in list(self._viewers):
            try:
                await self._say_to(viewer, device_id, notices)
            except Exception:
                # what cannot be told is not told to the wrong people either
                log.exception("a dashboard could not be told")

    async def _say_to(self, viewer: Viewer, device_id: str, notices: Sequence[Notice]) -> None:
        for notice in notices:
            sees = await self._sight.sees(viewer.caller.user, device_id)
            if sees and viewer in self._viewers:
                await viewer.say(notice.event, self._for(viewer, device_id, notice))

    async def _say_aside(self, event: Event, notices: Sequence[Notice]) -> None:
        """What is on no device, or on one that is gone: to who did it, and to operators."""
        for viewer in list(self._viewers):
            user = viewer.caller.user
            if viewer in self._viewers and (user.is_operator or user.id == event.new.user_id):
                for notice in notices:
                    await viewer.say(notice.event, notice.data)

    def _for(self, viewer: Viewer, device_id: str, notice: Notice) -> Mapping[str, Any]:
        if notice.image is None:
            return notice.data
        url = self._image_url(viewer.caller, device_id, notice.image)
        return {**notice.data, "imageUrl": url}

    def _status(self, device: Device) -> dict[str, Any]:
        now = self._clock.now()
        moved = self._moved.get(device.id)
        if moved is not None and now - moved > _MOVED_FOR:
            del self._moved[device.id]
            moved = None
        return status_of(device, self._presence, now, moved is not None)

    async def _username(self, user_id: str | None) -> str | None:
        user = await self._store.get_user(user_id) if user_id else None
        return user.username if user else None

    def _arrived(self, events: Sequence[Event]) -> None:
        """Who was disabled hears nothing more, not even what happened before that."""
        for event in events:
            if event.new.type is EventType.MOTION_DETECTED and event.new.device_id is not None:
                self._moved[event.new.device_id] = event.new.at
            if event.new.type is EventType.USER_DISABLED:
                gone = {v for v in self._viewers if v.caller.user.id == event.new.user_id}
                self._viewers -= gone

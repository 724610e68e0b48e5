"""What the user of a dashboard may do by its socket; WIRE section 2, "Dashboard to daemon"."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import structlog

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.domain.visitors import Verdict
from doorlock.daemon.ports import Clock
from doorlock.daemon.services.frames import Frames
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.notices import Notices, Say, Viewer
from doorlock.daemon.services.sight import Sight
from doorlock.daemon.services.submit import Asked, Submit, Submitted
from doorlock.daemon.services.visitors import Decided, Visitors
from doorlock.protocol import DeviceType
from doorlock.times import iso

log = structlog.get_logger("doorlock.desk")


class Seat(Viewer):
    """A dashboard at work: beside what it is told, the devices that it has subscribed to."""

    def __init__(self, caller: Caller, say: Say) -> None:
        super().__init__(caller, say)
        self.subscribed: dict[str, asyncio.Task[None] | None] = {}
        self.left = False


class Desk:
    """Every act passes the guard as it does by REST. All raise the guard's DoorlockErrors."""

    def __init__(
        self,
        clock: Clock,
        guard: Guard,
        sight: Sight,
        submit: Submit,
        visitors: Visitors,
        frames: Frames,
        notices: Notices,
    ) -> None:
        self._clock, self._guard, self._sight = clock, guard, sight
        self._submit, self._visitors = submit, visitors
        self._frames, self._notices = frames, notices

    def sit(self, seat: Seat) -> None:
        self._notices.join(seat)

    def leave(self, seat: Seat) -> None:
        """It hears nothing more, and watches no camera. Harmless twice."""
        seat.left = True
        self._notices.leave(seat)
        for device_id in list(seat.subscribed):
            self._end(seat, device_id)

    async def subscribe(self, seat: Seat, ref: str) -> Device:
        """A camera sends its frames from now on."""
        device = (await self._guard.find(seat.caller, ref)).device
        if device.id not in seat.subscribed and not seat.left:
            films = device.device_type is DeviceType.CAMERA
            task = asyncio.ensure_future(self._film(seat, device.id)) if films else None
            seat.subscribed[device.id] = task
        return device

    async def unsubscribe(self, seat: Seat, ref: str) -> str:
        """The device's id. What may no longer be seen can be given up all the same."""
        if ref not in seat.subscribed:
            ref = (await self._guard.find(seat.caller, ref)).device.id
        self._end(seat, ref)
        return ref

    async def status(self, seat: Seat, ref: str) -> dict[str, Any]:
        return self._notices.status((await self._guard.find(seat.caller, ref)).device)

    async def send(
        self, seat: Seat, ref: str, command: str, payload: Mapping[str, Any]
    ) -> Submitted:
        return await self._submit.submit(seat.caller, Asked(ref, command, payload))

    async def decide(self, seat: Seat, visitor_id: str, granted: bool, note: str) -> Decided:
        caller = seat.caller
        verdict = Verdict(granted, caller.user.id, note=note)
        return await self._visitors.decide(caller, visitor_id, verdict)

    def _end(self, seat: Seat, device_id: str) -> None:
        task = seat.subscribed.pop(device_id, None)
        if task is not None:
            task.cancel()

    async def _film(self, seat: Seat, device_id: str) -> None:
        try:
            await self._show_frames(seat, device_id)
        except Exception:
            log.exception("frames could not be shown")
        seat.subscribed.pop(device_id, None)
        await seat.say("unsubscribed", {"deviceId": device_id})

    async def _show_frames(self, seat: Seat, device_id: str) -> None:
        """Until the seat is given up or its user sees the camera no more."""
        async with self._frames.watch(device_id) as watch:
            while True:
                frame = await watch.next()
                if not await self._sight.sees(seat.caller.user, device_id):
                    return
                data = {
                    "deviceId": device_id,
                    "image": base64.b64encode(frame).decode(),
                    "timestamp": iso(self._clock.now()),
                }
                await seat.say("frame", data)

"""Routes of cameras: which there are, their latest picture, and what they see right now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.respond import envelope
from doorlock.daemon.api.state import services
from doorlock.daemon.services.live import LINK_LIFE
from doorlock.protocol import DeviceType
from doorlock.times import iso

router = APIRouter(prefix="/api/camera", tags=["cameras"])

_BOUNDARY = "frame"
CameraId = Annotated[str, Query(alias="cameraId")]


@router.get("/list")
async def cameras(request: Request, caller: TheCaller, status: str | None = None) -> Response:
    found = await services(request).queries.devices(caller, status, DeviceType.CAMERA.value)
    return envelope([{**view, "cameraId": view["id"]} for view in found])


@router.get("/snapshot")
async def snapshot(request: Request, caller: TheCaller, camera: CameraId) -> Response:
    device = (await services(request).guard.find(caller, camera)).device
    return envelope(await services(request).visitor_log.latest(caller, device))


@router.get("/stream-url")
async def stream_url(request: Request, caller: TheCaller, camera: CameraId) -> Response:
    found = services(request)
    device = (await found.guard.find(caller, camera)).device
    path = found.live_view.path(caller, device.id)
    return envelope(
        {
            "cameraId": device.id,
            "deviceId": device.id,
            "deviceName": device.name,
            "streamUrl": found.public_url().rstrip("/") + path,
            "expiresAt": iso(found.clock.now() + LINK_LIFE),
        }
    )


@router.get(
    "/stream/{device_id}",
    response_class=Response,
    responses={200: {"content": {"multipart/x-mixed-replace": {}}}},
)
async def stream(request: Request, device_id: str, link: str) -> Response:
    """An MJPEG stream: one answer of many pictures, each taking the place of the last."""
    live = services(request).live_view
    whose = await live.opened(link, device_id)
    return StreamingResponse(
        _parts(live.frames(whose, device_id)),
        media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )


async def _parts(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield f"--{_BOUNDARY}\r\n".encode()
    async for frame in frames:
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n"
        # the boundary comes at once, for browsers show a part only when it has ended
        yield head.encode() + frame + f"\r\n--{_BOUNDARY}\r\n".encode()

"""Routes of devices: registering, reading, changing, tokens, and what devices themselves call."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from doorlock import wire
from doorlock.daemon.api.callers import TheCaller, TheDevice, device_metadata, proven
from doorlock.daemon.api.respond import envelope, pages
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.reports import Heartbeat
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.services.registry import Described, Issued, onboarding_url
from doorlock.daemon.services.submit import Asked
from doorlock.errors import BadInput, NotAllowed
from doorlock.protocol import CommandName
from doorlock.times import iso, iso_or_none

router = APIRouter(prefix="/api/device", tags=["devices"])

Page = Annotated[int, Query(ge=1, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("")
async def list_devices(
    request: Request,
    caller: TheCaller,
    page: Page = 1,
    limit: Limit = 100,
    status: str | None = None,
    type: str | None = None,
) -> Response:
    queries = services(request).queries
    position = queries.position
    found = await queries.devices(caller, status, type)
    shown = found[(page - 1) * limit : page * limit]
    return envelope(shown, position=position, pagination=pages(page, limit, len(found)))


@router.get("/stats")
async def stats(request: Request, caller: TheCaller) -> Response:
    return envelope(await services(request).queries.stats(caller))


@router.post("/register", status_code=201)
async def register(request: Request, caller: TheCaller, body: wire.RegisterDevice) -> Response:
    issued = await services(request).registry.register(
        caller,
        Described(
            body.name,
            body.esp_id,
            body.device_type,
            body.room,
            body.location,
            body.firmware_version,
            body.metadata,
        ),
    )
    data = {
        **await _device(request, caller, issued.device.id),
        **await _pairing(request, issued),
    }
    return envelope(data, "device registered", status=201)


@router.get("/{ref}")
async def show(request: Request, caller: TheCaller, ref: str) -> Response:
    position = services(request).queries.position
    return envelope(await _device(request, caller, ref), position=position)


@router.put("/{ref}")
async def change(
    request: Request, caller: TheCaller, ref: str, body: wire.ChangeDevice
) -> Response:
    changes = body.model_dump(exclude_none=True)
    if not changes:
        raise BadInput("nothing to change was given")
    seen = await services(request).registry.update(caller, ref, changes)
    data = await _device(request, caller, seen.device.id)
    if "settings" in changes:
        asked = Asked(
            seen.device.id, CommandName.UPDATE_SETTINGS, {"settings": changes["settings"]}
        )
        sent = await services(request).submit.submit(caller, asked)
        data["command"] = (await services(request).queries.command_views([sent.command]))[0]
    return envelope(data, "device changed")


@router.delete("/{ref}")
async def remove(request: Request, caller: TheCaller, ref: str) -> Response:
    device = await services(request).registry.remove(caller, ref)
    return envelope({"id": device.id, "name": device.name}, "device removed")


@router.post("/{ref}/token/rotate")
async def rotate(request: Request, caller: TheCaller, ref: str) -> Response:
    issued = await services(request).registry.rotate(caller, ref)
    data = {"id": issued.device.id, "name": issued.device.name, **await _pairing(request, issued)}
    return envelope(data, "token rotated")


@router.post("/{ref}/token/revoke")
async def revoke(request: Request, caller: TheCaller, ref: str) -> Response:
    device = await services(request).registry.revoke(caller, ref)
    return envelope({"id": device.id, "name": device.name}, "token revoked")


@router.get("/{ref}/qr")
async def qr(request: Request, caller: TheCaller, ref: str) -> Response:
    issued = await services(request).registry.pair(caller, ref)
    device = issued.device
    data = {
        "deviceName": device.name,
        "deviceType": device.device_type.value,
        "room": device.room,
        "activated": device.activated_at is not None,
        "activatedAt": iso_or_none(device.activated_at),
        "expiresAt": iso_or_none(device.pending_expires_at),
        **await _pairing(request, issued),
    }
    return envelope(data)


# what devices call for themselves


@router.post("/activate")
async def activate(request: Request, body: wire.DeviceProof) -> Response:
    return await _proof(request, body, "device activated")


@router.post("/validate")
async def validate(request: Request, body: wire.DeviceProof) -> Response:
    return await _proof(request, body, "device valid")


@router.post("/{device_id}/heartbeat")
async def heartbeat(
    request: Request, device: TheDevice, device_id: str, body: wire.Beat
) -> Response:
    if device_id != device.id:
        raise NotAllowed("a device may speak only for itself")
    beat = Heartbeat(battery_level=body.battery_level, status=body.status, metadata=body.metadata)
    await services(request).ingest.beat_by_http(device, beat, device_metadata(request))
    return envelope({"deviceId": device.id, "lastSeen": iso(services(request).clock.now())})


async def _proof(request: Request, body: wire.DeviceProof, message: str) -> Response:
    device = await proven(request, body.device_id, body.token)
    data = {
        "deviceId": device.id,
        "name": device.name,
        "deviceType": device.device_type.value,
        "room": device.room,
        "activated": device.activated_at is not None,
        "activatedAt": iso_or_none(device.activated_at),
    }
    token = services(request).sessions.token_for_device(device)
    return envelope(data, message, token=token)


async def _device(request: Request, caller: Caller, ref: str) -> dict[str, Any]:
    seen = await services(request).guard.find(caller, ref)
    return await services(request).queries.device(seen)


async def _pairing(request: Request, issued: Issued) -> dict[str, Any]:
    url = onboarding_url(services(request).public_url(), issued.device, issued.token)
    return {
        "id": issued.device.id,
        "deviceToken": issued.token,
        "onboardingURL": url,
        "qrCode": qr_png(url),
        "warning": issued.warning,
    }


def qr_png(text: str) -> str:
    """`text` as a QR code, a PNG in a data URL."""
    import segno

    out = io.BytesIO()
    segno.make(text, error="m").save(out, kind="png", scale=6)
    return "data:image/png;base64," + b64encode(out.getvalue()).decode()

"""Routes of visitors: what a camera uploads, who came, and who decides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from doorlock import wire
from doorlock.daemon.api.callers import (
    TheCaller,
    bearer_in,
    caller,
    device_from_headers,
    device_metadata,
    proven,
)
from doorlock.daemon.api.respond import envelope, pages
from doorlock.daemon.api.state import services
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.pictures import MAX_BYTES, BadPicture, from_text, media_type
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.domain.visitors import Arrival, Verdict
from doorlock.daemon.services.pictures import Reader
from doorlock.daemon.services.visitor_log import Wanted, status_named
from doorlock.daemon.services.visitors import Decided
from doorlock.errors import BadInput, NotAllowed, NotAuthenticated
from doorlock.protocol import DEVICE_ID_HEADER, DEVICE_TOKEN_HEADER
from doorlock.times import iso, parse_time

router = APIRouter(tags=["visitors"])

UPLOAD = "/api/door/upload"
MAX_UPLOAD = 7 * 1024 * 1024  # the largest picture as base64, and a little

Page = Annotated[int, Query(ge=1, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=1000)]
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {f"image/{kind}": {} for kind in ("jpeg", "png", "gif", "webp")}}
}
_PICTURE_HEADERS = {
    "Cache-Control": "private, max-age=300",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


async def reader(request: Request) -> Reader:
    """A person, or a device by its token or the JWT that activation gave it. Raises
    NotAuthenticated, NotAllowed."""
    if DEVICE_ID_HEADER in request.headers or DEVICE_TOKEN_HEADER in request.headers:
        return await device_from_headers(request)
    try:
        return await caller(request)
    except NotAuthenticated:
        if (bearer_in(request) or "").count(".") != 2:
            raise
        return await device_from_headers(request)


TheReader = Annotated[Caller | Device, Depends(reader)]


# what a camera sends


@dataclass(frozen=True, slots=True)
class _Sent:
    fields: dict[str, Any]
    content: bytes

    def text(self, *names: str) -> str | None:
        found = (self.fields.get(name) for name in names)
        return next((value for value in found if isinstance(value, str) and value), None)


_IMAGE = {"type": "string", "description": "a JPEG, PNG, GIF or WebP of at most 5 MiB"}
_PROOF = {name: {"type": "string"} for name in ("deviceId", "deviceToken", "timestamp", "message")}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {**_IMAGE, "format": "binary"}, **_PROOF},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {**_IMAGE, "format": "data URL"}, **_PROOF},
                }
            },
        },
    }
}


@router.post(UPLOAD, status_code=201, openapi_extra=_UPLOAD_BODY)
async def upload(request: Request) -> Response:
    found = services(request)
    known = await _device_in_headers(request)
    try:
        sent = await _sent(request)
        device = known or await _device_in_fields(request, sent)
        if sent.text("deviceId") not in (None, device.id):
            raise NotAllowed("a device may speak only for itself")
        metadata = device_metadata(request)
        picture = await found.pictures.keep(device.id, sent.content, metadata)
    except BadPicture as error:
        raise HTTPException(415, error.message) from error
    arrival = Arrival(image=picture.image, message=(sent.text("message") or "").strip()[:200])
    visitor = await found.visitors.arrived(device.id, arrival, metadata, _claimed(sent))
    view = (await found.visitor_log.views(device, [visitor]))[0]
    return envelope(view, "visitor logged", status=201)


async def _device_in_headers(request: Request) -> Device | None:
    """The device, where it proves itself before its body is read."""
    if request.headers.get(DEVICE_TOKEN_HEADER) or bearer_in(request):
        return await device_from_headers(request)
    return None


async def _device_in_fields(request: Request, sent: _Sent) -> Device:
    device_id, token = sent.text("deviceId"), sent.text("deviceToken", "token")
    if device_id is None or token is None:
        raise NotAuthenticated("Authentication required", hint="Send deviceId and deviceToken.")
    return await proven(request, device_id, token)


async def _sent(request: Request) -> _Sent:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request)
    if kind == "application/json":
        return await _json(request)
    raise HTTPException(415, "send multipart/form-data or application/json")


async def _form(request: Request) -> _Sent:
    async with request.form(max_files=1, max_fields=20, max_part_size=64 * 1024) as form:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise BadInput("image is missing", details=_wrong("image", "a file is needed"))
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        return _Sent(fields, await image.read(MAX_BYTES + 1))


async def _json(request: Request) -> _Sent:
    try:
        fields = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise BadInput("the body is not valid JSON") from error
    if not isinstance(fields, dict) or not isinstance(image := fields.pop("image", None), str):
        raise BadInput("image is missing", details=_wrong("image", "a data URL is needed"))
    return _Sent(fields, await asyncio.to_thread(from_text, image))


def _wrong(field: str, message: str) -> dict[str, Any]:
    return {"errors": [{"field": field, "message": message}]}


def _claimed(sent: _Sent) -> dict[str, Any]:
    """When the camera says that it was: kept, never believed. What is no time counts as missing."""
    try:
        return {"claimedAt": iso(parse_time(sent.fields.get("timestamp")))}
    except ValueError:
        return {}


# who came


def _wanted(
    status: str | None = None,
    device: str | None = None,
    device_id: Annotated[str | None, Query(alias="deviceId")] = None,
    since: str | None = None,
    until: str | None = None,
) -> Wanted:
    return Wanted(
        status_named(status), device or device_id, _moment("since", since), _moment("until", until)
    )


def _moment(name: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_time(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise BadInput(f"{name} is not a time", hint="Write ISO 8601, in UTC.") from error


@router.get("/api/door/logs")
async def logs(
    request: Request,
    who: TheReader,
    wanted: Annotated[Wanted, Depends(_wanted)],
    page: Page = 1,
    limit: Limit = 20,
) -> Response:
    position = services(request).queries.position
    found, total = await services(request).visitor_log.page(who, wanted, limit, (page - 1) * limit)
    return envelope(found, position=position, pagination=pages(page, limit, total))


@router.get("/api/door/logs/pending")
async def pending(
    request: Request, who: TheReader, device: str | None = None, page: Page = 1, limit: Limit = 100
) -> Response:
    position = services(request).queries.position
    found = await services(request).visitor_log.pending(who, device)
    shown = found[(page - 1) * limit : page * limit]
    return envelope(shown, position=position, pagination=pages(page, limit, len(found)))


@router.get("/api/door/logs/{visitor_id}")
async def show(request: Request, who: TheReader, visitor_id: str) -> Response:
    return envelope(await services(request).visitor_log.one(who, visitor_id))


@router.get("/api/door/stats")
async def stats(request: Request, who: TheReader, device: str | None = None) -> Response:
    return envelope(await services(request).visitor_log.stats(who, device))


@router.get("/api/door/picture/{device_id}/{image}", response_class=Response, responses=_PICTURES)
async def picture(
    request: Request, device_id: str, image: str, link: str | None = None
) -> Response:
    pictures = services(request).pictures
    if link is not None:
        content = await pictures.linked(link, device_id, image)
    else:
        content = await pictures.content(await reader(request), device_id, image)
    return Response(content, media_type=media_type(content), headers=_PICTURE_HEADERS)


# who decides


@router.post("/api/command/open")
async def open_door(request: Request, caller: TheCaller, body: wire.DecideVisitor) -> Response:
    return await _decided(request, caller, body, granted=True)


@router.post("/api/command/deny")
async def deny(request: Request, caller: TheCaller, body: wire.DecideVisitor) -> Response:
    return await _decided(request, caller, body, granted=False)


async def _decided(
    request: Request, caller: Caller, body: wire.DecideVisitor, *, granted: bool
) -> Response:
    found = services(request)
    verdict = Verdict(
        granted,
        caller.user.id,
        caller.operator.id if caller.operator else None,
        body.notes or "",
        body.image,
        any_image="image" not in body.model_fields_set,
    )
    decided = await found.visitors.decide(caller, body.visitor_log_id, verdict)
    view = (await found.visitor_log.views(caller, [decided.visitor]))[0]
    view["decision"] = decided.visitor.status.value
    view["unlock"] = await _unlock(request, decided)
    return envelope(view, _told(decided), position=decided.position)


async def _unlock(request: Request, decided: Decided) -> dict[str, Any] | None:
    """What came of the unlock; None where there was to be none."""
    if decided.unlock is not None:
        views = await services(request).queries.command_views([decided.unlock.command])
        return {"sent": True, "joined": decided.unlock.joined, "command": views[0]}
    if decided.error is None:
        return None
    error = decided.error
    return {"sent": False, "code": error.code, "message": error.message, "hint": error.hint}


def _told(decided: Decided) -> str:
    if decided.error is not None:
        return f"visitor let in, but the door was not unlocked: {decided.error.message}"
    return "visitor let in" if decided.unlock is not None else "visitor turned away"

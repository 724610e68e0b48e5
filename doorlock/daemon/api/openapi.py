"""The OpenAPI document: what FastAPI says of the routes, made true of what they answer."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_TIME = {"type": "string", "format": "date-time"}
_ENVELOPE = {
    "type": "object",
    "required": ["success", "message", "data", "timestamp"],
    "properties": {
        "success": {"const": True},
        "message": {"type": "string"},
        "data": {"description": "what was asked for; null where there is nothing to say"},
        "timestamp": _TIME,
        "position": {"type": "integer", "description": "in the event log, when this was read"},
        "pagination": {"$ref": "#/components/schemas/Pagination"},
    },
}
_PAGINATION = {
    "type": "object",
    "required": [
        *("currentPage", "itemsPerPage", "totalItems", "totalPages"),
        *("hasNextPage", "hasPreviousPage"),
    ],
    "properties": {
        **{
            name: {"type": "integer", "minimum": 0}
            for name in ("currentPage", "itemsPerPage", "totalItems", "totalPages")
        },
        **{name: {"type": "boolean"} for name in ("hasNextPage", "hasPreviousPage")},
    },
}
_FAILURE = {
    "type": "object",
    "required": ["success", "message", "code", "timestamp"],
    "properties": {
        "success": {"const": False},
        "message": {"type": "string"},
        "code": {"type": "string"},
        "hint": {"type": "string"},
        "details": {"type": "object"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "timestamp": _TIME,
    },
}
_FAILURES = {
    "400": "bad input",
    "401": "no token, or one that does not work",
    "403": "not allowed",
    "404": "not there, or nothing of the caller's",
    "409": "it has been decided, is taken, or names more than one",
    "413": "the body is too large",
    "415": "the body is of another kind",
    "429": "too often",
    "503": "not at the moment",
}
_RETRY_AFTER = {"Retry-After": {"required": True, "schema": {"type": "string"}}}
_SCHEMES = {
    "user": {"type": "http", "scheme": "bearer"},
    "device": {"type": "apiKey", "in": "header", "name": "X-Device-Token"},
}
_PUBLIC = {
    "/api/auth/register",
    "/api/auth/login",
    "/api/auth/logout",
    "/api/device/activate",
    "/api/device/validate",
    "/api/door/upload",
    "/api/version",
    "/api/health",
    "/metrics",
    "/api/camera/stream/{device_id}",
}
"""Open to anybody, or proven by what stands in the body, the link or the address."""
_OF_DEVICES = {
    "/api/device/{device_id}/heartbeat",
    "/api/door/logs",
    "/api/door/logs/pending",
    "/api/door/logs/{visitor_id}",
    "/api/door/stats",
    "/api/door/picture/{device_id}/{image}",
}


def install(app: FastAPI) -> None:
    """Give `app` its document, made when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, routes=app.routes)
    parts = made.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(Envelope=_ENVELOPE, Pagination=_PAGINATION, Failure=_FAILURE)
    parts["responses"] = {f"Failure{status}": _failure(status) for status in _FAILURES}
    parts["securitySchemes"] = _SCHEMES
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    return made


def _complete(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own; ours is 400
    for response in responses.values():
        if response.get("content", _UNSAID) == _UNSAID:
            response["content"] = _json("Envelope")
    for status in _FAILURES:
        responses.setdefault(status, {"$ref": f"#/components/responses/Failure{status}"})
    if path not in _PUBLIC:
        who = ("user", "device") if path in _OF_DEVICES else ("user",)
        operation["security"] = [{name: []} for name in who]


_UNSAID: dict[str, Any] = {"application/json": {"schema": {}}}


def _failure(status: str) -> dict[str, Any]:
    headers = {"headers": _RETRY_AFTER} if status == "429" else {}
    return {"description": _FAILURES[status], "content": _json("Failure"), **headers}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}

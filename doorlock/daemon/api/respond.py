"""The one envelope that every answer comes in; WIRE section 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Response

from doorlock.times import iso, utc_now


def envelope(
    data: Any = None,
    message: str = "ok",
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **beside: Any,
) -> Response:
    """A success; `beside` stands next to `data` (`position`, `pagination`)."""
    body = {
        "success": True,
        "message": message,
        "data": data,
        "timestamp": iso(utc_now()),
        **beside,
    }
    return json_response(body, status, headers)


def failure(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **beside: Any
) -> Response:
    """A failure; `beside` holds `hint`, `details` and `errors` where there are any."""
    body = {
        "success": False,
        "message": message,
        "code": code,
        **{key: value for key, value in beside.items() if value},
        "timestamp": iso(utc_now()),
    }
    return json_response(body, status, headers)


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        orjson.dumps(body, default=str),
        status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def pages(page: int, limit: int, total: int) -> dict[str, Any]:
    """`pagination` as every list has it."""
    last = max(1, -(-total // limit))
    return {
        "currentPage": page,
        "itemsPerPage": limit,
        "totalItems": total,
        "totalPages": last,
        "hasNextPage": page < last,
        "hasPreviousPage": page > 1,
    }

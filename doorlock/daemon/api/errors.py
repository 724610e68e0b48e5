"""What went wrong, in HTTP's words. Nothing internal gets out."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from doorlock.daemon.api.respond import failure
from doorlock.errors import DoorlockError

log = structlog.get_logger("doorlock.api")

STATUS = {
    "bad_input": 400,
    "bad_config": 500,
    "not_authenticated": 401,
    "not_allowed": 403,
    "not_found": 404,
    "ambiguous": 409,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "device_offline": 503,
    "unavailable": 503,
    "daemon_unreachable": 503,
    "unexpected": 500,
}
_HTTP_CODES = {404: "not_found", 405: "bad_input", 413: "too_large", 415: "bad_input"}


def install(app: FastAPI) -> None:
    """Every failure of `app` in the envelope."""
    app.add_exception_handler(DoorlockError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, DoorlockError)
    return known_failure(error)


def known_failure(error: DoorlockError) -> Response:
    details = dict(error.details)
    errors = details.pop("errors", None)
    headers = {"Retry-After": str(details["retryAfter"])} if "retryAfter" in details else None
    return failure(
        STATUS[error.code],
        error.code,
        error.message,
        headers,
        hint=error.hint,
        details=details,
        errors=errors,
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": ".".join(str(part) for part in found["loc"][1:]), "message": found["msg"]}
        for found in error.errors()
    ]
    hint = f"{errors[0]['field']}: {errors[0]['message']}" if errors else None
    return failure(400, "bad_input", "the request cannot be used", hint=hint, errors=errors)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "bad_input")
    message = "there is nothing here" if error.status_code == 404 else str(error.detail)
    return failure(error.status_code, code, message, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("a request failed", path=request.url.path, exc_info=error)
    return failure(500, "unexpected", "something went wrong in the daemon; its log says what")

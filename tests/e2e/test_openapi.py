"""Schemathesis over the OpenAPI document that the daemon itself hands out.

Every route is asked with what the document calls good and with what it calls bad, once with made-up
names and once with those of what is really there. No answer may be a failure of the server, have a
status, a type or a shape that the document does not tell of, or come without its token.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as some
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.daemon import Daemon

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
]
EXAMPLES = 3
STREAMS = {
    "/api/events/stream": "server-sent events: the answer never ends",
    "/api/camera/stream/{device_id}": "MJPEG: the answer never ends",
    "/api/events/export": "lines of JSON, not one JSON value",
}
NOT_JSON = {"/metrics": "text/plain", "/api/door/picture/{device_id}/{image}": "image/"}
ENDS_THE_TOKEN = {("POST", "/api/auth/logout"), ("PUT", "/api/auth/password")}
PASSWORD = "four plain words here"


@dataclass(frozen=True)
class House:
    """An operator with a camera, a visitor, a token, an invitation and a user to speak of."""

    url: str
    names: dict[str, list[str]]

    def sign_in(self) -> dict[str, str]:
        body = {"username": "boss", "password": PASSWORD}
        answer = httpx.post(f"{self.url}/api/auth/login", json=body).raise_for_status()
        return {"Authorization": f"Bearer {answer.json()['data']['token']}"}


@pytest.fixture(scope="module")
def furnished() -> Iterator[House]:
    daemon = Daemon(mqtt=False)
    try:
        daemon.start()
        yield _furnish(daemon)
        daemon.check_log()
    finally:
        daemon.close()


def _furnish(daemon: Daemon) -> House:
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(daemon.socket)), base_url="http://local"
    ) as local:

        def post(path: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
            answer = local.post(path, json=body, **more).raise_for_status()
            data: dict[str, Any] = answer.json()["data"]
            return data

        post("/api/users", {"username": "boss", "role": "super_admin", "password": PASSWORD})
        post("/api/users", {"username": "guest", "role": "admin", "password": PASSWORD})
        house = House(daemon.url, {})
        mine = {"headers": house.sign_in()}
        camera = {"name": "gate", "espId": f"CAM-{secrets.token_hex(4)}", "deviceType": "esp32-cam"}
        device = post("/api/device/register", camera, **mine)
        share = {"user": "guest", "permission": "view"}
        post(f"/api/device/{device['id']}/share", share, **mine)
        offered = {"user": "friend@doors.test", "permission": "view"}
        invitation = post(f"/api/device/{device['id']}/share", offered, **mine)
        command = post(f"/api/device/{device['id']}/command", QUEUED, **mine)
        token = post("/api/auth/tokens", {"name": "script"}, **mine)
    house.names.update(
        device=[device["id"], "gate"],
        user=["guest"],
        command_id=[command["commandId"]],
        invitations=[invitation["id"]],
        tokens=[token["id"], "script"],
        kind=["device_registered", "login_failed"],
    )
    return house


QUEUED = {"command": "update_settings", "payload": {"settings": {"motionSensitivity": 50}}}


def _names_for(house: House, path: str, parameter: str) -> list[str]:
    """What is really there to put in the place of `{parameter}`."""
    if parameter in ("ref", "device_id"):
        kind = next((one for one in ("tokens", "invitations") if f"/{one}/" in path), "device")
        parameter = "user" if "/users/" in path else kind
    return house.names.get(parameter, ["0" * 24])


def _operations(house: House) -> list[Any]:
    """Every operation; what removes something comes last."""
    schema = schemathesis.openapi.from_url(f"{house.url}/api/openapi.json")
    found = [one.ok() for one in schema.get_all_operations()]
    return sorted(found, key=lambda one: (one.method.upper() == "DELETE", one.path, one.method))


def _try(house: House, operation: Any, headers: dict[str, str], place: int) -> list[int]:
    """The statuses that came of it. Raises what Schemathesis found."""
    seen: list[int] = []
    names = [one.name for one in operation.path_parameters]
    real = some.fixed_dictionaries(
        {name: some.sampled_from(_names_for(house, operation.path, name)) for name in names}
    )

    @seed(place)
    @settings(
        max_examples=2 * EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), names=some.none() | real)
    def ask(case: Any, names: dict[str, str] | None) -> None:
        if names:
            case.path_parameters = names
        if operation.path.endswith("/command") and isinstance(case.body, dict):
            case.body["wait"] = False  # up to 15 minutes, else
        answer = case.call_and_validate(headers=headers, checks=CHECKS, timeout=10)
        kind = answer.headers["content-type"][0]
        wanted = NOT_JSON.get(operation.path, "json") if answer.status_code < 300 else "json"
        assert wanted in kind, (operation.label, answer.status_code, kind)
        seen.append(answer.status_code)

    ask()
    return seen


def test_every_route_answers_as_the_document_says(furnished: House) -> None:
    headers, wrong = furnished.sign_in(), []
    tried: dict[str, list[int]] = {}
    for place, operation in enumerate(_operations(furnished)):
        if operation.path in STREAMS:
            continue
        ending = (operation.method.upper(), operation.path) in ENDS_THE_TOKEN
        try:
            mine = furnished.sign_in() if ending else headers
            tried[operation.label] = _try(furnished, operation, mine, place)
        except (FailureGroup, AssertionError) as failure:
            wrong.append(f"{operation.label}: {failure}\n{getattr(failure, 'exceptions', '')}")
    assert not wrong, "\n".join(wrong)
    reached = [label for label, statuses in tried.items() if min(statuses) < 300]
    assert len(tried) > 60 and len(reached) > len(tried) / 2, tried
    assert httpx.get(f"{furnished.url}/api/auth/me", headers=headers).status_code == 200


def test_what_is_left_out_is_in_the_document(furnished: House) -> None:
    document = httpx.get(f"{furnished.url}/api/openapi.json").json()
    assert {*STREAMS, *NOT_JSON} <= set(document["paths"])
    for path in STREAMS:
        (operation,) = document["paths"][path].values()
        assert "application/json" not in operation["responses"]["200"]["content"]

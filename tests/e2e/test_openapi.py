"""Schemathesis over the OpenAPI document that the daemon itself hands out.

Every route is asked with what the document calls good and with what it calls bad, once with made-up
names and once with those of what is really there. No answer may be a failure of the server, have a
status, a type or a shape that the document does not tell of, or come without its token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as some
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from doorlock.client import Client
from tests.support.daemon import Daemon
from tests.support.pictures import data_url, jpeg

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 8
STREAMS = {
    "/api/events/stream": "server-sent events: the answer never ends",
    "/api/camera/stream/{device_id}": "MJPEG: the answer never ends",
    "/api/events/export": "lines of JSON, not one JSON value",
}
NOT_JSON = {"/metrics": "text/plain", "/api/door/picture/{device_id}/{image}": "image/"}
ENDS_THE_TOKEN = {("POST", "/api/auth/logout"), ("PUT", "/api/auth/password")}
UPLOAD = "/api/door/upload"
SAID_BY_DEVICES = {UPLOAD, "/api/device/{device_id}/heartbeat"}
PASSWORD = "four plain words here"


@dataclass(frozen=True)
class House:
    """An operator with a camera, a visitor, a token, an invitation and a user to speak of."""

    url: str
    names: dict[str, list[str]] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    device: dict[str, str] = field(default_factory=dict)

    def sign_in(self) -> dict[str, str]:
        body = {"username": "boss", "password": PASSWORD}
        answer = requests.post(f"{self.url}/api/auth/login", json=body, timeout=10)
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
    local = Client([daemon.socket])
    for name, role in (("boss", "super_admin"), ("guest", "admin")):
        local.post("/api/users", {"username": name, "role": role, "password": PASSWORD})
    house = House(daemon.url)
    mine = house.sign_in()

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(daemon.url + path, json=body, headers=mine, timeout=10)
        assert answer.ok, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    camera = {"name": "gate", "espId": "CAM-1", "deviceType": "esp32-cam"}
    device = post("/api/device/register", camera)
    speaker = post("/api/device/register", {**camera, "name": "porch", "espId": "CAM-2"})
    sharing = f"/api/device/{device['id']}/share"
    post(sharing, {"user": "guest", "permission": "view"})
    invitation = post(sharing, {"user": "friend@doors.test", "permission": "view"})
    command = post(f"/api/device/{device['id']}/command", QUEUED)
    token = post("/api/auth/tokens", {"name": "script"})
    house.device.update({"X-Device-Id": speaker["id"], "X-Device-Token": speaker["deviceToken"]})
    sent = {"image": data_url(jpeg())}
    rung = requests.post(f"{house.url}{UPLOAD}", json=sent, headers=house.device, timeout=10).json()
    house.fields.update(
        password=PASSWORD,
        newPassword=PASSWORD,
        currentPassword=PASSWORD,
        user="guest",
        **QUEUED,
        visitorLogId=rung["data"]["visitorLogId"],
        image=rung["data"]["image"],
        deviceId=speaker["id"],
        token=speaker["deviceToken"],
        inviteCode=None,
        schedule=None,
    )
    house.names.update(
        device=[device["id"]],
        speaker=[speaker["id"]],
        visitor_id=[rung["data"]["visitorLogId"]],
        image=[rung["data"]["image"]],
        user=["guest"],
        command_id=[command["commandId"]],
        invitations=[invitation["id"]],
        tokens=[token["id"], "script"],
        kind=["device_registered", "login_failed"],
    )
    return house


QUEUED = {"command": "update_settings", "payload": {"settings": {"motionSensitivity": 50}}}


def _place(operation: Any) -> tuple[int, str, str]:
    method, path = operation.method.upper(), operation.path
    if (method, path) in ENDS_THE_TOKEN:
        return 3, path, method
    removes = method == "DELETE"
    return removes + (removes and path == "/api/device/{ref}"), path, method


def _names_for(house: House, path: str, parameter: str) -> list[str]:
    """What is really there to put in the place of `{parameter}`."""
    if parameter == "ref":
        kinds = {"/tokens/": "tokens", "/invitations/": "invitations", "/users/": "user"}
        parameter = next((kind for part, kind in kinds.items() if part in path), "device")
    elif parameter == "device_id":
        parameter = "speaker"
    return house.names.get(parameter, ["0" * 24])


def _operations(house: House) -> list[Any]:
    """Every operation; what removes something comes last, and then what ends the token."""
    schema = schemathesis.openapi.from_url(f"{house.url}/api/openapi.json")
    found = [one.ok() for one in schema.get_all_operations()]
    return sorted(found, key=_place)


def _cases(operation: Any) -> Any:
    """What the document calls good; where something can be got wrong, half of them are bad."""
    good = operation.as_strategy()
    if operation.body or operation.query:
        return good | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return good


def _use_names(house: House, operation: Any, case: Any) -> None:
    """Put what is really there where the document can only say that it is a text."""
    if "cameraId" in (case.query or {}):
        case.query["cameraId"] = house.names["speaker"][0]
    if not isinstance(case.body, dict):
        return
    known = dict(house.fields)
    if operation.path == UPLOAD:
        known["image"] = jpeg() if "multipart" in case.media_type else data_url(jpeg())
    if operation.path == "/api/auth/login":
        known.update(username="boss", email=None)
    case.body.update({name: known[name] for name in case.body if name in known})


def _try(house: House, operation: Any, headers: dict[str, str], place: int) -> list[int]:
    """The statuses that came of it. Raises what Schemathesis found."""
    seen: list[int] = []
    # a device has two proofs, and one of them is enough
    checks = [*CHECKS, *([] if operation.path in SAID_BY_DEVICES else [ignored_auth])]
    names = [one.name for one in operation.path_parameters]
    real = some.fixed_dictionaries(
        {name: some.sampled_from(_names_for(house, operation.path, name)) for name in names}
    )

    @seed(place)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_cases(operation), names=some.none() | real)
    def ask(case: Any, names: dict[str, str] | None) -> None:
        if names is not None:
            case.path_parameters = names
            _use_names(house, operation, case)
        if operation.path.endswith("/command") and isinstance(case.body, dict):
            case.body["wait"] = False  # up to 15 minutes, else
        answer = case.call_and_validate(headers=headers, checks=checks, timeout=10)
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
            if operation.path in SAID_BY_DEVICES:
                mine = furnished.device
            tried[operation.label] = _try(furnished, operation, mine, place)
        except (FailureGroup, AssertionError) as failure:
            wrong.append(f"{operation.label}: {failure}\n{getattr(failure, 'exceptions', '')}")
    assert not wrong, "\n".join(wrong)
    reached = [label for label, statuses in tried.items() if min(statuses) < 300]
    unreached = sorted(set(tried) - set(reached))
    assert len(tried) > 60 and len(unreached) < 10, unreached


def test_what_is_left_out_is_in_the_document(furnished: House) -> None:
    document = requests.get(f"{furnished.url}/api/openapi.json", timeout=10).json()
    assert {*STREAMS, *NOT_JSON} <= set(document["paths"])
    for path in STREAMS:
        (operation,) = document["paths"][path].values()
        assert "application/json" not in operation["responses"]["200"]["content"]

"""One envelope for every answer, whatever goes wrong, and bodies that are bounded."""

from __future__ import annotations

from typing import Any

import pytest

from doorlock.daemon.api.app import MAX_BODY
from doorlock.daemon.api.errors import STATUS
from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Caller
from doorlock.errors import DoorlockError, all_errors
from tests.support.asgi import Answer, Client
from tests.support.house import House


def enveloped(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["success"] is False and answer.json["code"] == code
    assert answer.json["message"] and answer.json["timestamp"].endswith("Z")
    assert "data" not in answer.json


async def test_a_success_has_its_data_a_message_and_the_time(olga: Client, door: Device) -> None:
    body = (await olga.get("/api/device")).json
    assert body["success"] is True and body["timestamp"].endswith("Z")
    assert body["data"][0]["_id"] == body["data"][0]["id"] == door.id
    assert body["pagination"] == {
        "currentPage": 1,
        "itemsPerPage": 100,
        "totalItems": 1,
        "totalPages": 1,
        "hasNextPage": False,
        "hasPreviousPage": False,
    }


async def test_pages_hold_their_part(it: House, olga: Client, owner: Caller) -> None:
    for number in range(5):
        await it.door(owner, f"door-{number}")
    body = (await olga.get("/api/device?page=2&limit=2")).json
    assert [device["name"] for device in body["data"]] == ["door-2", "door-3"]
    assert body["pagination"]["totalPages"] == 3
    assert body["pagination"]["hasNextPage"] and body["pagination"]["hasPreviousPage"]
    for query in ("page=0", "limit=0", "limit=1001", "page=x", "page=99999999999999999999"):
        enveloped(await olga.get(f"/api/device?{query}"), 400, "bad_input")


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.code)
async def test_every_known_failure(
    it: House, olga: Client, monkeypatch: pytest.MonkeyPatch, kind: type[DoorlockError]
) -> None:
    async def fails(*_: Any) -> None:
        details = {"errors": [{"field": "x", "message": "y"}], "retryAfter": 3, "more": 1}
        raise kind("it went wrong", hint="mend it", details=details)

    monkeypatch.setattr(it.queries, "devices", fails)
    answer = await olga.get("/api/device")
    enveloped(answer, STATUS[kind.code], kind.code)
    assert (answer.json["message"], answer.json["hint"]) == ("it went wrong", "mend it")
    assert answer.json["errors"] == [{"field": "x", "message": "y"}]
    assert answer.json["details"]["more"] == 1
    assert answer.headers["retry-after"] == "3"


async def test_a_bug_tells_nothing_of_the_inside(
    it: House, olga: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(it.queries, "devices", fails)
    heard: list[Answer] = []
    with pytest.raises(RuntimeError):
        await _kept(olga, "/api/device", heard)
    enveloped(heard[0], 500, "unexpected")
    assert b"hunter2" not in heard[0].body


async def _kept(client: Client, path: str, heard: list[Answer]) -> None:
    # the server logs what is raised after the answer was sent
    async with client.stream(path) as stream:
        heard.append(stream.answer)
        await stream.finished()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/api/version", 405, "bad_input"),
        ("GET", "/api/device/nobody", 404, "not_found"),
        ("GET", "/api/command/nothing", 404, "not_found"),
        ("POST", "/api/command/nothing/cancel", 404, "not_found"),
        ("DELETE", "/api/device/nobody", 404, "not_found"),
        ("GET", "/api/logs?type=nonsense", 400, "bad_input"),
        ("GET", "/api/logs?since=yesterday", 400, "bad_input"),
        ("GET", f"/api/logs?since={'9' * 5000}", 400, "bad_input"),
        ("GET", "/api/logs?after=-1", 400, "bad_input"),
        ("GET", f"/api/logs?after={2**63}", 400, "bad_input"),
        ("GET", "/api/logs?device=nobody", 404, "not_found"),
        ("GET", "/api/users/somebody", 403, "not_allowed"),
        ("GET", "/api/config", 403, "not_allowed"),
        ("GET", "/api/events/verify", 403, "not_allowed"),
        ("POST", "/api/users", 400, "bad_input"),
    ],
)
async def test_what_is_not_there_or_not_right(
    olga: Client, method: str, path: str, status: int, code: str
) -> None:
    enveloped(await olga.ask(method, path), status, code)


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"unlock"',
    b"\xff",
    b"[" * 100_000,
    b'{"command": 5}',
    b'{"command": "open_sesame"}',
    b'{"command": "unlock", "payload": []}',
    b'{"command": "unlock", "payload": {"duration": 999}}',
    b'{"command": "unlock", "payload": {"duration": 1e400}}',
    b'{"command": "unlock", "timeout": 0}',
    b'{"command": "unlock", "timeout": -1}',
    b'{"command": "unlock", "timeout": NaN}',
    b'{"command": "unlock", "wait": 1e9}',
    b'{"command": "\\ud800"}',
    b'{"command": "update_settings", "payload": {"settings": {"\\ud800": 1}}}',
    b'{"command": "update_settings", "payload": {"settings": {"captureMode": "\\ud800"}}}',
    b'{"command": "update_settings", "payload": {"settings": {}}}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_body_that_cannot_be_used_is_refused_and_does_nothing(
    it: House, olga: Client, door: Device, body: bytes
) -> None:
    await it.connect(door)
    before = await it.store.bounds()
    answer = await olga.ask("POST", f"/api/device/{door.id}/command", raw=[body])
    enveloped(answer, 400, "bad_input")
    assert await it.store.bounds() == before


async def test_a_body_that_is_too_large_is_refused_told_beforehand_or_not(
    it: House, olga: Client, door: Device
) -> None:
    before = await it.store.bounds()
    path, large = f"/api/device/{door.id}/command", b" " * (MAX_BODY + 1)
    enveloped(await olga.ask("POST", path, large), 413, "too_large")
    pieces = [b" " * 65536] * (MAX_BODY // 65536 + 1)
    enveloped(await olga.ask("POST", path, raw=pieces), 413, "too_large")
    lying = await olga.ask("POST", path, raw=pieces, headers={"content-length": "5"})
    enveloped(lying, 413, "too_large")
    assert await it.store.bounds() == before


async def test_a_body_of_just_the_limit_is_read(it: House, olga: Client, door: Device) -> None:
    await it.connect(door)
    body = b'{"command": "unlock"}'
    whole = body + b" " * (MAX_BODY - len(body))
    answer = await olga.ask("POST", f"/api/device/{door.id}/command", whole)
    assert answer.status == 202


@pytest.mark.parametrize(
    "fields",
    [
        {"espId": "E"},
        {"name": "x"},
        {"name": "", "espId": "E"},
        {"name": "x" * 101, "espId": "E"},
        {"name": "a\nb", "espId": "E"},
        {"name": "\x1b[31mred", "espId": "E"},
        {"name": "x", "espId": "a b"},
        {"name": "x", "espId": "../x"},
        {"name": "x", "espId": "E", "deviceType": "toaster"},
        {"name": "x", "espId": "E", "metadata": {"n": 2**64}},
    ],
)
async def test_a_device_that_cannot_be_described_so_is_not_registered(
    it: House, olga: Client, fields: dict[str, Any]
) -> None:
    enveloped(await olga.post("/api/device/register", fields), 400, "bad_input")
    assert await it.store.list_devices() == []


async def test_a_refusal_of_permission_is_403_and_of_sight_is_404(
    it: House, gina: Client, olga: Client, door: Device
) -> None:
    path, body = f"/api/device/{door.id}/command", {"command": "unlock"}
    enveloped(await gina.get(f"/api/device/{door.id}"), 404, "not_found")
    enveloped(await gina.post(path, body), 403, "not_allowed")
    guest = await it.store.find_user("gina")
    assert guest is not None
    await it.share(door, Caller(guest), Permission.VIEW)
    enveloped(await gina.post(path, body), 403, "not_allowed")


async def test_an_offline_device_is_503_and_its_own_code(olga: Client, door: Device) -> None:
    answer = await olga.post(f"/api/device/{door.id}/command", {"command": "unlock"})
    enveloped(answer, 503, "device_offline")


async def test_anybody_may_ask_how_it_is_and_what_version(tcp: Any) -> None:
    health = await Client(tcp).get("/api/health")
    assert (health.status, health.json["message"]) == (200, "healthy")
    assert set(health.data) == {"status", "timestamp", "uptime"}
    assert (await Client(tcp).get("/api/version")).data["api"] == 1

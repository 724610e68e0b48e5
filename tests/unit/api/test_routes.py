"""The routes of devices, commands, people and shares, from a request to what it did."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Caller
from doorlock.protocol import CommandStatus, LockValue
from doorlock.times import iso
from tests.support.asgi import Client
from tests.support.house import House

COMMAND_FIELDS = {
    "commandId",
    "deviceId",
    "command",
    "payload",
    "status",
    "via",
    "issuedBy",
    "issuedAt",
    "sentAt",
    "acknowledgedAt",
    "finishedAt",
    "expiresAt",
    "errorMessage",
}
DEVICE_FIELDS = {
    "_id",
    "id",
    "name",
    "espId",
    "deviceType",
    "type",
    "room",
    "location",
    "status",
    "online",
    "activated",
    "lastSeen",
    "updatedAt",
    "lastUpdated",
    "lockState",
    "locked",
    "battery",
    "resolution",
    "firmwareVersion",
    "metadata",
    "userPermissions",
}


async def test_registering_shows_the_token_and_the_qr_this_once(it: House, olga: Client) -> None:
    answer = await olga.post("/api/device/register", {"name": "front", "espId": "ESP32-001"})
    assert answer.status == 201
    token = answer.data["deviceToken"]
    assert len(token) == 64
    assert answer.data["qrCode"].startswith("data:image/png;base64,iVBOR")
    assert token in answer.data["onboardingURL"]
    for path in ("/api/device", "/api/device/front", "/api/logs"):
        assert token not in (await olga.get(path)).body.decode()
    again = await olga.post("/api/device/register", {"name": "x", "espId": "ESP32-001"})
    assert (again.status, again.json["code"]) == (409, "conflict")


async def test_a_device_has_every_field_that_web_clients_read(olga: Client, door: Device) -> None:
    assert set((await olga.get("/api/device/front")).data) >= DEVICE_FIELDS


async def test_a_command_has_every_field_wherever_it_is_shown(
    it: House, olga: Client, door: Device
) -> None:
    await it.connect(door)
    sent = await olga.post("/api/device/front/command", {"command": "unlock"})
    assert sent.status == 202 and set(sent.data) >= COMMAND_FIELDS
    await it.clock.settle()
    shown = await olga.get(f"/api/command/{sent.data['commandId']}")
    listed = await olga.get("/api/command/history")
    assert set(shown.data) >= COMMAND_FIELDS
    assert listed.data["history"] == [shown.data]
    assert listed.data["pagination"]["totalItems"] == 1


async def test_the_position_of_a_command_precedes_everything_that_becomes_of_it(
    it: House, olga: Client, door: Device
) -> None:
    session = await it.connect(door)
    sent = await olga.post("/api/device/front/command", {"command": "unlock"})
    await it.clock.settle()
    await it.ack(session, sent.data["commandId"], "executed")
    after = (await olga.get(f"/api/logs?order=asc&after={sent.json['position']}")).data
    kinds = [event["eventType"] for event in after if event["commandId"]]
    assert {"command_sent", "command_executed"} <= set(kinds)
    assert "command_queued" not in kinds


async def test_a_repeated_key_is_answered_with_the_first_command(
    it: House, olga: Client, door: Device
) -> None:
    await it.connect(door)
    body = {"command": "unlock"}
    first = await olga.post("/api/device/front/command", body, Idempotency_Key="k")
    again = await olga.post("/api/device/front/command", body, Idempotency_Key="k")
    other = await olga.post("/api/device/front/command", {"command": "lock"}, Idempotency_Key="k")
    assert first.data["commandId"] == again.data["commandId"]
    assert (first.data["joined"], again.data["joined"], other.status) == (False, True, 409)
    await it.clock.settle()
    assert len(it.websocket.handed) == 1


async def test_a_dry_run_says_how_it_would_go_and_does_nothing(
    it: House, olga: Client, door: Device
) -> None:
    await it.connect(door)
    before = await it.store.bounds()
    body = {"command": "unlock", "dryRun": True}
    answer = await olga.post("/api/device/front/command", body)
    await it.clock.settle()
    assert (answer.status, answer.data["allowed"], answer.data["via"]) == (200, True, "websocket")
    assert await it.store.bounds() == before and it.websocket.handed == []


async def test_waiting_answers_with_the_outcome(it: House, olga: Client, door: Device) -> None:
    session = await it.connect(door)
    body = {"command": "unlock", "wait": 30}
    asked = asyncio.ensure_future(olga.post("/api/device/front/command", body))
    await it.clock.settle()
    assert not asked.done()
    await it.ack(session, it.websocket.ids[0], "executed")
    answer = await asked
    assert (answer.status, answer.data["status"]) == (200, CommandStatus.EXECUTED)


async def test_settings_are_kept_and_sent(it: House, olga: Client, door: Device) -> None:
    await it.connect(door)
    body = {"settings": {"motionSensitivity": 7}}
    answer = await olga.ask("PUT", "/api/device/front", body)
    assert answer.data["settings"] == {"motionSensitivity": 7}
    await it.clock.settle()
    assert it.websocket.handed[0].command.payload == body
    assert (await olga.ask("PUT", "/api/device/front", {})).status == 400


async def test_a_queued_command_can_be_cancelled_by_who_may(
    it: House, olga: Client, gina: Client, door: Device
) -> None:
    body = {"command": "update_settings", "payload": {"settings": {"motionSensitivity": 7}}}
    queued = await olga.post("/api/device/front/command", body)
    path = f"/api/command/{queued.data['commandId']}/cancel"
    assert (await gina.post(path)).status == 404
    assert (await olga.post(path)).data["status"] == "cancelled"
    assert (await olga.post(path)).status == 409


async def test_a_share_from_giving_to_taking_back(
    it: House, olga: Client, gina: Client, door: Device
) -> None:
    await it.connect(door)
    ends = iso(it.clock.now() + timedelta(hours=1))
    body = {"user": "gina", "permission": "control", "expiresAt": ends}
    given = await olga.post("/api/device/front/share", body)
    assert given.status == 201
    assert (given.data["username"], given.data["expiresAt"], given.data["active"]) == (
        "gina",
        ends,
        True,
    )
    assert (await olga.get("/api/device/front/shares")).data == [given.data]
    assert (await gina.get("/api/shares")).data == [given.data]
    unlock = {"command": "unlock"}
    assert (await gina.post("/api/device/front/command", unlock)).status == 202
    assert (await olga.ask("DELETE", "/api/device/front/share/gina")).status == 200
    assert (await gina.post("/api/device/front/command", unlock)).status == 403
    assert (await gina.get("/api/device/front")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"user": "gina"},
        {"user": "gina", "permission": "owner"},
        {"user": "", "permission": "view"},
        {"user": "gina", "permission": "view", "expiresAt": "soon"},
        {"user": "gina", "permission": "view", "expiresAt": "2000-01-01"},
        {"user": "gina", "permission": "view", "schedule": "FREQ=DAILY"},
    ],
)
async def test_a_share_that_cannot_be(
    it: House, olga: Client, gina: Client, door: Device, body: dict[str, str]
) -> None:
    assert (await olga.post("/api/device/front/share", body)).status == 400
    assert await it.store.shares_of_device(door.id) == []


async def test_users_are_an_operators_matter(operator: Client, olga: Client) -> None:
    body = {"username": "bert", "email": "b@x.org"}
    assert (await olga.post("/api/users", body)).status == 403
    added = await operator.post("/api/users", body)
    assert (added.status, added.data["role"]) == (201, "admin")
    assert (await olga.post("/api/users/bert/link", {"uid": 5})).status == 403
    assert (await operator.post("/api/users/bert/link", {"uid": 5})).data["unixUid"] == 5
    assert (await operator.post("/api/users/bert/link", {"uid": -1})).status == 400
    names = [user["username"] for user in (await operator.get("/api/users")).data]
    assert {"bert", "olga"} <= set(names)
    assert [user["username"] for user in (await olga.get("/api/users")).data] == ["olga"]


async def test_tokens_by_their_routes(it: House, olga: Client, gina: Client, door: Device) -> None:
    rotated = await olga.post("/api/device/front/token/rotate")
    assert len(rotated.data["deviceToken"]) == 64
    qr = await olga.get("/api/device/front/qr")
    assert qr.data["deviceName"] == "front" and qr.data["deviceToken"] in qr.data["onboardingURL"]
    assert (await olga.post("/api/device/front/token/revoke")).status == 200
    assert (await it.device(door.id)).token_hash is None
    for path in ("token/rotate", "token/revoke"):
        assert (await gina.post(f"/api/device/front/{path}")).status == 404


async def test_removing_is_for_the_owner(it: House, olga: Client, owner: Caller) -> None:
    await it.door(owner, "gone")
    assert (await olga.ask("DELETE", "/api/device/gone")).data["name"] == "gone"
    assert (await olga.get("/api/device/gone")).status == 404


async def test_an_operator_can_ask_whether_the_log_is_whole(
    it: House, operator: Client, olga: Client, door: Device
) -> None:
    session = await it.connect(door)
    await it.beat(session, "maintenance")
    assert (await operator.get("/api/events/verify")).data["ok"] is True
    exported = await olga.get(f"/api/events/export?device={door.id}")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert len(exported.body.splitlines()) == 2


async def test_logs_are_filtered_and_paged(it: House, olga: Client, door: Device) -> None:
    session = await it.connect(door)
    for status in ("maintenance", "online", "maintenance"):
        await it.clock.advance(1)
        await it.beat(session, status)
    newest = (await olga.get("/api/logs?type=status_changed&limit=2")).json
    assert [row["payload"]["status"] for row in newest["data"]] == ["maintenance", "online"]
    assert newest["pagination"]["totalItems"] == 3
    since = iso(it.clock.now())
    assert len((await olga.get(f"/api/logs?since={since}")).data) == 1
    assert len((await olga.get(f"/api/logs?until={since}&type=status_changed")).data) == 2
    assert (await it.device(door.id)).lock_state.value is LockValue.UNKNOWN

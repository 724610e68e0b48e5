"""Who is calling, on the socket and over TCP, and who is refused."""

from __future__ import annotations

from typing import Any

import pytest

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller
from tests.support.asgi import TCP_PEER, Client
from tests.support.house import House


async def test_the_peers_uid_is_the_user(olga: Client, gina: Client, operator: Client) -> None:
    assert (await olga.get("/api/auth/me")).data["username"] == "olga"
    assert (await gina.get("/api/auth/me")).data["username"] == "gina"
    assert (await operator.get("/api/auth/me")).data["role"] == "super_admin"


async def test_an_unknown_uid_is_refused_with_the_mend(local: Any) -> None:
    answer = await Client(local, 4_999_999).get("/api/device")
    assert (answer.status, answer.json["code"]) == (403, "not_allowed")
    assert "doorlock user link USER 4999999" in answer.json["hint"]


async def test_a_token_wins_over_the_uid(it: House, olga: Client, owner: Caller) -> None:
    bert = await it.person("bert")
    token = it.sessions.token_for(bert.user)
    answer = await olga.get("/api/auth/me", authorization=f"Bearer {token}")
    assert answer.data["username"] == "bert"
    wrong = await olga.get("/api/auth/me", authorization="Bearer not.a.token")
    assert (wrong.status, wrong.json["code"]) == (401, "not_authenticated")


async def test_tcp_takes_a_token_and_nothing_less(
    it: House, tcp: Any, owner: Caller, door: Device
) -> None:
    anybody = Client(tcp)
    for path in ("/api/device", "/api/auth/me", "/api/logs", "/api/events/stream", "/api/config"):
        answer = await anybody.get(path)
        assert (answer.status, answer.json["message"]) == (401, "Authentication required")
    known = Client(tcp, authorization=f"Bearer {it.sessions.token_for(owner.user)}")
    assert [device["id"] for device in (await known.get("/api/device")).data] == [door.id]


async def test_what_was_done_over_tcp_says_from_where(
    it: House, tcp: Any, owner: Caller, door: Device
) -> None:
    await it.connect(door)
    client = Client(tcp, authorization=f"Bearer {it.sessions.token_for(owner.user)}")
    answer = await client.post(f"/api/device/{door.id}/command", {"command": "unlock"})
    assert answer.status == 202
    (event,) = await it.log(EventType.COMMAND_QUEUED)
    assert event.new.metadata["source"] == "http"
    assert event.new.metadata["ipAddress"] == TCP_PEER[0]


async def test_only_an_operator_acts_for_another_and_the_log_names_both(
    it: House, operator: Client, olga: Client, gina: Client, door: Device
) -> None:
    await it.connect(door)
    path, body = f"/api/device/{door.id}/command", {"command": "unlock"}
    refused = await gina.post(path, body, X_Doorlock_As="olga")
    assert (refused.status, it.websocket.handed) == (403, [])
    assert (await operator.post(path, body, X_Doorlock_As="nobody")).status == 404
    assert (await operator.post(path, body, X_Doorlock_As="gina")).status == 403
    answer = await operator.post(path, body, X_Doorlock_As="olga")
    assert answer.status == 202
    (event,) = await it.log(EventType.COMMAND_QUEUED)
    me = (await operator.get("/api/auth/me")).data
    assert event.new.metadata["operatorId"] == me["id"]
    assert event.new.user_id != me["id"]


async def test_a_disabled_user_is_refused(it: House, olga: Client, operator: Client) -> None:
    assert (await operator.post("/api/users/olga/disable")).status == 200
    answer = await olga.get("/api/device")
    assert (answer.status, answer.json["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://localhost:3000", ""])
async def test_a_web_page_may_not_use_the_socket(
    it: House, operator: Client, door: Device, origin: str
) -> None:
    await it.connect(door)
    path = f"/api/device/{door.id}/command"
    answer = await operator.post(path, {"command": "unlock"}, origin=origin)
    assert (answer.status, answer.json["success"]) == (403, False)
    assert (await operator.get("/api/version", origin=origin)).status == 403
    assert it.websocket.handed == []


async def test_over_tcp_only_the_configured_origins_may_read(tcp: Any) -> None:
    client = Client(tcp)
    allowed = await client.get("/api/health", origin="https://admin.test")
    assert allowed.headers["access-control-allow-origin"] == "https://admin.test"
    foreign = await client.get("/api/health", origin="https://evil.test")
    assert "access-control-allow-origin" not in foreign.headers
    preflight = await client.ask(
        "OPTIONS",
        "/api/device",
        headers={
            "origin": "https://admin.test",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert preflight.status == 200


# devices


async def test_a_device_beats_for_itself_alone(
    it: House, tcp: Any, owner: Caller, door: Device
) -> None:
    back = await it.door(owner, "back")
    client = Client(tcp, x_device_id=back.id, x_device_token="token-of-back")
    own = await client.post(f"/api/device/{back.id}/heartbeat", {"batteryLevel": 50})
    assert own.status == 200
    other = await client.post(f"/api/device/{door.id}/heartbeat", {"batteryLevel": 1})
    assert other.status == 403
    assert (await it.device(back.id)).battery_level == 50
    assert (await it.device(door.id)).battery_level is None


@pytest.mark.parametrize("token", ["wrong", "token-of-back"])
async def test_a_wrong_device_token_is_nobody(
    it: House, tcp: Any, owner: Caller, door: Device, token: str
) -> None:
    await it.door(owner, "back")
    client = Client(tcp, x_device_id=door.id, x_device_token=token)
    answer = await client.post(f"/api/device/{door.id}/heartbeat", {})
    assert (answer.status, answer.json["message"]) == (401, "Invalid device token")
    bare = await Client(tcp).post(f"/api/device/{door.id}/heartbeat", {})
    assert (bare.status, bare.json["message"]) == (401, "Authentication required")


async def test_activation_gives_a_token_for_that_device_alone(
    it: House, tcp: Any, owner: Caller
) -> None:
    new = await it.door(owner, "new", activated_at=None)
    proof = {"deviceId": new.id, "token": "token-of-new", "type": "door-lock", "room": "x"}
    for _ in range(2):
        answer = await Client(tcp).post("/api/device/activate", proof)
        assert (answer.status, answer.data["activated"]) == (200, True)
    bearer = f"Bearer {answer.json['token']}"
    beat = await Client(tcp, authorization=bearer).post(f"/api/device/{new.id}/heartbeat", {})
    assert beat.status == 200
    for path in ("/api/device", f"/api/device/{new.id}", "/api/auth/me"):
        assert (await Client(tcp, authorization=bearer).get(path)).status == 401
    assert len(await it.log(EventType.DEVICE_ACTIVATED)) == 1


async def test_a_device_that_is_switched_off_hears_so(
    it: House, tcp: Any, owner: Caller, door: Device
) -> None:
    await it.store.update_device(door.id, {"is_active": False})
    proof = {"deviceId": door.id, "token": "token-of-front"}
    answer = await Client(tcp).post("/api/device/validate", proof)
    assert (answer.status, answer.json["message"]) == (403, "Device not activated")

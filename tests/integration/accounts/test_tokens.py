"""Named tokens over HTTP, what their scope leaves of a user's rights, and streams that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller, Role
from doorlock.times import iso
from tests.support.api import Api, serving
from tests.support.house import House, house


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
async def api(it: House) -> AsyncIterator[Api]:
    async with serving(it) as served:
        yield served


async def token_of(it: House, api: Api, caller: Caller, **body: Any) -> str:
    key = it.sessions.token_for(caller.user)
    answer = await api.post("/api/auth/tokens", {"name": "script", **body}, key)
    assert answer.status == 201, answer.body
    token: str = answer.data["token"]
    return token


async def test_a_named_token_is_shown_once_and_listed_without_its_secret(
    it: House, api: Api
) -> None:
    ada = await it.person("ada")
    key = it.sessions.token_for(ada.user)
    until_then = iso(it.clock.now() + timedelta(days=30))
    body = {"name": "back up", "scope": "control", "expiresAt": until_then}
    made = await api.post("/api/auth/tokens", body, key)
    assert made.status == 201
    secret = made.data.pop("token")
    assert secret.startswith("doorlock_")
    listed = await api.get("/api/auth/tokens", key)
    assert listed.data == [made.data]
    assert made.data["expiresAt"] == until_then
    assert secret not in str(listed.body)
    me = await api.get("/api/auth/me", secret)
    assert (me.data["username"], me.data["scope"]) == ("ada", "control")
    (event,) = await it.log(EventType.TOKEN_ROTATED)
    assert secret[9:] not in repr(event)


async def test_a_name_is_given_once(it: House, api: Api) -> None:
    ada = await it.person("ada")
    await token_of(it, api, ada)
    key = it.sessions.token_for(ada.user)
    assert (await api.post("/api/auth/tokens", {"name": "script"}, key)).status == 409
    await token_of(it, api, await it.person("bob"))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x", "scope": "owner"},
        {"name": "x", "expiresAt": "2020-01-01T00:00:00Z"},
        {"name": "x", "expiresAt": "soon"},
    ],
)
async def test_what_is_no_token_is_bad_input(it: House, api: Api, body: dict[str, Any]) -> None:
    key = it.sessions.token_for((await it.person("ada")).user)
    assert (await api.post("/api/auth/tokens", body, key)).status == 400
    assert (await api.get("/api/auth/tokens", key)).data == []


async def test_a_named_token_ends_at_its_end(it: House, api: Api) -> None:
    ada = await it.person("ada")
    ends = it.clock.now() + timedelta(hours=1)
    token = await token_of(it, api, ada, expiresAt=iso(ends))
    it.clock.jump(3599)
    assert (await api.get("/api/auth/me", token)).status == 200
    it.clock.jump(1)
    assert (await api.get("/api/auth/me", token)).status == 401
    (listed,) = (await api.get("/api/auth/tokens", it.sessions.token_for(ada.user))).data
    assert listed["active"] is False


@pytest.mark.parametrize("by", ["name", "id"])
async def test_a_revoked_token_is_dead_at_once(it: House, api: Api, by: str) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    mine, theirs = await token_of(it, api, ada), await token_of(it, api, bob)
    key = it.sessions.token_for(ada.user)
    (listed,) = (await api.get("/api/auth/tokens", key)).data
    assert (await api.delete(f"/api/auth/tokens/{listed[by]}", key)).status == 200
    assert (await api.get("/api/auth/me", mine)).status == 401
    assert (await api.get("/api/auth/me", theirs)).status == 200
    assert (await api.delete(f"/api/auth/tokens/{listed[by]}", key)).status == 404


async def test_nobody_revokes_the_token_of_another(it: House, api: Api) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    token = await token_of(it, api, bob, name="of bob")
    bobs = it.sessions.token_for(bob.user)
    (listed,) = (await api.get("/api/auth/tokens", bobs)).data
    for ref in ("of bob", listed["id"]):
        answer = await api.delete(f"/api/auth/tokens/{ref}", it.sessions.token_for(ada.user))
        assert answer.status == 404
    assert (await api.get("/api/auth/me", token)).status == 200


DOOR = "/api/device/front"
REGISTER = {"name": "x", "espId": "ESP-x"}
SHARE = {"user": "bob", "permission": "view"}
DRY_RUN = {"command": "lock_door", "dryRun": True}
LEAST: list[tuple[str, str, Any, str]] = [
    ("GET", "/api/auth/me", None, "view"),
    ("GET", "/api/device", None, "view"),
    ("GET", DOOR, None, "view"),
    ("GET", "/api/logs", None, "view"),
    ("POST", f"{DOOR}/command", DRY_RUN, "control"),
    ("PUT", DOOR, {"settings": {"motionSensitivity": 5}}, "control"),
    ("PUT", DOOR, {"room": "hall"}, "admin"),
    ("POST", f"{DOOR}/share", SHARE, "admin"),
    ("GET", f"{DOOR}/shares", None, "admin"),
    ("GET", f"{DOOR}/qr", None, "admin"),
    ("POST", "/api/device/register", REGISTER, "admin"),
    ("DELETE", DOOR, None, "never"),
    ("GET", "/api/auth/tokens", None, "never"),
    ("POST", "/api/auth/tokens", {"name": "y", "scope": "admin"}, "never"),
    ("DELETE", "/api/auth/tokens/script", None, "never"),
    ("PUT", "/api/auth/password", {"newPassword": "battery staple"}, "never"),
]


@pytest.mark.parametrize("scope", ["view", "control", "admin"])
async def test_a_scope_caps_what_an_owner_may(it: House, api: Api, scope: str) -> None:
    ada = await it.person("ada")
    await it.person("bob")
    await it.connect(await it.door(ada))
    token = await token_of(it, api, ada, scope=scope)
    order = ["view", "control", "admin", "never"]
    for method, path, body, least in LEAST:
        answer = await api.call(method, path, body, token=token)
        allowed = order.index(scope) >= order.index(least)
        assert (answer.status != 403) is allowed, (method, path, answer.body)
        assert answer.status in (200, 201, 202, 403), (method, path, answer.body)
    shown = (await api.get(DOOR, token)).data["userPermissions"]["permission"]
    assert shown == scope
    (listed,) = [
        one for one in (await api.get("/api/device", token)).data if one["name"] == "front"
    ]
    assert listed["userPermissions"]["permission"] == scope


async def test_a_scope_gives_nothing_that_the_user_has_not(it: House, api: Api) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    door = await it.door(ada)
    token = await token_of(it, api, bob, scope="admin")
    assert (await api.get(DOOR, token)).status == 404
    await it.share(door, bob)
    assert (await api.put(DOOR, {"room": "hall"}, token)).status == 403


@pytest.mark.parametrize(("scope", "status"), [("view", 403), ("control", 403), ("admin", 200)])
async def test_an_operators_script_is_an_operator_by_scope(
    it: House, api: Api, scope: str, status: int
) -> None:
    boss = await it.person("boss", Role.SUPER_ADMIN)
    await it.person("ada")
    token = await token_of(it, api, boss, scope=scope)
    assert (await api.get("/api/config", token)).status == status
    acting = {"X-Doorlock-As": "ada"}
    assert (await api.get("/api/device", token, headers=acting)).status == status
    assert (await api.post("/api/users/ada/disable", token=token)).status == status


async def test_a_stream_says_nothing_more_once_its_token_has_ended(it: House, api: Api) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    kept, ended = it.sessions.token_for(ada.user), it.sessions.token_for(ada.user)
    async with (
        api.stream("/api/events/stream", kept) as one,
        api.stream("/api/events/stream", ended) as other,
    ):
        for stream in (one, other):
            assert b"hello" in await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 20)
        await api.post("/api/auth/logout", token=ended)
        await it.connect(door)
        assert await asyncio.wait_for(other.content.read(), 20) == b""
        seen = b""
        while b"device_connected" not in seen:
            seen += await asyncio.wait_for(one.content.readuntil(b"\n\n"), 20)
        assert b"token_revoked" in seen


async def test_the_socket_is_spoken_for_by_a_token_where_one_is_sent(it: House, api: Api) -> None:
    ada = await it.person("ada")
    token = it.sessions.token_for(ada.user)
    assert (await api.get("/api/auth/me", token, local=True)).data["username"] == "ada"
    assert (await api.get("/api/auth/me", "nonsense", local=True)).status == 401
    (await api.post("/api/auth/logout", token=token, local=True))
    assert (await api.get("/api/auth/me", token, local=True)).status == 401


async def test_a_cameras_token_can_be_ended_too(it: House, api: Api) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    token = it.sessions.token_for_device(door)
    beat = f"/api/device/{door.id}/heartbeat"
    assert (await api.post(beat, {}, token)).status == 200
    await it.store.update_device(door.id, {"token_hash": "another"})
    assert (await api.post(beat, {}, token)).status == 401


async def test_many_logouts_at_once_end_as_many_tokens(it: House, api: Api) -> None:
    ada = await it.person("ada")
    tokens = [it.sessions.token_for(ada.user) for _ in range(20)]
    await asyncio.gather(*(api.post("/api/auth/logout", token=token) for token in tokens))
    answers = await asyncio.gather(*(api.get("/api/auth/me", token) for token in tokens))
    assert {answer.status for answer in answers} == {401}
    assert len(await it.store.revoked_tokens()) == 20

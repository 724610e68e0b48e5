"""Signing up, in and out over HTTP; WIRE section 4."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Role
from doorlock.daemon.services.passwords import Passwords
from doorlock.daemon.services.signin import SignIn
from tests.support.api import Answer, Api, serving
from tests.support.house import House, house

ADA = {"username": "ada", "email": "Ada@Example.org", "name": "Ada L.", "password": "correct horse"}


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
async def api(it: House) -> AsyncIterator[Api]:
    async with serving(it) as served:
        yield served


async def sign_up(api: Api, **changes: Any) -> str:
    answer = await api.post("/api/auth/register", {**ADA, **changes})
    assert answer.status == 201, answer.body
    token: str = answer.data["token"]
    return token


def fields(answer: Answer) -> list[str]:
    assert answer.body["success"] is False
    return [error["field"] for error in answer.body["errors"]]


async def test_a_sign_up_signs_in(api: Api) -> None:
    answer = await api.post("/api/auth/register", ADA)
    assert answer.status == 201
    assert answer.body["success"] is True
    assert set(answer.data) == {"user", "token"}
    user = answer.data["user"]
    assert user == {
        "id": user["id"],
        "username": "ada",
        "name": "Ada L.",
        "email": "Ada@Example.org",
        "role": "admin",
    }
    me = await api.get("/api/auth/me", answer.data["token"])
    assert me.status == 200
    assert me.data["id"] == user["id"]


async def test_a_token_holds_what_the_contract_says(it: House, api: Api) -> None:
    token = await sign_up(api)
    claims = jwt.decode(token, options={"verify_signature": False})
    now = int(it.clock.now().timestamp())
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    assert set(claims) == {"userId", "username", "role", "iss", "iat", "exp", "jti"}
    assert (claims["iss"], claims["iat"], claims["exp"]) == (
        "doorlock-system",
        now,
        now + 7 * 86400,
    )
    assert (claims["username"], claims["role"]) == ("ada", "admin")


@pytest.mark.parametrize("role", ["super_admin", "operator", None, 7, ["super_admin"]])
async def test_nobody_signs_up_as_more(it: House, api: Api, role: object) -> None:
    answer = await api.post("/api/auth/register", {**ADA, "role": role, "isActive": False})
    assert (answer.status, answer.data["user"]["role"]) == (201, "admin")
    user = await it.store.find_user("ada")
    assert user is not None
    assert (user.role, user.is_active, user.unix_uid) == (Role.ADMIN, True, None)
    assert (await api.get("/api/config", answer.data["token"])).status == 403


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": "no spaces"}, "username"),
        ({"username": "a@b.org"}, "username"),
        ({"email": "nobody"}, "email"),
        ({"password": "seven77"}, "password"),
        ({"password": "é" * 513}, "password"),
        ({"password": None}, "password"),
        ({"password": 12345678}, "password"),
        ({"name": "a\x00b"}, "name"),
        ({"username": "", "email": " "}, "username"),
        ({"password": "\ud800" * 8}, "password"),
    ],
)
async def test_what_cannot_be_used_is_named(
    it: House, api: Api, changes: dict[str, Any], field: str
) -> None:
    answer = await api.post("/api/auth/register", {**ADA, **changes})
    assert answer.status == 400
    assert fields(answer) == [field]
    assert await it.store.list_users() == []
    assert it.hasher.hashes == 0


@pytest.mark.parametrize("password", ["éèêëàâäô", "🔑" * 8, " " * 8, "a" * 1024, "\x00" * 9])
async def test_any_eight_characters_are_a_password(api: Api, password: str) -> None:
    await sign_up(api, password=password)
    for given, status in ((password, 200), (password + "x", 401), (password[:-1], 401)):
        body = {"username": "ada", "password": given}
        assert (await api.post("/api/auth/login", body)).status == status


async def test_an_accent_is_an_accent_however_it_was_typed(api: Api) -> None:
    await sign_up(api, password="caf\u00e9-caf\u00e9")
    body = {"username": "ada", "password": "cafe\u0301-cafe\u0301"}
    assert (await api.post("/api/auth/login", body)).status == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"username": "ADA", "email": "b@x.org"}, "username"), ({"username": "bob"}, "email")],
)
async def test_what_is_taken_is_a_conflict(
    it: House, api: Api, changes: dict[str, Any], field: str
) -> None:
    await sign_up(api)
    before = it.hasher.hashes
    answer = await api.post("/api/auth/register", {**ADA, "email": "ADA@example.ORG", **changes})
    assert answer.status == 409
    assert fields(answer) == [field]
    assert it.hasher.hashes == before


async def test_a_username_is_made_where_none_is_given(api: Api) -> None:
    body = {"email": "jo.doe+x@example.org", "password": "long enough"}
    first = await api.post("/api/auth/register", body)
    assert first.data["user"]["username"] == "jo-doe-x"
    second = await api.post("/api/auth/register", {**body, "email": "jo.doe+x@example.com"})
    assert second.status == 201
    assert second.data["user"]["username"].startswith("jo-doe-x-")


async def test_a_closed_house_takes_nobody(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        it.signin = SignIn(it.store, it.clock, it.sessions, Passwords(it.hasher), signup=False)
        async with serving(it) as api:
            answer = await api.post("/api/auth/register", ADA)
        assert answer.status == 403
        assert await it.store.list_users() == []


@pytest.mark.parametrize(
    "who",
    [
        {"username": "ada"},
        {"username": "ADA"},
        {"email": "ada@example.org"},
        {"username": "ada@example.org"},
        {"email": "ada"},
        {"email": "", "username": "ada"},
    ],
)
async def test_a_login_is_by_either_name(it: House, api: Api, who: dict[str, str]) -> None:
    await sign_up(api)
    answer = await api.post("/api/auth/login", {**who, "password": ADA["password"]})
    assert answer.status == 200
    assert set(answer.data) == {"user", "token"}
    assert set(answer.data["user"]) == {"id", "username", "name", "email", "role"}
    (event,) = await it.log(EventType.LOGIN_SUCCEEDED)
    assert event.new.user_id == answer.data["user"]["id"]
    assert event.new.metadata["source"] == "http"
    assert event.new.metadata["ipAddress"] == "127.0.0.1"


async def test_who_is_wrong_is_not_told_what_was_wrong(it: House, api: Api) -> None:
    await sign_up(api)
    await it.person("linked", uid=4_000_002)
    answers = [
        await api.post("/api/auth/login", {"username": name, "password": "wrong password"})
        for name in ("ada", "nobody", "linked")
    ]
    for answer in answers:
        assert answer.status == 401
        answer.body.pop("timestamp")
    assert answers[0].body == answers[1].body == answers[2].body
    assert answers[0].body["message"] == "Invalid credentials"
    failed = await it.log(EventType.LOGIN_FAILED)
    assert [event.new.user_id is None for event in failed] == [False, True, False]


@pytest.mark.parametrize("body", [{}, {"password": "x"}, {"username": "ada"}, [], "ada", None])
async def test_a_login_of_nothing_is_bad_input(api: Api, body: Any) -> None:
    answer = await api.post("/api/auth/login", body)
    assert answer.status == 400
    assert answer.body["errors"]


async def test_a_disabled_user_is_out_at_once_and_for_good(it: House, api: Api) -> None:
    token = await sign_up(api)
    assert (await api.post("/api/users/ada/disable", token=token)).status == 403
    boss = await it.person("boss", Role.SUPER_ADMIN)
    key = it.sessions.token_for(boss.user)
    assert (await api.post("/api/users/ada/disable", token=key)).status == 200
    assert (await api.get("/api/auth/me", token)).status == 401
    body = {"username": "ada", "password": ADA["password"]}
    assert (await api.post("/api/auth/login", body)).status == 401
    assert (await api.post("/api/users/ada/enable", token=key)).status == 200
    assert (await api.get("/api/auth/me", token)).status == 401
    assert (await api.post("/api/auth/login", body)).status == 200


async def test_a_logout_ends_that_token_and_no_other(it: House, api: Api) -> None:
    first = await sign_up(api)
    body = {"username": "ada", "password": ADA["password"]}
    second = (await api.post("/api/auth/login", body)).data["token"]
    assert (await api.post("/api/auth/logout", token=first)).status == 200
    refused = await api.get("/api/auth/me", first)
    assert (refused.status, refused.body["message"]) == (401, "Invalid token")
    assert (await api.get("/api/auth/me", second)).status == 200


@pytest.mark.parametrize("token", [None, "nonsense", "a.b.c", "doorlock_" + "0" * 64])
async def test_a_logout_is_polite_to_everybody(api: Api, token: str | None) -> None:
    for local in (False, True):
        answer = await api.post("/api/auth/logout", token=token, local=local)
        assert (answer.status, answer.body["success"]) == (200, True)


async def test_a_token_ends_at_its_end(it: House, api: Api) -> None:
    token = await sign_up(api)
    it.clock.jump(timedelta(days=7, seconds=-1))
    assert (await api.get("/api/auth/me", token)).status == 200
    it.clock.jump(1)
    assert (await api.get("/api/auth/me", token)).status == 401


async def test_a_new_password_ends_every_token_but_the_new_one(it: House, api: Api) -> None:
    token = await sign_up(api)
    named = await api.post("/api/auth/tokens", {"name": "script"}, token)
    change = {"currentPassword": ADA["password"], "newPassword": "battery staple"}
    answer = await api.put("/api/auth/password", change, token)
    assert answer.status == 200
    assert set(answer.data) == {"user", "token"}
    for old in (token, named.data["token"]):
        assert (await api.get("/api/auth/me", old)).status == 401
    assert (await api.get("/api/auth/me", answer.data["token"])).status == 200
    for password, status in ((ADA["password"], 401), ("battery staple", 200)):
        body = {"username": "ada", "password": password}
        login = await api.post("/api/auth/login", body)
        assert login.status == status
    assert (await api.get("/api/auth/me", login.data["token"])).status == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"currentPassword": "wrong", "newPassword": "battery staple"}, "currentPassword"),
        ({"newPassword": "battery staple"}, "currentPassword"),
        ({"currentPassword": ADA["password"], "newPassword": "short"}, "newPassword"),
        ({"currentPassword": ADA["password"]}, "newPassword"),
    ],
)
async def test_a_password_change_that_cannot_be(
    it: House, api: Api, change: dict[str, str], field: str
) -> None:
    token = await sign_up(api)
    answer = await api.put("/api/auth/password", change, token)
    assert answer.status == 400
    assert fields(answer) == [field]
    assert (await api.get("/api/auth/me", token)).status == 200
    assert (await api.put("/api/auth/password", change)).status == 401


async def test_too_many_attempts_wait(it: House, api: Api) -> None:
    await sign_up(api)
    wrong = {"username": "ada", "password": "wrong password"}
    statuses = [(await api.post("/api/auth/login", wrong)).status for _ in range(8)]
    assert statuses == [401] * 8
    right = {"email": ADA["email"], "password": ADA["password"]}
    limited = await api.post("/api/auth/login", right)
    assert limited.status == 429
    wait = int(limited.headers["Retry-After"])
    assert 0 < wait <= 30
    it.clock.jump(wait)
    assert (await api.post("/api/auth/login", right)).status == 200
    assert len(await it.log(EventType.RATE_LIMITED)) == 1


async def test_an_operator_sets_passwords_and_nobody_else(it: House, api: Api) -> None:
    token = await sign_up(api)
    await it.person("eve")
    boss = it.sessions.token_for((await it.person("boss", Role.SUPER_ADMIN)).user)
    body = {"newPassword": "battery staple"}
    assert (await api.post("/api/users/eve/password", body, token)).status == 403
    assert (await api.post("/api/users/ada/password", body, token)).status == 403
    assert (await api.post("/api/users/nobody/password", body, token)).status == 403
    assert (await api.post("/api/users/boss/password", body, boss)).status == 403
    answer = await api.post("/api/users/ada/password", body, boss)
    assert answer.status == 200
    assert (await api.get("/api/auth/me", token)).status == 401
    login = {"username": "ada", "password": "battery staple"}
    assert (await api.post("/api/auth/login", login)).status == 200
    added = await api.post("/api/users", {"username": "new", "password": "battery staple"}, boss)
    assert added.status == 201
    assert (await api.post("/api/auth/login", {**login, "username": "new"})).status == 200
    for told in (answer, added, await api.get("/api/users", boss)):
        assert "argon2" not in str(told.body)
        assert "battery" not in str(told.body)

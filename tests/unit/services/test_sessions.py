"""Tokens: what they are good for, until when, and what ends them sooner."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller, Role, Scope
from doorlock.daemon.services.keys import Keys
from doorlock.daemon.services.sessions import Sessions
from doorlock.errors import BadConfig, NotAllowed, NotAuthenticated, Unavailable
from tests.support.house import House, house

LIFE = timedelta(days=7)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


async def dead(sessions: Sessions, token: str) -> bool:
    try:
        await sessions.by_token(token)
    except NotAuthenticated:
        return True
    return False


async def test_a_token_says_who_which_and_until_when(it: House) -> None:
    ada = (await it.person("ada")).user
    caller = await it.sessions.by_token(it.sessions.token_for(ada))
    assert caller.user == ada
    assert caller.jti
    assert caller.scope is None
    assert caller.token_expires_at == it.clock.now() + LIFE


def forged(it: House, key: bytes = b"k" * 64, **changes: Any) -> str:
    now = int(it.clock.now().timestamp())
    claims = {"iss": "doorlock-system", "iat": now, "exp": now + 60, "jti": "j", **changes}
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(present, key, algorithm="HS256")


async def test_a_token_by_the_contract_alone_is_taken(it: House) -> None:
    ada = (await it.person("ada")).user
    token = forged(it, userId=ada.id, username="ada", role="super_admin")
    caller = await it.sessions.by_token(token)
    assert caller.user.role is Role.ADMIN  # what counts is who they are now


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"iss": None},
        {"iat": None},
        {"iat": "yesterday"},
        {"exp": None},
        {"exp": 1},
        {"exp": "never"},
        {"jti": None},
        {"jti": ["j"]},
        {"userId": None},
        {"userId": {"$ne": ""}},
        {"userId": "0" * 24},
        {"key": b"x" * 64},
    ],
)
async def test_a_token_that_is_not_ours_is_refused(it: House, changes: dict[str, Any]) -> None:
    ada = (await it.person("ada")).user
    assert await dead(it.sessions, forged(it, **{"userId": ada.id, **changes}))


async def test_a_token_without_a_signature_is_refused(it: House) -> None:
    ada = (await it.person("ada")).user
    claims = jwt.decode(it.sessions.token_for(ada), options={"verify_signature": False})
    assert await dead(it.sessions, jwt.encode(claims, None, algorithm="none"))


async def test_a_device_is_not_a_user_nor_a_user_a_device(it: House) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    assert await dead(it.sessions, it.sessions.token_for_device(door))
    with pytest.raises(NotAuthenticated):
        await it.sessions.device_by_jwt(it.sessions.token_for(ada.user))
    found = await it.sessions.device_by_jwt(it.sessions.token_for_device(door))
    assert found.id == door.id


async def test_what_was_ended_stays_so_after_a_restart(it: House, tmp_path: Path) -> None:
    ada = (await it.person("ada")).user
    first, second = (it.sessions.token_for(ada) for _ in range(2))
    await it.sessions.end(await it.sessions.by_token(first))
    restarted = Sessions(it.store, it.clock, Keys(b"k" * 64), LIFE)
    for sessions in (it.sessions, restarted):
        assert await dead(sessions, first)
        assert not await dead(sessions, second)


async def test_many_ends_at_once_are_all_remembered(it: House) -> None:
    ada = (await it.person("ada")).user
    tokens = [it.sessions.token_for(ada) for _ in range(20)]
    callers = await asyncio.gather(*map(it.sessions.by_token, tokens))
    fresh = Sessions(it.store, it.clock, Keys(b"k" * 64), LIFE)
    await asyncio.gather(*map(fresh.end, callers))
    assert all([await dead(fresh, token) for token in tokens])


async def test_what_has_run_out_need_not_be_remembered(it: House) -> None:
    ada = (await it.person("ada")).user
    await it.sessions.end(await it.sessions.by_token(it.sessions.token_for(ada)))
    it.clock.jump(LIFE)
    later = await it.sessions.by_token(it.sessions.token_for(ada))
    await it.sessions.end(later)
    assert set(await it.store.revoked_tokens()) == {later.jti}


@pytest.mark.parametrize("jump", [0, 0.4, -3600, 86400])
async def test_all_tokens_end_and_the_next_one_works(it: House, jump: float) -> None:
    """Whatever the clock did in between: a token says only the second of its issue."""
    ada = (await it.person("ada")).user
    for _ in range(3):
        old = it.sessions.token_for(ada)
        assert not await dead(it.sessions, old)
        it.clock.jump(jump)
        changed = await it.sessions.change_user(ada, {})
        assert changed is not None
        ada = changed
        assert await dead(it.sessions, old)
        assert not await dead(it.sessions, it.sessions.token_for(ada))


async def test_no_token_for_a_password_of_the_past(it: House) -> None:
    ada = (await it.person("ada")).user
    await it.store.update_user(ada.id, {"password_hash": "newer"})
    assert await it.sessions.issue(ada) is None
    await it.store.update_user(ada.id, {"password_hash": None, "is_active": False})
    assert await it.sessions.issue(ada) is None


async def test_who_listens_hears_of_every_end(it: House) -> None:
    heard: list[tuple[str, str | None]] = []

    async def broken(user_id: str, jti: str | None) -> None:
        raise RuntimeError

    async def hears(user_id: str, jti: str | None) -> None:
        heard.append((user_id, jti))

    it.sessions.on_ended(broken)
    it.sessions.on_ended(hears)
    boss, ada = await it.person("boss", Role.SUPER_ADMIN), await it.person("ada")
    caller = await it.sessions.by_token(it.sessions.token_for(ada.user))
    await it.sessions.end(caller)
    made = await it.access_tokens.create(ada, "ci", Scope.VIEW, None)
    await it.access_tokens.revoke(ada, "ci")
    await it.accounts.set_active(boss, "ada", False)
    await it.signin.set_password(boss, ada.user, "battery staple")
    mine = ada.user.id
    assert heard == [(mine, caller.jti), (mine, made.token.id), (mine, None), (mine, None)]


async def test_what_lasts_sees_its_token_end(it: House) -> None:
    boss, ada = await it.person("boss", Role.SUPER_ADMIN), await it.person("ada")
    by_jwt = await it.sessions.by_token(it.sessions.token_for(ada.user))
    by_other = await it.sessions.by_token(it.sessions.token_for(ada.user))
    secret = (await it.access_tokens.create(ada, "ci", Scope.VIEW, None)).secret
    by_name = await it.sessions.by_token(secret)
    acting = await it.accounts.acting_as(boss, "ada")
    everybody = (by_jwt, by_other, by_name, ada, acting)
    assert [await it.sessions.is_live(each) for each in everybody] == [True] * 5
    await it.sessions.end(by_jwt)
    assert [await it.sessions.is_live(each) for each in everybody] == [False, *[True] * 4]
    await it.access_tokens.revoke(ada, "ci")
    assert not await it.sessions.is_live(by_name)
    it.clock.jump(LIFE)
    assert not await it.sessions.is_live(by_other)
    again = await it.sessions.by_token(it.sessions.token_for(ada.user))
    assert await it.sessions.is_live(again)
    await it.accounts.set_active(boss, "ada", False)
    assert [await it.sessions.is_live(each) for each in (again, ada, acting)] == [
        False,
        False,
        True,  # it is the operator who came
    ]


# the key


def keys_at(folder: Path) -> Keys:
    return Keys.load(folder / "keys" / "jwt.key")


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = keys_at(tmp_path)
    file = tmp_path / "keys" / "jwt.key"
    assert len(first.current) == 64
    assert keys_at(tmp_path).current == first.current == file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"short")
    with pytest.raises(BadConfig, match="too short"):
        Keys.load(tmp_path / "k")


async def test_a_rotation_ends_no_session_before_its_time(it: House, tmp_path: Path) -> None:
    boss, ada = await it.person("boss", Role.SUPER_ADMIN), (await it.person("ada")).user
    sessions = Sessions(it.store, it.clock, keys_at(tmp_path), LIFE)
    tokens = []
    for _ in range(3):
        tokens.append(sessions.token_for(ada))
        until = await sessions.rotate_key(boss)
        assert until == it.clock.now() + LIFE
        it.clock.jump(60)
    restarted = Sessions(it.store, it.clock, keys_at(tmp_path), LIFE)
    newest = restarted.token_for(ada)
    assert not any([await dead(restarted, token) for token in (*tokens, newest)])
    for name in ("jwt.key", "jwt.key.old"):
        file = tmp_path / "keys" / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(json.loads((tmp_path / "keys" / "jwt.key.old").read_text())) == 3
    assert [event.new.payload for event in await it.log(EventType.TOKEN_ROTATED)] == [
        {"kind": "signing key"}
    ] * 3


async def test_an_old_key_verifies_no_longer_than_its_tokens(it: House, tmp_path: Path) -> None:
    keys = keys_at(tmp_path)
    stolen = keys.current
    ada = (await it.person("ada")).user
    until = keys.rotate(it.clock.now(), LIFE)
    token = forged(it, stolen, userId=ada.id, exp=int(until.timestamp()) + 9999)
    sessions = Sessions(it.store, it.clock, keys_at(tmp_path), LIFE)
    assert not await dead(sessions, token)
    it.clock.jump(LIFE)
    assert await dead(sessions, token)
    keys.rotate(it.clock.now(), LIFE)
    assert stolen.hex() not in (tmp_path / "keys" / "jwt.key.old").read_text()


async def test_only_an_operator_rotates(it: House) -> None:
    with pytest.raises(NotAllowed):
        await it.sessions.rotate_key(await it.person("ada"))
    boss = await it.person("boss", Role.SUPER_ADMIN)
    with pytest.raises(NotAllowed):
        await it.sessions.rotate_key(Caller(boss.user, scope=Scope.CONTROL))


def test_a_rotation_that_cannot_be_written_changes_nothing(tmp_path: Path, it: House) -> None:
    keys = keys_at(tmp_path)
    before = keys.current
    (tmp_path / "keys" / "jwt.key.new").mkdir()
    with pytest.raises(Unavailable):
        keys.rotate(it.clock.now(), LIFE)
    assert keys.current == before == keys_at(tmp_path).current


@pytest.mark.parametrize("content", ["", "{}x", "[1]", '[{"key": "zz", "until": "x"}]', "7"])
def test_old_keys_that_cannot_be_read_are_named(tmp_path: Path, content: str) -> None:
    keys_at(tmp_path)
    (tmp_path / "keys" / "jwt.key.old").write_text(content)
    with pytest.raises(BadConfig, match="old keys"):
        keys_at(tmp_path)

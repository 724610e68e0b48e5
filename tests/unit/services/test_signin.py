"""Signing in: what it costs, how often it may be tried, and what is written of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.rates import Buckets
from doorlock.daemon.domain.users import Caller, Role, Scope
from doorlock.daemon.services.passwords import AT_ONCE, Passwords
from doorlock.daemon.services.signin import SignedIn, SignUp, Where
from doorlock.errors import BadInput, Conflict, NotAllowed, NotAuthenticated, RateLimited
from tests.support.house import House, house
from tests.support.passwords import CountingHasher
from tests.support.waiting import until

PASSWORD = "correct horse"
HERE = Where("192.0.2.1", {"source": "http", "ipAddress": "192.0.2.1"})


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


async def sign_up(it: House, username: str = "ada") -> SignedIn:
    return await it.signin.register(SignUp(username, None, "", PASSWORD), HERE)


async def outcome(it: House, login: str, password: str, where: Where = HERE) -> str:
    try:
        await it.signin.login(login, password, where)
    except (NotAuthenticated, RateLimited) as error:
        return error.code
    return "in"


# what it costs


@pytest.mark.parametrize("who", ["ada", "nobody", "linked"])
async def test_a_wrong_password_costs_one_hash_whoever_it_is(it: House, who: str) -> None:
    await sign_up(it)
    await it.person("linked", uid=4_000_002)
    before = it.hasher.hashes
    assert await outcome(it, who, "wrong password") == "not_authenticated"
    assert it.hasher.hashes == before + 1


async def test_few_hashes_run_at_once_and_the_loop_goes_on(it: House) -> None:
    await sign_up(it)
    it.hasher.gate.clear()
    waiting = [asyncio.create_task(outcome(it, "ada", PASSWORD)) for _ in range(6)]
    try:
        await until(lambda: it.hasher.running == AT_ONCE, "as many hashes as may run do")
        assert not any(task.done() for task in waiting)
    finally:
        it.hasher.gate.set()
    assert await asyncio.gather(*waiting) == ["in"] * 6
    assert it.hasher.most_running == AT_ONCE == 2


async def test_a_queue_that_is_too_long_takes_nobody_more() -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    hasher.gate.clear()
    tasks = [asyncio.create_task(passwords.hashed(PASSWORD)) for _ in range(40)]
    try:
        await until(lambda: sum(task.done() for task in tasks) == 8, "eight are refused")
    finally:
        hasher.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, RateLimited)]
    assert len(refused) == 8
    assert all(error.details["retryAfter"] > 0 for error in refused)
    assert await passwords.matches(PASSWORD, await passwords.hashed(PASSWORD))


async def test_a_hash_is_argon2id_and_a_damaged_one_matches_nothing() -> None:
    passwords = Passwords(CountingHasher())
    hashed = await passwords.hashed(PASSWORD)
    assert hashed.startswith("$argon2id$")
    assert not await passwords.matches(PASSWORD, "nonsense")
    assert not await passwords.matches(PASSWORD, hashed[:-4])
    assert not await passwords.matches("", None)


async def test_the_hash_of_the_daemon_is_not_a_quick_one() -> None:
    hashed = await Passwords().hashed(PASSWORD)
    _, kind, _, costs, *_ = hashed.split("$")
    parameters = dict(pair.split("=") for pair in costs.split(","))
    assert kind == "argon2id"
    assert int(parameters["m"]) >= 64 * 1024
    assert int(parameters["t"]) >= 3


# how often


async def test_an_account_is_tried_so_often_wherever_from(it: House) -> None:
    await sign_up(it)
    for number in range(8):
        where = replace(HERE, address=f"192.0.2.{number}")
        assert await outcome(it, "ada", "wrong password", where) == "not_authenticated"
    elsewhere = replace(HERE, address="198.51.100.7")
    assert await outcome(it, "ADA", PASSWORD, elsewhere) == "rate_limited"
    it.clock.jump(30)
    assert await outcome(it, "ada", PASSWORD, elsewhere) == "in"


async def test_an_unknown_account_is_limited_like_a_known_one(it: House) -> None:
    tried = [await outcome(it, "nobody", "wrong password") for _ in range(9)]
    assert tried == ["not_authenticated"] * 8 + ["rate_limited"]


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ("uid 1000", "uid 1000", "uid 1001"),
    ],
)
async def test_an_address_tries_so_often_whomever(
    it: House, address: str, same: str, other: str
) -> None:
    await sign_up(it)
    for number in range(30):
        where = replace(HERE, address=address)
        assert await outcome(it, f"user{number}", "wrong password", where) == "not_authenticated"
    assert await outcome(it, "ada", PASSWORD, replace(HERE, address=same)) == "rate_limited"
    assert await outcome(it, "ada", PASSWORD, replace(HERE, address=other)) == "in"


async def test_who_gets_in_is_not_slowed(it: House) -> None:
    await sign_up(it)
    assert [await outcome(it, "ada", PASSWORD) for _ in range(40)] == ["in"] * 40


async def test_attempts_at_once_count_before_they_are_judged(it: House) -> None:
    await sign_up(it)
    tried = await asyncio.gather(*(outcome(it, "ada", "wrong password") for _ in range(20)))
    assert sorted(tried) == ["not_authenticated"] * 8 + ["rate_limited"] * 12


async def test_a_refusal_says_when_and_the_log_says_it_once(it: House) -> None:
    await sign_up(it)
    for _ in range(20):
        await outcome(it, "ada", "wrong password")
    with pytest.raises(RateLimited) as caught:
        await it.signin.login("ada", PASSWORD, HERE)
    assert 0 < caught.value.details["retryAfter"] <= 30
    assert len(await it.log(EventType.RATE_LIMITED)) == 1
    assert len(await it.log(EventType.LOGIN_FAILED)) == 8


async def test_guessing_the_present_password_is_limited_too(it: House) -> None:
    ada = await it.sessions.by_token((await sign_up(it)).token)
    for _ in range(8):
        with pytest.raises(BadInput):
            await it.signin.change_password(ada, "wrong password", "battery staple")
    with pytest.raises(RateLimited):
        await it.signin.change_password(ada, PASSWORD, "battery staple")


def test_buckets_that_are_full_again_are_forgotten() -> None:
    from tests.support.clock import START

    buckets = Buckets(2, 1)
    for number in range(1000):
        buckets.of(f"idle {number}", START)
    used = buckets.of("used", START)
    assert used.take(START) and used.take(START) and not used.take(START)
    assert used.wait(START) == pytest.approx(1)
    for number in range(5000):
        buckets.of(f"more {number}", START)
    assert buckets.of("used", START) is used


# races


async def test_a_sign_up_that_comes_second_is_a_conflict(it: House) -> None:
    results = await asyncio.gather(*(sign_up(it) for _ in range(5)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 4 + ["SignedIn"]
    assert len(await it.store.list_users()) == 1


async def test_a_login_that_was_being_checked_when_the_password_changed_fails(it: House) -> None:
    signed_in = await sign_up(it)
    ada = await it.sessions.by_token(signed_in.token)
    boss = await it.person("boss", Role.SUPER_ADMIN)
    it.hasher.gate.clear()
    login = asyncio.create_task(outcome(it, "ada", PASSWORD))
    await until(lambda: it.hasher.running == 1, "the password is being checked")
    await it.store.update_user(ada.user.id, {"password_hash": "$argon2id$other"})
    it.hasher.gate.set()
    assert await login == "not_authenticated"
    it.hasher.gate.clear()
    await it.store.update_user(ada.user.id, {"password_hash": signed_in.user.password_hash})
    login = asyncio.create_task(outcome(it, "ada", PASSWORD))
    await until(lambda: it.hasher.running == 1, "the password is being checked")
    await it.accounts.set_active(boss, "ada", False)
    it.hasher.gate.set()
    assert await login == "not_authenticated"


async def test_two_changes_of_a_password_at_once_are_one(it: House) -> None:
    signed_in = await sign_up(it)
    ada = await it.sessions.by_token(signed_in.token)
    changes = [it.signin.change_password(ada, PASSWORD, f"battery staple {n}") for n in range(2)]
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "SignedIn"]
    (won,) = [n for n, result in enumerate(results) if isinstance(result, SignedIn)]
    assert await outcome(it, "ada", f"battery staple {won}") == "in"


# who may


async def test_a_first_password_comes_by_the_unix_account(it: House) -> None:
    linked = await it.person("linked", uid=4_000_002)
    await it.signin.change_password(linked, None, "battery staple")
    assert await outcome(it, "linked", "battery staple") == "in"
    with pytest.raises(BadInput):
        await it.signin.change_password(linked, None, "another password")


async def test_a_token_sets_no_first_password(it: House) -> None:
    linked = await it.person("linked", uid=4_000_002)
    stolen = await it.sessions.by_token(it.sessions.token_for(linked.user))
    with pytest.raises(BadInput):
        await it.signin.change_password(stolen, None, "battery staple")
    assert (await it.sessions.by_token(it.sessions.token_for(linked.user))).user == linked.user


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_named_token_leads_to_nothing_more(it: House, scope: Scope) -> None:
    boss = await it.person("boss", Role.SUPER_ADMIN)
    eve = (await it.person("eve")).user
    made = await it.access_tokens.create(boss, "ci", scope, None)
    script = await it.sessions.by_token(made.secret)
    assert script.scope is scope
    for act in (
        it.signin.change_password(script, "", "battery staple"),
        it.signin.set_password(script, eve, "battery staple"),
        it.access_tokens.create(script, "another", Scope.ADMIN, None),
        it.access_tokens.mine(script),
        it.access_tokens.revoke(script, "ci"),
    ):
        with pytest.raises(NotAllowed):
            await act


async def test_an_operator_acting_for_another_has_no_password_of_theirs(it: House) -> None:
    boss = await it.person("boss", Role.SUPER_ADMIN)
    await sign_up(it)
    acting: Caller = await it.accounts.acting_as(boss, "ada")
    with pytest.raises(NotAllowed):
        await it.signin.change_password(acting, PASSWORD, "battery staple")


# what is written


async def test_no_secret_is_in_an_event(it: House) -> None:
    boss = await it.person("boss", Role.SUPER_ADMIN)
    signed_in = await sign_up(it)
    await outcome(it, "hunter2 typed as a name", "mistyped secret")
    await outcome(it, "ada", "mistyped secret")
    second = (await it.signin.login("ada", PASSWORD, HERE)).token
    ada = await it.sessions.by_token(second)
    made = await it.access_tokens.create(ada, "ci", Scope.VIEW, None)
    await it.access_tokens.revoke(ada, "ci")
    changed = await it.signin.change_password(ada, PASSWORD, "battery staple")
    await it.signin.logout(await it.sessions.by_token(changed.token))
    await it.signin.set_password(boss, await it.accounts.find("ada"), "another secret")
    await it.accounts.add(boss, "new", "", None, Role.ADMIN, "password of new")
    await it.sessions.rotate_key(boss)
    written = repr([event.new for event in await it.log()])
    users = await it.store.list_users()
    hashes = [user.password_hash for user in users if user.password_hash]
    tokens = [signed_in.token, second, changed.token, made.secret]
    typed = [PASSWORD, "mistyped secret", "battery staple", "another secret", "password of new"]
    for secret in (*hashes, *tokens, *typed, made.token.token_hash, "hunter2", "argon2"):
        assert secret not in written
    assert len(hashes) == 2
    assert not [secret for secret in (*hashes, *tokens) if secret in repr((users, made, ada))]


async def test_the_log_tells_the_story(it: House) -> None:
    signed_in = await sign_up(it)
    ada = await it.sessions.by_token(signed_in.token)
    await outcome(it, "ada", "wrong password")
    changed = await it.signin.change_password(ada, PASSWORD, "battery staple")
    await it.signin.logout(await it.sessions.by_token(changed.token))
    told: list[tuple[str, dict[str, Any]]] = [
        (event.new.type.value, dict(event.new.payload)) for event in await it.log()
    ]
    assert told == [
        ("user_created", {"username": "ada", "role": "admin"}),
        ("login_failed", {"reason": "wrong password"}),
        ("token_revoked", {"kind": "all", "reason": "password changed", "by": "ada"}),
        ("token_revoked", {"kind": "session", "reason": "logout"}),
    ]
    assert {event.new.user_id for event in await it.log()} == {signed_in.user.id}


async def test_a_password_of_the_wrong_length_adds_nobody(it: House) -> None:
    boss = await it.person("boss", Role.SUPER_ADMIN)
    with pytest.raises(BadInput):
        await it.accounts.add(boss, "new", "", None, Role.ADMIN, "short")
    assert await it.store.find_user("new") is None
    with pytest.raises(Conflict):
        await it.accounts.add(boss, "BOSS", "", None, Role.ADMIN, "long enough")

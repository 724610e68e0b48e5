"""What speaks for people: tokens that ended early, and named ones."""

from __future__ import annotations

from typing import Any

import pytest

from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.users import AccessToken, Scope
from doorlock.daemon.ports import EventFilter, Store, Taken
from tests.contract.build import NOON_KEPT, event, later, user
from tests.contract.conftest import StoreMaker

ADA = user("ada", password_hash="$argon2id$x", tokens_valid_from=NOON_KEPT)


def access_token(name: str = "ci", **fields: Any) -> AccessToken:
    given: dict[str, Any] = {
        "id": new_id(),
        "user_id": ADA.id,
        "name": name,
        "token_hash": new_id(),
        "scope": Scope.CONTROL,
        "created_at": NOON_KEPT,
    }
    return AccessToken(**{**given, **fields})


async def test_a_password_and_the_end_of_tokens_are_kept(store: Store) -> None:
    await store.add_user(ADA)
    assert await store.get_user(ADA.id) == ADA
    changed = await store.update_user(ADA.id, {"password_hash": None, "tokens_valid_from": None})
    assert changed == await store.get_user(ADA.id) == user("ada", id=ADA.id)


async def test_a_user_is_changed_only_as_expected(store: Store) -> None:
    await store.add_user(ADA)
    expect = {"password_hash": "$argon2id$y"}
    change = {"password_hash": "new"}
    assert await store.update_user(ADA.id, change, [event()], expect=expect) is None
    assert await store.get_user(ADA.id) == ADA
    assert (await store.bounds()).last == 0
    same = {"password_hash": ADA.password_hash, "tokens_valid_from": ADA.tokens_valid_from}
    changed = await store.update_user(ADA.id, change, [event()], expect=same)
    assert changed is not None
    assert changed.password_hash == "new"
    assert (await store.bounds()).last == 1


async def test_a_revoked_token_is_remembered_across_a_restart(make_store: StoreMaker) -> None:
    store = make_store()
    await store.open()
    (written,) = await store.revoke_token("one", later(60), later(0), [event()])
    await store.revoke_token("two", later(90), later(0))
    await store.close()
    again = make_store()
    await again.open()
    revoked = await again.revoked_tokens()
    assert {jti: at.timestamp() for jti, at in revoked.items()} == {
        "one": pytest.approx(later(60).timestamp(), abs=0.001),
        "two": pytest.approx(later(90).timestamp(), abs=0.001),
    }
    assert await again.list_events(EventFilter(), limit=9) == [written]
    await again.close()


async def test_revoking_twice_does_no_harm(store: Store) -> None:
    for _ in range(2):
        await store.revoke_token("one", later(60), later(0))
    assert set(await store.revoked_tokens()) == {"one"}


async def test_what_has_run_out_is_forgotten(store: Store) -> None:
    await store.revoke_token("one", later(60), later(0))
    await store.revoke_token("two", later(120), later(59))
    assert set(await store.revoked_tokens()) == {"one", "two"}
    await store.revoke_token("three", later(180), later(60))
    assert set(await store.revoked_tokens()) == {"two", "three"}


async def test_a_named_token_is_found_by_its_hash_and_listed_by_name(store: Store) -> None:
    ci, backup = access_token(expires_at=later(0).replace(microsecond=0)), access_token("backup")
    other = access_token(user_id=new_id())
    (written,) = await store.add_access_token(ci, [event()])
    for token in (backup, other):
        await store.add_access_token(token)
    assert await store.find_access_token(ci.token_hash) == ci
    assert await store.find_access_token("nothing") is None
    assert await store.access_tokens_of(ADA.id) == [backup, ci]
    assert await store.list_events(EventFilter(), limit=9) == [written]


async def test_a_name_is_given_once_by_each(store: Store) -> None:
    ci = access_token()
    await store.add_access_token(ci)
    with pytest.raises(Taken) as caught:
        await store.add_access_token(access_token(), [event()])
    assert caught.value.field == "name"
    assert await store.access_tokens_of(ADA.id) == [ci]
    assert (await store.bounds()).last == 0


async def test_a_named_token_is_removed_once(store: Store) -> None:
    ci = access_token()
    await store.add_access_token(ci)
    assert await store.remove_access_token(ci.id, [event()])
    assert not await store.remove_access_token(ci.id, [event()])
    assert await store.find_access_token(ci.token_hash) is None
    assert (await store.bounds()).last == 1

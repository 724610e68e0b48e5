from __future__ import annotations

import pytest

from doorlock.daemon.domain.users import Role, User
from doorlock.daemon.ports import EventFilter, Store, Taken
from tests.contract.build import event, later, user

ADA = user("Ada", name="Ada L.", email="Ada@example.org", role=Role.SUPER_ADMIN, unix_uid=1000)


async def test_a_user_comes_back_as_it_was(store: Store) -> None:
    (written,) = await store.add_user(ADA, [event(user_id=ADA.id)])
    kept = await store.get_user(ADA.id)
    assert kept == ADA
    assert kept is not None
    assert kept.role is Role.SUPER_ADMIN
    assert await store.list_events(EventFilter(), limit=9) == [written]


async def test_nobody_is_none(store: Store) -> None:
    assert await store.get_user(ADA.id) is None
    assert await store.find_user("ada") is None
    assert await store.user_by_uid(1000) is None


async def test_a_user_is_found_by_id_name_and_email_regardless_of_case(store: Store) -> None:
    await store.add_user(ADA)
    await store.add_user(user("grace"))
    for ref in (ADA.id, "Ada", "aDA", "Ada@example.org", "ADA@EXAMPLE.ORG"):
        assert await store.find_user(ref) == ADA, ref
    assert await store.find_user("ad") is None


async def test_case_is_more_than_ascii(store: Store) -> None:
    zoe = user("Zoë", email="ZOË@example.org")
    await store.add_user(zoe)
    assert await store.find_user("ZOË") == zoe
    assert await store.find_user("zoë@example.org") == zoe
    await store.add_user(user("weiß"))
    with pytest.raises(Taken):
        await store.add_user(user("WEISS"))


async def test_an_id_comes_before_a_name_and_a_name_before_an_email(store: Store) -> None:
    named_as_id = user(ADA.id)
    mailed = user("grace", email="linus@example.org")
    named_as_mail = user("linus@example.org")
    for person in (named_as_id, mailed, named_as_mail, ADA):
        await store.add_user(person)
    assert await store.find_user(ADA.id) == ADA
    assert await store.find_user("linus@example.org") == named_as_mail


async def test_a_user_is_found_by_unix_uid_and_root_too(store: Store) -> None:
    root = user("root", unix_uid=0)
    await store.add_user(ADA)
    await store.add_user(root)
    assert await store.user_by_uid(0) == root
    assert await store.user_by_uid(1000) == ADA


async def test_users_are_listed_by_username(store: Store) -> None:
    for name in ("linus", "ada", "grace"):
        await store.add_user(user(name))
    assert [person.username for person in await store.list_users()] == ["ada", "grace", "linus"]


@pytest.mark.parametrize(
    ("second", "field"),
    [
        (user("ADA"), "username"),
        (user("eve", email="ADA@Example.org"), "email"),
        (user("eve", unix_uid=1000), "unix_uid"),
        (user("eve", id=ADA.id), "id"),
    ],
)
async def test_what_is_taken_is_refused_and_nothing_is_written(
    store: Store, second: User, field: str
) -> None:
    await store.add_user(ADA)
    with pytest.raises(Taken) as caught:
        await store.add_user(second, [event()])
    assert caught.value.field == field
    assert await store.list_users() == [ADA]
    assert (await store.bounds()).last == 0


async def test_many_may_have_no_email_and_no_uid(store: Store) -> None:
    await store.add_user(user("a"))
    await store.add_user(user("b"))
    assert len(await store.list_users()) == 2


async def test_a_user_is_changed_where_named_and_nowhere_else(store: Store) -> None:
    await store.add_user(ADA)
    changed = await store.update_user(
        ADA.id, {"username": "countess", "email": None, "is_active": False}, [event()]
    )
    assert changed == await store.get_user(ADA.id)
    assert changed == user(
        "countess",
        id=ADA.id,
        name="Ada L.",
        role=Role.SUPER_ADMIN,
        unix_uid=1000,
        is_active=False,
    )
    assert await store.find_user("ada") is None
    assert await store.find_user("Countess") == changed
    assert (await store.bounds()).last == 1


async def test_changing_nobody_writes_nothing(store: Store) -> None:
    assert await store.update_user(ADA.id, {"name": "x"}, [event()]) is None
    assert (await store.bounds()).last == 0


async def test_a_change_to_what_is_taken_is_refused_and_nothing_is_written(store: Store) -> None:
    eve = user("eve")
    await store.add_user(ADA)
    await store.add_user(eve)
    changes = {"username": "aDa"}, {"email": "ada@EXAMPLE.org"}, {"unix_uid": 1000}
    for change in changes:
        with pytest.raises(Taken) as caught:
            await store.update_user(eve.id, {"name": "Eve", **change}, [event()])
        assert caught.value.field == next(iter(change))
    assert await store.get_user(eve.id) == eve
    assert (await store.bounds()).last == 0


async def test_a_user_may_take_their_own_name_in_another_case(store: Store) -> None:
    await store.add_user(ADA)
    changed = await store.update_user(ADA.id, {"username": "ADA"})
    assert changed is not None
    assert changed.username == "ADA"


async def test_times_are_kept_to_the_millisecond(store: Store) -> None:
    await store.add_user(user(id=ADA.id, created_at=later(0)))
    kept = await store.get_user(ADA.id)
    assert kept is not None
    assert kept.created_at == later(0).replace(microsecond=123000)

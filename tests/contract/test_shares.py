from __future__ import annotations

from dataclasses import replace

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.ports import Store
from tests.contract.build import NOON_KEPT, event, share

FRONT, BACK, ADA, EVE = (digit * 24 for digit in "1234")


async def test_a_share_comes_back_as_it_was(store: Store) -> None:
    bare = share(device_id=FRONT, user_id=ADA)
    full = share(
        device_id=FRONT,
        user_id=EVE,
        permission=Permission.VIEW,
        starts_at=NOON_KEPT,
        expires_at=NOON_KEPT,
        schedule="Mon-Fri 09:00-17:00",
    )
    (written,) = await store.put_share(bare, [event()])
    await store.put_share(full)
    assert written.seq == 1
    assert await store.get_share(FRONT, ADA) == bare
    kept = await store.get_share(FRONT, EVE)
    assert kept == full
    assert kept is not None
    assert kept.permission is Permission.VIEW
    assert await store.get_share(BACK, ADA) is None


async def test_a_second_share_of_the_same_two_replaces_the_first(store: Store) -> None:
    first = share(device_id=FRONT, user_id=ADA, expires_at=NOON_KEPT)
    second = replace(first, permission=Permission.ADMIN, expires_at=None)
    await store.put_share(first)
    await store.put_share(second, [event()])
    assert await store.shares_of_device(FRONT) == [second]
    assert (await store.bounds()).last == 1


async def test_shares_are_listed_by_device_and_by_user(store: Store) -> None:
    shares = [
        share(device_id=one, user_id=who) for one, who in ((FRONT, ADA), (FRONT, EVE), (BACK, ADA))
    ]
    for one in shares:
        await store.put_share(one)
    assert {one.user_id for one in await store.shares_of_device(FRONT)} == {ADA, EVE}
    assert {one.device_id for one in await store.shares_of_user(ADA)} == {FRONT, BACK}
    assert await store.shares_of_user(FRONT) == []


async def test_a_share_is_removed_alone(store: Store) -> None:
    for who in (ADA, EVE):
        await store.put_share(share(device_id=FRONT, user_id=who))
    assert await store.remove_share(FRONT, ADA, [event()]) is True
    assert await store.get_share(FRONT, ADA) is None
    assert len(await store.shares_of_device(FRONT)) == 1
    assert (await store.bounds()).last == 1


async def test_removing_what_is_not_there_writes_nothing(store: Store) -> None:
    await store.put_share(share(device_id=FRONT, user_id=ADA))
    assert await store.remove_share(FRONT, EVE, [event()]) is False
    assert await store.remove_share(BACK, ADA, [event()]) is False
    assert (await store.bounds()).last == 0

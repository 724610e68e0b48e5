from __future__ import annotations

import asyncio
from dataclasses import replace

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.ports import Store
from tests.contract.build import NOON_KEPT, device, event, invitation, share

FRONT, BACK, ADA, EVE = (digit * 24 for digit in "1234")


async def test_an_invitation_comes_back_as_it_was(store: Store) -> None:
    bare = invitation(device_id=FRONT)
    full = invitation(
        device_id=FRONT,
        email="Ann@Example.org",
        permission=Permission.VIEW,
        starts_at=NOON_KEPT,
        expires_at=NOON_KEPT,
        schedule="daily 08:00-20:00",
    )
    (written,) = await store.put_invitation(bare, [event()])
    await store.put_invitation(full)
    assert written.seq == 1
    assert await store.get_invitation(full.id) == full
    assert await store.invitation_by_code(bare.code_hash) == bare
    assert await store.invitations_of_device(FRONT) == [bare, full]
    assert await store.invitations_of_device(BACK) == []
    assert await store.get_invitation(FRONT) is None
    assert await store.invitation_by_code("no such") is None


async def test_another_to_the_same_address_replaces_it(store: Store) -> None:
    first = invitation(device_id=FRONT, email="ann@example.org")
    elsewhere = invitation(device_id=BACK, email="ann@example.org")
    second = invitation(device_id=FRONT, email="ANN@example.org")
    for one in (first, elsewhere, second):
        await store.put_invitation(one)
    assert await store.invitations_of_device(FRONT) == [second]
    assert await store.invitations_of_device(BACK) == [elsewhere]
    assert await store.invitation_by_code(first.code_hash) is None


async def test_it_becomes_the_share_once(store: Store) -> None:
    one = invitation(device_id=FRONT)
    await store.put_invitation(one)
    taken = await asyncio.gather(
        *(
            store.accept_invitation(one.id, one.share_for(user, NOON_KEPT), [event()])
            for user in (ADA, EVE)
        )
    )
    assert sorted(taken) == [False, True]
    (made,) = await store.shares_of_device(FRONT)
    assert made.user_id == (ADA if taken[0] else EVE)
    assert await store.get_invitation(one.id) is None
    assert (await store.bounds()).last == 1


async def test_it_does_not_replace_a_share(store: Store) -> None:
    there = share(device_id=FRONT, user_id=ADA, permission=Permission.ADMIN)
    one = invitation(device_id=FRONT, permission=Permission.VIEW)
    await store.put_share(there)
    await store.put_invitation(one)
    assert await store.accept_invitation(one.id, one.share_for(ADA, NOON_KEPT), [event()]) is False
    assert await store.get_share(FRONT, ADA) == there
    assert await store.get_invitation(one.id) == one
    assert (await store.bounds()).last == 0


async def test_it_is_removed_alone(store: Store) -> None:
    first, second = (invitation(device_id=FRONT, email=f"{n}@example.org") for n in "ab")
    for one in (first, second):
        await store.put_invitation(one)
    assert await store.remove_invitation(first.id, [event()]) is True
    assert await store.remove_invitation(first.id, [event()]) is False
    assert await store.invitations_of_device(FRONT) == [second]
    assert (await store.bounds()).last == 1


async def test_it_goes_with_its_device(store: Store) -> None:
    front = device()
    await store.add_device(front)
    await store.put_invitation(invitation(device_id=front.id))
    await store.remove_device(front.id)
    assert await store.invitations_of_device(front.id) == []


async def test_a_device_changes_hands_as_it_was_offered(store: Store) -> None:
    front = device(
        owner_id=ADA,
        transfer_to=EVE,
        transfer_expires_at=NOON_KEPT,
        timezone="Europe/Berlin",
        pending_token_hash="h",
        pending_expires_at=NOON_KEPT,
    )
    await store.add_device(front)
    kept, dropped = (share(device_id=front.id, user_id=user) for user in (FRONT, EVE))
    elsewhere = share(user_id=EVE)
    for one in (kept, dropped, elsewhere):
        await store.put_share(one)
    await store.put_invitation(invitation(device_id=front.id))
    assert await store.devices_offered_to(EVE) == [front]
    assert await store.devices_offered_to(ADA) == []
    moved = await store.transfer_device(front, NOON_KEPT, [EVE], [event()])
    expected = replace(
        front,
        owner_id=EVE,
        transfer_to=None,
        transfer_expires_at=None,
        pending_token_hash=None,
        pending_expires_at=None,
    )
    assert moved == expected == await store.get_device(front.id)
    assert await store.shares_of_device(front.id) == [kept]
    assert await store.shares_of_user(EVE) == [elsewhere]
    assert await store.invitations_of_device(front.id) == []
    assert await store.devices_offered_to(EVE) == []
    assert (await store.bounds()).last == 1


async def test_a_device_offered_otherwise_stays_where_it_is(store: Store) -> None:
    front = device(owner_id=ADA, transfer_to=EVE, transfer_expires_at=NOON_KEPT)
    await store.add_device(front)
    await store.put_share(share(device_id=front.id, user_id=EVE))
    for other in (
        replace(front, transfer_to=FRONT),
        replace(front, owner_id=BACK),
        replace(front, id=BACK),
    ):
        assert await store.transfer_device(other, NOON_KEPT, [EVE], [event()]) is None
    assert await store.get_device(front.id) == front
    assert len(await store.shares_of_device(front.id)) == 1
    assert (await store.bounds()).last == 0


async def test_of_two_who_accept_at_once_one_gets_it(store: Store) -> None:
    front = device(owner_id=ADA, transfer_to=EVE, transfer_expires_at=NOON_KEPT)
    await store.add_device(front)
    moved = await asyncio.gather(
        *(store.transfer_device(front, NOON_KEPT, [], [event()]) for _ in range(2))
    )
    assert [one is None for one in moved].count(True) == 1
    assert (await store.bounds()).last == 1

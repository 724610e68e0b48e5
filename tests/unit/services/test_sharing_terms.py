"""Sharing, inviting and transferring on a real store, and what each of them leaves in the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.access import Level, Permission, Share, Terms
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller, Role, Scope
from doorlock.daemon.services.invitations import MOST_OPEN, Invited, code_hash, new_code
from doorlock.errors import Ambiguous, BadInput, Conflict, NotAllowed, NotFound
from doorlock.protocol import CommandName, CommandStatus
from tests.support.clock import START
from tests.support.house import House, house

# START is a Monday, noon in UTC.
DAY = timedelta(days=1)
CONTROL = Terms(Permission.CONTROL)
NEW = "new@example.org"
SETTINGS = {"settings": {"autoLockTimeout": 5000}}


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
async def owner(it: House) -> Caller:
    return await it.person("owner")


@pytest.fixture
async def ann(it: House) -> Caller:
    return await it.person("ann")


@pytest.fixture
async def door(it: House, owner: Caller) -> Device:
    return await it.door(owner)


async def level(it: House, caller: Caller, door: Device) -> Level:
    return await it.guard.level(caller.user, await it.device(door.id))


async def invited(it: House, owner: Caller, door: Device, **more: Any) -> Invited:
    made = await it.sharing.share(owner, door.id, NEW, CONTROL, **more)
    assert isinstance(made, Invited)
    return made


# schedules


async def test_a_schedule_lets_in_and_shuts_out_as_time_goes_by(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    await it.sharing.grant(
        owner, door.id, "ann", Permission.CONTROL, schedule="Mon 11:00-13:00, Tue 09:00-10:00"
    )
    await it.connect(door)
    submitted = await it.unlock(ann, door)
    assert submitted.command.status is CommandStatus.QUEUED
    await it.clock.advance(timedelta(hours=1))
    with pytest.raises(NotAllowed):
        await it.unlock(ann, door)
    assert await it.guard.visible(ann.user) == []
    (listed,) = await it.sharing.all(ann)
    assert listed.next_change(it.clock.now(), "UTC") == START + timedelta(hours=21)
    await it.clock.advance(timedelta(hours=20))
    assert await level(it, ann, door) is Level.CONTROL


async def test_what_was_asked_for_within_the_schedule_is_not_sent_after_it(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    await it.sharing.grant(owner, door.id, "ann", Permission.CONTROL, schedule="Mon 11:00-12:01")
    waiting = await it.ask(ann, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.clock.advance(timedelta(minutes=2))
    await it.connect(door)
    assert it.websocket.handed == []
    assert (await it.command(waiting.command.id)).status is CommandStatus.CANCELLED


async def test_what_was_written_is_kept_and_what_cannot_be_read_is_refused(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    written = "  Mon-Fri 9:00 - 17:00"
    share = await it.sharing.grant(owner, door.id, "ann", Permission.VIEW, schedule=written)
    assert share.schedule == written
    with pytest.raises(BadInput, match="the schedule cannot be read"):
        await it.sharing.grant(owner, door.id, "ann", Permission.VIEW, schedule="whenever")
    assert await it.store.get_share(door.id, ann.user.id) == share


async def test_a_time_zone_is_set_by_who_manages_the_device(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    seen = await it.registry.update(owner, door.id, {"timezone": "Europe/Berlin"})
    assert seen.device.timezone == "Europe/Berlin"
    (event,) = await it.log(EventType.SETTINGS_UPDATED)
    assert event.new.payload["before"] == {"timezone": "UTC"}
    with pytest.raises(BadInput, match="no such time zone"):
        await it.registry.update(owner, door.id, {"timezone": "Mars/Olympus"})
    await it.share(door, ann, Permission.CONTROL)
    with pytest.raises(NotAllowed):
        await it.registry.update(ann, door.id, {"timezone": "UTC"})
    assert (await it.device(door.id)).timezone == "Europe/Berlin"


# granting


async def test_a_change_is_recorded_with_what_was_before(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    first = await it.sharing.grant(owner, door.id, "ann", Permission.VIEW)
    await it.clock.advance(60)
    second = await it.sharing.grant(
        owner, door.id, "ann", Permission.ADMIN, schedule="Mon 9:00-10:00"
    )
    assert second.created_at == first.created_at
    granted, changed = await it.log(EventType.SHARE_GRANTED, EventType.SHARE_CHANGED)
    assert granted.new.payload["permission"] == "view"
    assert "before" not in granted.new.payload
    assert changed.new.payload["before"]["permission"] == "view"
    assert changed.new.payload["schedule"] == "Mon 9:00-10:00"


async def test_a_preview_says_what_would_change_and_changes_nothing(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    plan = await it.sharing.preview(owner, door.id, "ann", CONTROL)
    assert plan.before is None and isinstance(plan.after, Share)
    assert await it.sharing.of_device(owner, door.id) == []
    await it.share(door, ann, Permission.VIEW)
    plan = await it.sharing.preview(owner, door.id, "ann", CONTROL)
    assert plan.before is not None and plan.before.permission is Permission.VIEW
    await it.sharing.preview(owner, door.id, NEW, CONTROL)
    assert await it.sharing.invitations.all(owner) == []
    assert await it.log() == []
    with pytest.raises(BadInput):
        await it.sharing.preview(owner, door.id, "owner", CONTROL)
    with pytest.raises(NotAllowed):
        await it.sharing.preview(ann, door.id, NEW, CONTROL)


async def test_nobody_widens_their_own_share(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    await it.share(door, ann, Permission.ADMIN, expires_at=START + DAY)
    with pytest.raises(NotAllowed, match="their own share"):
        await it.sharing.grant(ann, door.id, "ann", Permission.ADMIN)
    kept = await it.store.get_share(door.id, ann.user.id)
    assert kept is not None and kept.expires_at == START + DAY
    assert len(await it.log(EventType.ACCESS_REFUSED)) == 1


async def test_only_an_address_is_invited_and_a_user_is_not(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    for nobody in ("nobody", "@", "a@b", "x" * 300 + "@example.org"):
        with pytest.raises(NotFound):
            await it.sharing.share(owner, door.id, nobody, CONTROL)
        with pytest.raises(BadInput):
            await it.sharing.share(owner, door.id, nobody, CONTROL, invite=True)
    with pytest.raises(NotFound):
        await it.sharing.share(owner, door.id, NEW, CONTROL, invite=False)
    assert isinstance(await it.sharing.share(owner, door.id, "ann", CONTROL, invite=True), Share)


# invitations


async def test_a_code_becomes_the_share_once(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    terms = Terms(Permission.VIEW, START, START + 9 * DAY, "daily 08:00-20:00")
    made = await it.sharing.share(owner, door.id, NEW, terms)
    assert isinstance(made, Invited)
    bob = await it.person("bob")
    typed = made.code.lower().replace("-", " ")
    share = await it.sharing.accept(ann, typed)
    assert (share.permission, share.starts_at, share.expires_at, share.schedule) == (
        Permission.VIEW, START, START + 9 * DAY, "daily 08:00-20:00"
    )  # fmt: skip
    assert await level(it, ann, door) is Level.VIEW
    with pytest.raises(NotFound):
        await it.sharing.accept(bob, made.code)
    invitation, granted = await it.log(EventType.SHARE_CHANGED, EventType.SHARE_GRANTED)
    assert invitation.new.payload["what"] == "invited"
    assert granted.new.payload["sharedWith"] == ann.user.id
    assert granted.new.payload["email"] == NEW


async def test_fifty_who_show_one_code_at_once_make_one_share(
    it: House, owner: Caller, door: Device
) -> None:
    made = await invited(it, owner, door)
    people = [await it.person(f"p{n}") for n in range(50)]
    results = await asyncio.gather(
        *(it.sharing.accept(one, made.code) for one in people), return_exceptions=True
    )
    assert sum(isinstance(one, Share) for one in results) == 1
    assert sum(isinstance(one, NotFound) for one in results) == 49
    assert len(await it.store.shares_of_device(door.id)) == 1
    assert len(await it.log(EventType.SHARE_GRANTED)) == 1


async def test_neither_the_code_nor_its_hash_is_told(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    made = await invited(it, owner, door)
    await it.sharing.accept(ann, made.code)
    told = json.dumps([dict(event.new.payload) for event in await it.log()])
    assert made.code not in told and code_hash(made.code) not in told
    assert made.code not in repr(made) and code_hash(made.code) not in repr(made)


async def test_a_code_runs_out(it: House, owner: Caller, ann: Caller, door: Device) -> None:
    made = await invited(it, owner, door)
    await it.clock.advance(7 * DAY)
    with pytest.raises(NotFound):
        await it.sharing.accept(ann, made.code)
    assert await level(it, ann, door) is Level.NONE


async def test_how_long_a_code_is_good_can_be_chosen(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    for ends in (START, START - DAY, START + 31 * DAY):
        with pytest.raises(BadInput):
            await invited(it, owner, door, code_expires_at=ends)
    made = await invited(it, owner, door, code_expires_at=START + 30 * DAY)
    await it.clock.advance(29 * DAY)
    await it.sharing.accept(ann, made.code)


async def test_inviting_again_makes_the_first_code_useless(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    first = await invited(it, owner, door)
    second = await invited(it, owner, door)
    with pytest.raises(NotFound):
        await it.sharing.accept(ann, first.code)
    await it.sharing.accept(ann, second.code)


async def test_a_code_taken_back_is_useless(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    made = await invited(it, owner, door)
    with pytest.raises(NotFound):
        await it.sharing.invitations.revoke(ann, NEW)
    await it.sharing.invitations.revoke(owner, NEW.upper())
    with pytest.raises(NotFound):
        await it.sharing.accept(ann, made.code)
    back = await it.door(owner, "back")
    made = await invited(it, owner, door)
    await invited(it, owner, back)
    with pytest.raises(Ambiguous):
        await it.sharing.invitations.revoke(owner, NEW)
    await it.sharing.invitations.revoke(owner, made.invitation.id)


async def test_an_invitation_dies_with_the_rights_of_who_made_it(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    bob = await it.person("bob")
    await it.share(door, ann, Permission.ADMIN)
    made = await invited(it, ann, door)
    await it.sharing.revoke(owner, door.id, "ann")
    with pytest.raises(NotFound):
        await it.sharing.accept(bob, made.code)
    await it.share(door, ann, Permission.ADMIN)
    await it.store.update_user(ann.user.id, {"is_active": False})
    with pytest.raises(NotFound):
        await it.sharing.accept(bob, made.code)


async def test_who_has_the_door_already_does_not_use_the_code_up(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    made = await invited(it, owner, door)
    with pytest.raises(BadInput, match="yours already"):
        await it.sharing.accept(owner, made.code)
    await it.share(door, ann, Permission.VIEW)
    with pytest.raises(Conflict):
        await it.sharing.accept(ann, made.code)
    await it.sharing.accept(await it.person("bob"), made.code)


async def test_a_token_that_only_sees_accepts_nothing(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    made = await invited(it, owner, door)
    with pytest.raises(NotAllowed):
        await it.sharing.accept(replace(ann, scope=Scope.CONTROL), made.code)
    offered = await it.transfers.offer(owner, door.id, "ann")
    with pytest.raises(NotAllowed):
        await it.transfers.accept(replace(ann, scope=Scope.VIEW), offered.id)


async def test_there_are_only_so_many_invitations_to_a_device(
    it: House, owner: Caller, door: Device
) -> None:
    for n in range(MOST_OPEN):
        await it.sharing.share(owner, door.id, f"p{n}@example.org", CONTROL)
    with pytest.raises(Conflict):
        await invited(it, owner, door)
    await it.clock.advance(8 * DAY)
    await invited(it, owner, door)
    assert len(await it.sharing.invitations.all(owner)) == 1


def test_codes_are_long_and_never_the_same() -> None:
    codes = {new_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(len(code) == 29 and code.count("-") == 5 for code in codes)


# transfers


async def test_a_device_changes_hands_when_the_other_side_accepts(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    bob = await it.person("bob")
    await it.share(door, ann, Permission.VIEW)
    await it.share(door, bob, Permission.CONTROL)
    made = await invited(it, owner, door)
    await it.transfers.offer(owner, door.id, "ann")
    assert await level(it, owner, door) is Level.OWNER
    assert await level(it, ann, door) is Level.VIEW
    assert [one.id for one in await it.transfers.pending(ann)] == [door.id]
    assert [one.id for one in await it.transfers.pending(owner)] == [door.id]
    assert await it.transfers.pending(bob) == []
    await it.transfers.accept(ann, "front")
    assert await level(it, ann, door) is Level.OWNER
    assert await level(it, owner, door) is Level.NONE
    assert await level(it, bob, door) is Level.CONTROL
    assert await it.store.get_share(door.id, ann.user.id) is None
    assert await it.transfers.pending(ann) == []
    with pytest.raises(NotFound):
        await it.sharing.accept(await it.person("eve"), made.code)
    story = [event.new.payload.get("what") for event in await it.log(EventType.SHARE_CHANGED)]
    assert story == ["invited", "transfer offered", "transferred"]
    # given away again, no old share of hers comes back to life
    await it.transfers.offer(ann, door.id, "owner")
    await it.transfers.accept(owner, door.id)
    assert await level(it, ann, door) is Level.NONE


async def test_the_new_owner_may_end_every_share(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    bob = await it.person("bob")
    await it.share(door, bob, Permission.ADMIN)
    await it.transfers.offer(owner, door.id, "ann")
    await it.transfers.accept(ann, door.id, drop_shares=True)
    assert await level(it, bob, door) is Level.NONE
    (revoked,) = await it.log(EventType.SHARE_REVOKED)
    assert revoked.new.payload["sharedWith"] == bob.user.id


async def test_only_the_owner_offers_and_only_the_chosen_one_accepts(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    bob = await it.person("bob")
    await it.share(door, ann, Permission.ADMIN)
    with pytest.raises(NotAllowed):
        await it.transfers.offer(ann, door.id, "bob")
    with pytest.raises(NotFound):
        await it.transfers.accept(ann, door.id)
    with pytest.raises(BadInput):
        await it.transfers.offer(owner, door.id, "owner")
    with pytest.raises(NotFound):
        await it.transfers.offer(owner, door.id, "nobody")
    await it.transfers.offer(owner, door.id, "bob")
    for other in (ann, owner):
        with pytest.raises(NotFound):
            await it.transfers.accept(other, door.id)
    with pytest.raises(NotAllowed):
        await it.transfers.cancel(ann, door.id)
    assert await level(it, bob, door) is Level.NONE


@pytest.mark.parametrize("by", ["owner", "ann"])
async def test_either_side_cancels(
    it: House, owner: Caller, ann: Caller, door: Device, by: str
) -> None:
    await it.transfers.offer(owner, door.id, "ann")
    await it.transfers.cancel({"owner": owner, "ann": ann}[by], door.id)
    with pytest.raises(NotFound):
        await it.transfers.accept(ann, door.id)
    with pytest.raises(NotFound):
        await it.transfers.cancel(owner, door.id)
    last = (await it.log(EventType.SHARE_CHANGED))[-1].new.payload["what"]
    assert last == {"owner": "transfer cancelled", "ann": "transfer declined"}[by]


async def test_an_offer_runs_out_and_dies_with_its_maker(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    await it.transfers.offer(owner, door.id, "ann")
    await it.clock.advance(7 * DAY)
    with pytest.raises(NotFound):
        await it.transfers.accept(ann, door.id)
    await it.transfers.offer(owner, door.id, "ann")
    await it.store.update_user(owner.user.id, {"is_active": False})
    with pytest.raises(NotAllowed):
        await it.transfers.accept(ann, door.id)
    assert await level(it, ann, door) is Level.NONE


async def test_what_the_old_owner_asked_for_is_not_sent_any_more(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    waiting = await it.ask(owner, door, CommandName.UPDATE_SETTINGS, SETTINGS)
    await it.transfers.offer(owner, door.id, "ann")
    await it.transfers.accept(ann, door.id)
    await it.connect(door)
    assert it.websocket.handed == []
    assert (await it.command(waiting.command.id)).status is CommandStatus.CANCELLED
    with pytest.raises(NotAllowed):
        await it.unlock(owner, door)


# explaining


async def explained(it: House, caller: Caller, door: Device, **asked: Any) -> dict[str, Any]:
    answer = await it.explain.explain(caller, door.id, asked.get("user"), asked.get("at"))
    return {line["username"]: (line["mayOpen"], line["why"]) for line in answer["people"]}


async def test_who_may_open_the_door_now(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    root = await it.person("root", Role.SUPER_ADMIN)
    people = {name: await it.person(name) for name in ("bob", "cat", "dan", "eve")}
    await it.share(door, ann, Permission.VIEW)
    await it.sharing.grant(owner, door.id, "bob", Permission.CONTROL, schedule="Tue 09:00-10:00")
    await it.share(door, people["cat"], expires_at=START)
    await it.share(door, people["dan"])
    await it.store.update_user(people["dan"].user.id, {"is_active": False})
    assert await explained(it, owner, door) == {
        "owner": (True, "owner"),
        "root": (True, "operator"),
        "ann": (False, "share"),
        "bob": (False, "outside_schedule"),
        "cat": (False, "expired"),
        "dan": (False, "disabled"),
    }
    assert await explained(it, owner, door, user="eve") == {"eve": (False, "not_shared")}
    tomorrow = START + timedelta(hours=21)
    assert await explained(it, root, door, user="bob", at=tomorrow) == {"bob": (True, "share")}
    answer = await it.explain.explain(owner, door.id, "bob", None)
    (line,) = answer["people"]
    assert line["reason"] == (
        "has a control share from owner, which does not run then: 'Tue 09:00-10:00' (UTC)"
    )
    assert line["nextChange"] == "2026-11-24T09:00:00.000Z"
    assert answer["from"] == "rules"


async def test_who_could_open_it_then_by_the_log(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    async def wait() -> None:
        await it.clock.advance(600)

    def then(minutes: int) -> Any:
        return START + timedelta(minutes=minutes)

    await wait()
    await it.sharing.grant(owner, door.id, "ann", Permission.CONTROL)  # 10
    await wait()
    await it.sharing.grant(owner, door.id, "ann", Permission.VIEW)  # 20
    await wait()
    await it.sharing.revoke(owner, door.id, "ann")  # 30
    await wait()
    await it.transfers.offer(owner, door.id, "ann")
    await it.transfers.accept(ann, door.id)  # 40
    await wait()
    root = await it.person("root", Role.SUPER_ADMIN)
    await it.accounts.set_active(root, "owner", False)  # 50
    await wait()
    seen = {n: await explained(it, root, door, at=then(n)) for n in (5, 15, 25, 35, 45, 55)}
    assert {n: {k: v for k, v in lines.items() if k != "root"} for n, lines in seen.items()} == {
        5: {"owner": (True, "owner"), "ann": (False, "not_shared")},
        15: {"owner": (True, "owner"), "ann": (True, "share")},
        25: {"owner": (True, "owner"), "ann": (False, "share")},
        35: {"owner": (True, "owner"), "ann": (False, "not_shared")},
        45: {"ann": (True, "owner"), "owner": (False, "not_shared")},
        55: {"ann": (True, "owner"), "owner": (False, "disabled")},
    }
    assert seen[5]["root"] == (False, "not_there")
    answer = await it.explain.explain(ann, door.id, None, then(-60))
    assert answer["notes"] == ["the device was registered only later"]
    assert not any(line["mayOpen"] for line in answer["people"])


async def test_an_enabling_that_was_not_recorded_is_said_to_be_uncertain(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    root = await it.person("root", Role.SUPER_ADMIN)
    await it.share(door, ann)
    await it.clock.advance(60)
    await it.accounts.set_active(root, "ann", False)
    await it.clock.advance(60)
    await it.accounts.set_active(root, "ann", True)
    await it.clock.advance(60)
    answer = await it.explain.explain(owner, door.id, "ann", START + timedelta(seconds=90))
    (line,) = answer["people"]
    assert (line["why"], line["certain"], line["mayOpen"]) == ("disabled", False, False)
    answer = await it.explain.explain(owner, door.id, "ann", START + timedelta(seconds=30))
    assert answer["people"][0]["certain"] is True


async def test_a_log_that_begins_later_is_said_to(
    it: House, owner: Caller, ann: Caller, door: Device
) -> None:
    await it.sharing.grant(owner, door.id, "ann", Permission.CONTROL)
    await it.clock.advance(100 * DAY)
    await it.retention.prune()
    answer = await it.explain.explain(owner, door.id, "ann", START + DAY)
    assert any("the log begins later" in note for note in answer["notes"])
    # nothing changed since, so what there is now was there then
    assert answer["people"][0]["mayOpen"] is True


async def test_who_may_ask(it: House, owner: Caller, ann: Caller, door: Device) -> None:
    bob = await it.person("bob")
    await it.share(door, bob, Permission.CONTROL)
    with pytest.raises(NotAllowed):
        await it.explain.explain(bob, door.id, None, None)
    with pytest.raises(NotAllowed):
        await it.explain.explain(bob, door.id, "owner", None)
    assert await explained(it, bob, door, user="bob") == {"bob": (True, "share")}
    for asked in (None, "owner", "ann", "nobody"):
        with pytest.raises(NotFound, match="device"):
            await it.explain.explain(ann, door.id, asked, None)
    with pytest.raises(NotFound, match="user"):
        await it.explain.explain(owner, door.id, "nobody", None)
    # whose share does not run may still ask why not
    await it.sharing.grant(owner, door.id, "ann", Permission.CONTROL, schedule="Tue 9:00-10:00")
    assert await explained(it, ann, door, user="ann") == {"ann": (False, "outside_schedule")}


async def test_a_time_too_far_away_is_refused(it: House, owner: Caller, door: Device) -> None:
    for years in (-11, 11, 5000):
        with pytest.raises(BadInput):
            await it.explain.explain(owner, door.id, None, START + years * 366 * DAY)


async def test_a_door_that_is_switched_off_obeys_nobody(
    it: House, owner: Caller, door: Device
) -> None:
    await it.registry.update(owner, door.id, {"is_active": False})
    answer = await it.explain.explain(owner, door.id, None, None)
    assert answer["notes"] == ["the device is switched off: it obeys nobody"]

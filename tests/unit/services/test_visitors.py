"""Visitors from the ring to the decision, on the real store and by a clock that a test drives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.reports import BellPressed, Snapshot
from doorlock.daemon.domain.users import Caller, Role
from doorlock.daemon.domain.visitors import Arrival, Verdict, Visitor, VisitorStatus
from doorlock.daemon.services.visitors import Decided
from doorlock.errors import BadInput, Conflict, DoorlockError, NotAllowed, NotFound
from doorlock.protocol import CommandName, DeviceType
from tests.support.clock import FakeClock
from tests.support.house import WHERE, House, house
from tests.support.pictures import data_url, jpeg

ONE, TWO = "1" * 64, "2" * 64
ARRIVED, GRANTED = EventType.VISITOR_ARRIVED, EventType.VISITOR_GRANTED
DENIED, EXPIRED = EventType.VISITOR_DENIED, EventType.VISITOR_EXPIRED


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


async def camera(it: House, name: str = "gate") -> tuple[Caller, Device]:
    owner = await it.person(f"owner-of-{name}")
    return owner, await it.door(owner, name, device_type=DeviceType.CAMERA)


async def ring(it: House, device: Device, **arrival: Any) -> Visitor:
    return await it.visitors.arrived(device.id, Arrival(**{"bell": True, **arrival}), WHERE)


def verdict(caller: Caller, granted: bool = True, **fields: Any) -> Verdict:
    return Verdict(granted, caller.user.id, **fields)


async def decide(it: House, caller: Caller, visitor: Visitor, granted: bool = True) -> Decided:
    decided = await it.visitors.decide(caller, visitor.id, verdict(caller, granted))
    await it.clock.settle()
    return decided


async def kept(it: House, visitor: Visitor) -> Visitor:
    found = await it.store.get_visitor(visitor.id)
    assert found is not None
    return found


# arriving


async def test_a_ring_and_a_picture_of_one_camera_are_one_visitor(it: House) -> None:
    _, device = await camera(it)
    rung = await ring(it, device)
    await it.clock.advance(59)
    seen = await it.visitors.arrived(device.id, Arrival(image=ONE), WHERE)
    assert (seen.id, seen.bell_pressed, seen.image) == (rung.id, True, ONE)
    first, second = (event.new.payload for event in await it.log(ARRIVED))
    assert (first["visitorId"], first["image"]) == (rung.id, None)
    assert (second["visitorId"], second["image"], second["joined"]) == (rung.id, ONE, True)


async def test_both_at_the_same_moment_are_one_visitor(it: House) -> None:
    _, device = await camera(it)
    came = await asyncio.gather(
        *(it.visitors.arrived(device.id, Arrival(bell=True), WHERE) for _ in range(5)),
        *(it.visitors.arrived(device.id, Arrival(image=ONE), WHERE) for _ in range(5)),
    )
    assert len({visitor.id for visitor in came}) == 1
    assert len(await it.log(ARRIVED)) == 2
    assert len(await it.store.pending_visitors()) == 1


async def test_what_comes_later_or_elsewhere_or_after_the_decision_is_another(it: House) -> None:
    owner, device = await camera(it)
    other = await it.door(owner, "back", device_type=DeviceType.CAMERA)
    first = await ring(it, device)
    elsewhere = await ring(it, other)
    await decide(it, owner, first, granted=False)
    second = await it.visitors.arrived(device.id, Arrival(image=ONE), WHERE)
    third = await it.visitors.arrived(device.id, Arrival(image=TWO), WHERE)
    await it.clock.advance(61)
    fourth = await ring(it, device)
    assert len({one.id for one in (first, elsewhere, second, third, fourth)}) == 5
    assert (await kept(it, first)).image is None


async def test_a_device_rings_and_shows_over_its_connection(it: House) -> None:
    _, device = await camera(it)
    session = await it.connect(device)
    snapshot = Snapshot(image=data_url(jpeg()), quality="high")
    await it.says(session, snapshot)
    assert not await it.store.pending_visitors()
    await it.says(session, BellPressed(pressed_by="button", metadata={"location": "gate"}))
    await it.says(session, snapshot)
    (visitor,) = await it.store.pending_visitors()
    assert visitor.bell_pressed and visitor.image
    ring_event, _ = await it.log(ARRIVED)
    assert ring_event.new.payload["pressedBy"] == "button"
    assert ring_event.new.payload["location"] == "gate"
    assert [e.new.payload["image"] for e in await it.log(EventType.SNAPSHOT_CAPTURED)] == [
        visitor.image
    ] * 2


async def test_what_is_no_picture_is_told_of_and_not_kept(it: House) -> None:
    _, device = await camera(it)
    session = await it.connect(device)
    await it.says(session, Snapshot(image="data:image/jpeg;base64,AAAA"))
    (event,) = await it.log(EventType.SNAPSHOT_CAPTURED)
    assert event.new.payload["problem"] and "image" not in event.new.payload
    assert await it.pictures.latest(device.id) is None


@pytest.mark.parametrize("image", ["no base64!", "="])
async def test_what_is_not_even_base64_is_rejected_and_noted(it: House, image: str) -> None:
    _, device = await camera(it)
    session = await it.connect(device)
    with pytest.raises(BadInput):
        await it.says(session, Snapshot(image=image))
    (event,) = await it.log(EventType.MESSAGE_REJECTED)
    assert event.new.payload["event"] == "snapshot"
    assert await it.pictures.latest(device.id) is None


# deciding


async def test_who_is_let_in_finds_the_door_open_and_the_camera_told(it: House) -> None:
    owner, device = await camera(it)
    session = await it.connect(device)
    visitor = await ring(it, device, image=ONE)
    decided = await it.visitors.decide(owner, visitor.id, verdict(owner, note="come in"))
    await it.clock.settle()
    (handed,) = it.websocket.handed
    assert (handed.command.name, handed.command.device_id) == (
        CommandName.UNLOCK_DOOR,
        device.id,
    )
    assert decided.unlock is not None and decided.unlock.command.id == handed.command.id
    granted, told = it.websocket.told
    assert granted.event == "access_granted"
    assert granted.data == {
        "visitorId": visitor.id,
        "_id": visitor.id,
        "approved": True,
        "note": "come in",
        "timestamp": "2026-11-23T12:00:00.000Z",
        "deviceId": device.id,
        "deviceName": "gate",
    }
    assert told.event == "door_decision"
    assert (told.data["decision"], told.data["adminUsername"]) == ("granted", "owner-of-gate")
    # what is told late must not open anything
    assert granted.expires_at == told.expires_at == it.clock.now() + it.settings.timeout
    assert [message.event for message in it.mqtt.told] == ["access_granted", "door_decision"]
    after = await kept(it, visitor)
    assert (after.status, after.command_id) == (VisitorStatus.GRANTED, handed.command.id)
    assert (after.image, after.decided_by) == (ONE, owner.user.id)
    (event,) = await it.log(GRANTED)
    assert event.new.payload["image"] == ONE and event.new.user_id == owner.user.id
    assert event.seq == decided.position
    assert event.seq < min(e.seq for e in await it.log(command=handed.command.id))
    await it.ack(session, handed.command.id, "executed")


async def test_who_is_turned_away_moves_nothing(it: House) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    visitor = await ring(it, device)
    decided = await it.visitors.decide(owner, visitor.id, verdict(owner, False, note="not now"))
    await it.clock.settle()
    assert (decided.unlock, decided.error, it.websocket.handed) == (None, None, [])
    denied, told = it.websocket.told
    assert (denied.event, denied.data["reason"], denied.data["approved"]) == (
        "access_denied",
        "not now",
        False,
    )
    assert told.data["decision"] == "denied"
    assert (await kept(it, visitor)).status is VisitorStatus.DENIED


async def test_a_door_that_is_offline_does_not_undo_the_decision(it: House) -> None:
    owner, device = await camera(it)
    visitor = await ring(it, device)
    decided = await decide(it, owner, visitor)
    assert decided.unlock is None
    assert decided.error is not None and decided.error.code == "device_offline"
    assert (await kept(it, visitor)).status is VisitorStatus.GRANTED
    assert [message.event for message in it.websocket.told] == ["access_granted", "door_decision"]
    # and nothing opens when the camera comes back
    await it.connect(device)
    await it.clock.advance(60)
    assert it.websocket.handed == []


async def test_a_busy_door_does_not_undo_the_decision(it: House) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    await it.ask(owner, device, CommandName.RESTART_DEVICE)
    visitor = await ring(it, device)
    decided = await decide(it, owner, visitor)
    assert decided.error is not None and decided.error.code == "conflict"
    assert [one.command.name for one in it.websocket.handed] == [CommandName.RESTART_DEVICE]
    assert (await kept(it, visitor)).status is VisitorStatus.GRANTED


async def test_an_unlock_that_runs_already_stands_for_it(it: House) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    running = await it.unlock(owner, device)
    decided = await decide(it, owner, await ring(it, device))
    assert decided.unlock is not None and decided.unlock.joined
    assert decided.unlock.command.id == running.command.id
    assert len(it.websocket.handed) == 1


async def test_a_way_that_fails_keeps_nobody_from_being_told_on_the_other(it: House) -> None:
    owner, device = await camera(it)

    async def fail(_: object) -> None:
        raise RuntimeError("broken")

    it.websocket.tell = fail  # type: ignore[method-assign]
    await decide(it, owner, await ring(it, device), granted=False)
    assert [message.event for message in it.mqtt.told] == ["access_denied", "door_decision"]


async def test_fifty_and_fifty_at_once_are_one_decision(it: House) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    people = [owner]
    for number in range(9):
        guest = await it.person(f"guest{number}")
        await it.share(device, guest, Permission.CONTROL)
        people.append(guest)
    visitor = await ring(it, device, image=ONE)
    outcomes = await asyncio.gather(
        *(
            it.visitors.decide(
                people[number % 10], visitor.id, verdict(people[number % 10], number % 2 == 0)
            )
            for number in range(100)
        ),
        return_exceptions=True,
    )
    await it.clock.settle()
    decided = [one for one in outcomes if isinstance(one, Decided)]
    lost = [one for one in outcomes if isinstance(one, Conflict)]
    assert (len(decided), len(lost)) == (1, 99)
    assert all(one.details["visitorId"] == visitor.id for one in lost)
    assert len(it.websocket.handed) == (decided[0].visitor.status is VisitorStatus.GRANTED)
    assert len(await it.log(GRANTED, DENIED)) == 1
    refused = await it.log(EventType.ACCESS_REFUSED)
    assert len(refused) == 99
    assert {event.new.payload["visitorId"] for event in refused} == {visitor.id}
    assert len(it.websocket.told) == 2


async def test_who_comes_second_is_told_who_was_first(it: House) -> None:
    owner, device = await camera(it)
    visitor = await ring(it, device)
    await decide(it, owner, visitor, granted=False)
    with pytest.raises(Conflict, match="turned away") as caught:
        await decide(it, owner, visitor)
    assert caught.value.details["decidedBy"] == "owner-of-gate"
    assert caught.value.details["status"] == "denied"


async def test_a_picture_that_comes_while_somebody_decides_makes_them_look_again(
    it: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    visitor = await ring(it, device)
    write = it.store.update_visitor

    async def late(changed: Visitor, events: Any = ()) -> Any:
        monkeypatch.setattr(it.store, "update_visitor", write)
        await it.visitors.arrived(device.id, Arrival(image=ONE), WHERE)
        return await write(changed, events)

    monkeypatch.setattr(it.store, "update_visitor", late)
    with pytest.raises(Conflict) as caught:
        await decide(it, owner, visitor)
    assert caught.value.details["status"] == "pending"
    assert it.websocket.handed == [] and (await kept(it, visitor)).is_pending
    await decide(it, owner, visitor)
    assert len(it.websocket.handed) == 1


async def test_a_decision_on_another_picture_does_not_count(it: House) -> None:
    owner, device = await camera(it)
    visitor = await ring(it, device, image=ONE)
    for image in (TWO, None):
        seen = verdict(owner, image=image, any_image=False)
        with pytest.raises(Conflict, match="another picture"):
            await it.visitors.decide(owner, visitor.id, seen)
    await it.visitors.decide(owner, visitor.id, verdict(owner, image=ONE, any_image=False))


async def test_who_may_only_look_decides_nothing_and_is_noted(it: House) -> None:
    _, device = await camera(it)
    viewer = await it.person("viewer")
    await it.share(device, viewer, Permission.VIEW)
    visitor = await ring(it, device)
    for granted in (True, False):
        with pytest.raises(NotAllowed):
            await decide(it, viewer, visitor, granted)
    assert (await kept(it, visitor)).is_pending
    assert len(await it.log(EventType.ACCESS_REFUSED)) == 2


async def test_a_stranger_cannot_tell_a_visitor_from_none(it: House) -> None:
    _, device = await camera(it)
    stranger = await it.person("stranger")
    # a device of one's own may have any name: even another's id
    await it.door(stranger, device.id, esp_id="ESP-trap", device_type=DeviceType.CAMERA)
    visitor = await ring(it, device)
    said = set()
    for visitor_id in (visitor.id, new_id(), "nonsense", ""):
        with pytest.raises(NotFound) as caught:
            await it.visitors.decide(stranger, visitor_id, verdict(stranger))
        said.add((caught.value.message, caught.value.hint))
        with pytest.raises(NotFound) as caught:
            await it.visitor_log.one(stranger, visitor_id)
        said.add((caught.value.message, caught.value.hint))
    assert len(said) == 1
    assert (await kept(it, visitor)).is_pending


async def test_an_operator_who_acts_for_another_is_named(it: House) -> None:
    owner, device = await camera(it)
    root = await it.person("root", Role.SUPER_ADMIN)
    visitor = await ring(it, device)
    acting = replace(owner, operator=root.user)
    given = verdict(acting, False, operator_id=root.user.id)
    await it.visitors.decide(acting, visitor.id, given)
    after = await kept(it, visitor)
    assert (after.decided_by, after.operator_id) == (owner.user.id, root.user.id)
    (event,) = await it.log(DENIED)
    assert event.new.metadata["operatorId"] == root.user.id


async def test_a_decision_is_carried_out_even_when_its_caller_goes_away(it: House) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    visitor = await ring(it, device)
    begun = asyncio.Event()
    write = it.store.update_visitor

    async def slow(changed: Visitor, events: Any = ()) -> Any:
        written = await write(changed, events)
        begun.set()
        return written

    it.store.update_visitor = slow  # type: ignore[method-assign]
    asking = asyncio.ensure_future(it.visitors.decide(owner, visitor.id, verdict(owner)))
    await begun.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await it.visitors.stop()
    await it.clock.settle()
    assert len(it.websocket.handed) == 1
    assert [message.event for message in it.websocket.told] == ["access_granted", "door_decision"]


async def test_a_store_that_cannot_be_written_decides_nothing(it: House) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    visitor = await ring(it, device)
    it.store.broken = True
    with pytest.raises(DoorlockError):
        await decide(it, owner, visitor)
    it.store.broken = False
    assert (await kept(it, visitor)).is_pending
    assert (it.websocket.handed, it.websocket.told) == ([], [])


# waiting in vain


async def test_who_waits_ten_minutes_has_waited_in_vain(it: House) -> None:
    owner, device = await camera(it)
    await it.connect(device)
    visitor = await ring(it, device)
    await it.clock.advance(599)
    assert (await kept(it, visitor)).is_pending
    await it.clock.advance(1)
    assert (await kept(it, visitor)).status is VisitorStatus.EXPIRED
    assert len(await it.log(EXPIRED)) == 1
    with pytest.raises(Conflict, match="given up"):
        await decide(it, owner, visitor)
    assert it.websocket.handed == []


async def test_who_was_decided_on_does_not_expire(it: House) -> None:
    owner, device = await camera(it)
    visitor = await ring(it, device)
    await decide(it, owner, visitor, granted=False)
    await it.clock.advance(700)
    assert (await kept(it, visitor)).status is VisitorStatus.DENIED
    assert not await it.log(EXPIRED)


async def test_the_end_is_recorded_once_the_store_is_back(it: House) -> None:
    _, device = await camera(it)
    visitor = await ring(it, device)
    it.store.broken = True
    await it.clock.advance(603)
    it.store.broken = False
    await it.clock.advance(2)
    assert (await kept(it, visitor)).status is VisitorStatus.EXPIRED


@pytest.mark.parametrize("away", [30, 3600])
async def test_a_restart_forgets_nobody(tmp_path: Path, away: float) -> None:
    async with house(tmp_path) as it:
        _, device = await camera(it)
        visitor = await ring(it, device)
        later = it.clock.now() + timedelta(seconds=away)
    async with house(tmp_path, FakeClock(later)) as it:
        await it.clock.settle()
        assert (await kept(it, visitor)).is_pending == (away < 600)
        await it.clock.advance(600)
        assert (await kept(it, visitor)).status is VisitorStatus.EXPIRED
        assert len(await it.log(EXPIRED)) == 1


# reading


async def test_everybody_reads_what_they_may_see_and_no_more(it: House) -> None:
    owner, device = await camera(it)
    other_owner, other = await camera(it, "other")
    viewer = await it.person("viewer")
    root = await it.person("root", Role.SUPER_ADMIN)
    await it.share(device, viewer, Permission.VIEW)
    mine, theirs = await ring(it, device), await ring(it, other)
    wanted = [
        (owner, [mine]),
        (viewer, [mine]),
        (other_owner, [theirs]),
        (root, [theirs, mine]),
        (await it.person("stranger"), []),
        (device, [mine]),
        (other, [theirs]),
    ]
    for reader, visitors in wanted:
        ids = {visitor.id for visitor in visitors}
        assert {view["id"] for view in await it.visitor_log.pending(reader)} == ids
        stats = await it.visitor_log.stats(reader)
        assert (stats["total"], stats["pending"], stats["today"]) == (len(ids),) * 3
    with pytest.raises(NotFound):
        await it.visitor_log.one(other, mine.id)
    with pytest.raises(NotFound):
        await it.visitor_log.pending(owner, other.name)


async def test_who_has_waited_too_long_waits_no_more(it: House) -> None:
    owner, device = await camera(it)
    await ring(it, device)
    it.clock.jump(601)  # the deadline is due, and not yet done
    assert await it.visitor_log.pending(owner) == []


async def test_a_view_names_who_decided(it: House) -> None:
    owner, device = await camera(it)
    visitor = await ring(it, device, image=ONE)
    await decide(it, owner, visitor, granted=False)
    view = await it.visitor_log.one(owner, visitor.id)
    assert (view["_id"], view["status"], view["decidedByName"]) == (
        visitor.id,
        "denied",
        "owner-of-gate",
    )
    assert view["imageUrl"].startswith(f"http://doors.test/api/door/picture/{device.id}/{ONE}?")

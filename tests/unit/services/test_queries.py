"""Reading: two people who share nothing see nothing of each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller, Role
from doorlock.daemon.ports import EventFilter
from doorlock.daemon.services.queries import Wanted
from doorlock.errors import NotFound
from doorlock.protocol import LockValue
from tests.support.house import House


async def seen_by(it: House, caller: Caller, wanted: Wanted | None = None) -> list[dict[str, Any]]:
    scope = await it.queries.scope(caller, wanted or Wanted())
    return await it.queries.events(scope, 1000, newest_first=False)


async def two_houses(it: House) -> tuple[tuple[Caller, Device], tuple[Caller, Device]]:
    """Anna and Bert, each with a door that was opened once."""
    found = []
    for name in ("anna", "bert"):
        caller = await it.person(name)
        device = await it.door(caller, f"door-of-{name}")
        session = await it.connect(device)
        submitted = await it.unlock(caller, device)
        await it.ack(session, submitted.command.id, "executed")
        found.append((caller, device))
    return found[0], found[1]


async def test_devices_commands_and_events_of_others_are_not_there(it: House) -> None:
    (anna, hers), (bert, his) = await two_houses(it)
    for caller, own, other in ((anna, hers, his), (bert, his, hers)):
        assert [view["id"] for view in await it.queries.devices(caller)] == [own.id]
        events = await seen_by(it, caller)
        assert len(events) >= 4 and {event["deviceId"] for event in events} == {own.id}
        history, total = await it.queries.history(caller, None, 100, 0)
        assert total == 1 and {view["deviceId"] for view in history} == {own.id}
        assert (await it.queries.stats(caller))["total"] == 1
        scope = await it.queries.scope(caller, Wanted())
        assert await it.queries.count(scope) == len(events)
        for ask in (
            it.queries.scope(caller, Wanted(device=other.id)),
            it.queries.scope(caller, Wanted(device=other.name)),
            it.queries.history(caller, other.id, 10, 0),
        ):
            with pytest.raises(NotFound):
                await ask


async def test_no_filter_widens_what_somebody_sees(it: House) -> None:
    (anna, _), (_, his) = await two_houses(it)
    command = (await it.store.list_events(EventFilter(device=his.id), limit=100))[2].new.command_id
    for wanted in (
        Wanted(user="bert"),
        Wanted(base=EventFilter(command=command)),
        Wanted(base=EventFilter(device=his.id)),
    ):
        assert await seen_by(it, anna, wanted) == []
    with pytest.raises(NotFound):
        await it.queries.command(anna, await it.command(command or ""))


async def test_a_share_shows_a_door_while_it_runs(it: House) -> None:
    (anna, hers), (bert, his) = await two_houses(it)
    await it.share(hers, bert, Permission.VIEW)
    assert {event["deviceId"] for event in await seen_by(it, bert)} == {hers.id, his.id}
    await it.sharing.revoke(anna, hers.id, "bert")
    assert {event["deviceId"] for event in await seen_by(it, bert)} == {his.id}


async def test_an_operator_sees_everything(it: House) -> None:
    await two_houses(it)
    operator = await it.person("root", Role.SUPER_ADMIN)
    assert len(await it.queries.devices(operator)) == 2
    assert len(await seen_by(it, operator)) == len(await it.log())
    assert (await it.queries.history(operator, None, 10, 0))[1] == 2


async def test_a_removed_device_can_still_be_asked_for_by_an_operator(it: House) -> None:
    (anna, hers), _ = await two_houses(it)
    operator = await it.person("root", Role.SUPER_ADMIN)
    await it.registry.remove(anna, hers.id)
    events = await seen_by(it, operator, Wanted(device=hers.id))
    assert events[-1]["eventType"] in ("device_removed", "device_disconnected")
    with pytest.raises(NotFound):
        await it.queries.scope(operator, Wanted(device="f" * 24))


async def following(
    it: House, caller: Caller, count: int, wanted: Wanted | None = None
) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    source: AsyncIterator[Any] = it.queries.follow(caller, wanted or Wanted(), 0)
    async with asyncio.timeout(10):
        async for item in source:
            told.append(item[1])
            if len(told) == count:
                break
    return told


async def test_the_stream_tells_what_the_pages_show(it: House) -> None:
    (anna, _), (bert, _) = await two_houses(it)
    for caller in (anna, bert):
        pages = await seen_by(it, caller)
        assert await following(it, caller, len(pages)) == pages
    only = Wanted(base=EventFilter(types=frozenset({EventType.COMMAND_EXECUTED})))
    (told,) = await following(it, anna, 1, only)
    assert told["userId"] == anna.user.id


async def test_a_stream_falls_silent_when_the_share_ends(it: House) -> None:
    (anna, hers), (bert, _) = await two_houses(it)
    await it.share(hers, bert, Permission.VIEW)
    told: list[Any] = []

    async def follow() -> None:
        async for item in it.queries.follow(bert, Wanted(), it.feed.position):
            told.append(item)

    task = asyncio.ensure_future(follow())
    await it.clock.settle()
    session = it.presence.sessions(hers.id)[0]
    await it.beat(session, "maintenance")
    assert len(told) == 1
    await it.sharing.revoke(anna, hers.id, "bert")
    await it.beat(session, "online")
    assert len(told) == 1
    await it.store.update_user(bert.user.id, {"is_active": False})
    await it.unlock(anna, hers)
    assert len(told) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_export_is_everything_within_the_scope(
    it: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doorlock.daemon.services.queries._STEP", 3)
    (anna, _), _ = await two_houses(it)
    scope = await it.queries.scope(anna, Wanted())
    exported = [view async for view in it.queries.export(scope)]
    assert exported == await seen_by(it, anna)
    later = await it.queries.scope(anna, Wanted(base=EventFilter(after=exported[1]["seq"])))
    assert [view async for view in it.queries.export(later)] == exported[2:]


async def test_a_tampered_log_does_not_verify(it: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doorlock.daemon.services.queries._STEP", 3)
    await two_houses(it)
    last = (await it.store.bounds()).last
    assert await it.queries.verified() == {
        "ok": True,
        "checked": last,
        "fromSeq": 1,
        "toSeq": last,
    }
    assert it.store._running is not None
    db = it.store._running.files.write
    db.execute("UPDATE events SET user_id = 'somebody' WHERE seq = 5")
    assert (await it.queries.verified())["brokenAt"] == 5
    db.execute("UPDATE events SET at = at + 1 WHERE seq = 4")
    db.execute("DELETE FROM events WHERE seq = 5")
    assert (await it.queries.verified())["brokenAt"] == 4


async def test_a_device_is_shown_as_it_is_now(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    submitted = await it.unlock(owner, door)
    await it.ack(session, submitted.command.id, "executed")
    view = await it.queries.device(await it.guard.find(owner, door.id))
    assert (view["lockState"], view["lockStateSource"], view["locked"]) == (
        "unlocked",
        "ack",
        False,
    )
    assert (view["status"], view["connections"]) == ("online", ["websocket"])
    assert view["userPermissions"]["isOwner"] and view["lastCommands"][0]["status"] == "executed"
    await it.clock.advance(5)
    await it.ingest.disconnected(session, "closed")
    view = await it.queries.device(await it.guard.find(owner, door.id))
    assert (view["lockState"], view["lockStateSource"]) == (LockValue.LOCKED, "assumed")
    assert (view["status"], view["online"]) == ("offline", False)


async def test_no_view_holds_a_secret(it: House, owner: Caller, door: Device) -> None:
    await it.registry.pair(owner, door.id)
    device = await it.device(door.id)
    shown = str(await it.queries.devices(owner)) + str(await seen_by(it, owner))
    assert device.token_hash is not None and device.token_hash not in shown
    assert device.pending_token_hash is not None and device.pending_token_hash not in shown


async def test_lists_can_be_narrowed(it: House, owner: Caller, door: Device) -> None:
    back = await it.door(owner, "back")
    await it.connect(back)
    assert [v["name"] for v in await it.queries.devices(owner, status="online")] == ["back"]
    assert [v["name"] for v in await it.queries.devices(owner, status="offline")] == ["front"]
    assert await it.queries.devices(owner, kind="esp32-cam") == []
    assert await it.queries.stats(owner) == {
        "total": 2,
        "online": 1,
        "offline": 1,
        "maintenance": 0,
        "owned": 2,
        "shared": 0,
        "active": 2,
    }

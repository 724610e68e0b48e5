"""Who is online: by what was heard, over which transport, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doorlock.daemon.domain import reports
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller
from doorlock.errors import DeviceOffline
from doorlock.protocol import Transport
from tests.support.clock import FakeClock
from tests.support.house import House, house

WS, MQTT = Transport.WEBSOCKET, Transport.MQTT


@pytest.fixture
async def it(tmp_path: Path, clock: FakeClock) -> AsyncIterator[House]:
    async with house(tmp_path, clock, watching=True) as running:
        yield running


async def comings_and_goings(it: House) -> list[str]:
    events = await it.log(EventType.DEVICE_CONNECTED, EventType.DEVICE_DISCONNECTED)
    return [event.new.type.removeprefix("device_") for event in events]


async def test_a_device_with_three_sockets_is_online_until_the_last_one_closes(
    it: House, door: Device
) -> None:
    sessions = [await it.connect(door, WS, name) for name in ("a", "b", "c")]
    for session in sessions:
        assert it.presence.online(door.id)
        await it.ingest.disconnected(session, "closed")
    assert not it.presence.online(door.id)
    assert await comings_and_goings(it) == ["connected", "disconnected"]


async def test_a_device_on_both_transports_is_one_device(it: House, door: Device) -> None:
    websocket, mqtt = await it.connect(door, WS), await it.connect(door, MQTT)
    assert it.presence.transports(door.id) == [WS, MQTT]
    counts = it.presence.counts()
    assert (counts["totalConnected"], counts["dualConnections"], counts["sessions"]) == (1, 1, 2)
    await it.ingest.disconnected(websocket, "cut")
    assert it.presence.transports(door.id) == [MQTT]
    assert "disconnected" not in await comings_and_goings(it)
    await it.ingest.disconnected(mqtt, "cut")
    assert (await comings_and_goings(it))[-1] == "disconnected"
    assert it.presence.counts()["totalConnected"] == 0


async def test_what_closes_twice_or_was_never_open_does_no_harm(it: House, door: Device) -> None:
    session = await it.connect(door)
    other = await it.connect(door, WS, "other")
    await it.ingest.disconnected(session, "closed")
    await it.ingest.disconnected(session, "closed")
    assert it.presence.online(door.id)
    await it.ingest.disconnected(other, "closed")
    await it.ingest.disconnected(other, "closed")
    assert await comings_and_goings(it) == ["connected", "disconnected"]


async def test_three_missed_heartbeats_are_offline_and_not_before(it: House, door: Device) -> None:
    session = await it.connect(door)
    await it.beat(session)
    await it.clock.advance(90)
    assert it.presence.online(door.id)
    await it.clock.advance(1)
    assert not it.presence.online(door.id)
    (event,) = await it.log(EventType.DEVICE_DISCONNECTED)
    assert event.new.payload["reason"] == "heartbeat missed"


async def test_each_heartbeat_starts_the_count_anew(it: House, door: Device) -> None:
    session = await it.connect(door)
    for _ in range(4):
        await it.clock.advance(89)
        await it.beat(session)
    assert it.presence.online(door.id)


async def test_whoever_beats_is_held_to_it_whatever_its_connection_answers(
    it: House, door: Device
) -> None:
    session = await it.connect(door)
    await it.beat(session)
    for _ in range(10):
        await it.clock.advance(10)
        it.ingest.alive(session)
    assert not it.presence.online(door.id)


async def test_a_session_that_never_beat_lives_by_its_pings(it: House, door: Device) -> None:
    session = await it.connect(door)
    for _ in range(20):
        await it.clock.advance(10)
        it.ingest.alive(session)
    assert it.presence.online(door.id)
    await it.clock.advance(91)
    assert not it.presence.online(door.id)


async def test_any_message_shows_life(it: House, door: Device) -> None:
    session = await it.connect(door)
    await it.beat(session)
    await it.clock.advance(89)
    await it.says(session, reports.Motion())
    await it.clock.advance(89)
    assert it.presence.online(door.id)


async def test_one_socket_that_speaks_keeps_its_silent_neighbours(it: House, door: Device) -> None:
    first, _ = await it.connect(door, WS, "a"), await it.connect(door, WS, "b")
    for _ in range(5):
        await it.clock.advance(60)
        await it.beat(first)
    assert len(it.presence.sessions(door.id)) == 2


async def test_one_transport_that_speaks_does_not_keep_the_other(it: House, door: Device) -> None:
    websocket, _ = await it.connect(door, WS), await it.connect(door, MQTT)
    for _ in range(4):
        await it.clock.advance(30)
        await it.beat(websocket)
    assert it.presence.transports(door.id) == [WS]
    assert "disconnected" not in await comings_and_goings(it)


async def test_a_stale_device_is_not_sent_anything(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    await it.beat(session)
    await it.clock.advance(91)
    with pytest.raises(DeviceOffline):
        await it.unlock(owner, door)


async def test_the_watch_goes_on_while_the_store_is_away(it: House, door: Device) -> None:
    session = await it.connect(door)
    await it.beat(session)
    it.store.broken = True
    await it.clock.advance(91)
    assert not it.presence.online(door.id)
    it.store.broken = False
    again = await it.connect(door, WS, "again")
    await it.beat(again)
    await it.clock.advance(91)
    assert not it.presence.online(door.id)


async def test_nobody_is_online_after_a_restart_until_it_has_spoken(
    it: House, owner: Caller, door: Device, tmp_path: Path
) -> None:
    session = await it.connect(door)
    await it.beat(session)
    await it.store.close()
    async with house(tmp_path, it.clock) as again:
        assert not again.presence.online(door.id)
        with pytest.raises(DeviceOffline):
            await again.unlock(owner, door)
        await again.beat(session)
        assert again.presence.online(door.id)


async def test_when_it_was_last_seen_is_written_down_now_and_then(it: House, door: Device) -> None:
    session = await it.connect(door)
    await it.clock.advance(5)
    await it.beat(session)
    heard = it.clock.now()
    assert it.presence.last_heard(door.id) == heard
    await it.clock.advance(10)
    assert (await it.device(door.id)).last_seen == heard


async def test_what_could_not_be_written_down_is_tried_again(it: House, door: Device) -> None:
    await it.connect(door)
    heard = it.clock.now()
    it.store.broken = True
    await it.presence.flush()
    it.store.broken = False
    await it.presence.flush()
    assert (await it.device(door.id)).last_seen == heard

"""What devices say: believed for themselves alone, counted, and never enough to fill the log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from doorlock.daemon.domain import reports, tokens
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.ports import AuthRefused
from doorlock.errors import NotAllowed
from doorlock.protocol import CommandStatus, LockOrigin, LockValue, Transport
from doorlock.times import iso
from tests.support.house import WHERE, House

S = CommandStatus
WS, MQTT = Transport.WEBSOCKET, Transport.MQTT


@pytest.mark.parametrize(
    "report",
    [
        reports.DoorStatus(status=LockValue.UNLOCKED),
        reports.Heartbeat(battery_level=3),
        reports.LowBattery(battery_level=3),
        reports.Registered(firmware_version="9"),
        reports.Motion(confidence=3),
    ],
)
async def test_a_device_that_speaks_for_another_changes_nothing(
    it: House, owner: Caller, door: Device, report: reports.Report
) -> None:
    back = await it.door(owner, "back")
    session = await it.connect(back)
    before = [await it.device(door.id), await it.device(back.id)]
    forged = report.model_copy(update={"device_id": door.id})
    with pytest.raises(NotAllowed):
        await it.ingest.report(session, forged)
    assert [await it.device(door.id), await it.device(back.id)] == before
    (event,) = await it.log(EventType.MESSAGE_REJECTED)
    assert event.new.device_id == back.id
    assert event.new.payload["event"] == report.event
    assert not it.presence.online(door.id)


async def test_a_device_cannot_acknowledge_the_command_of_another(
    it: House, owner: Caller, door: Device
) -> None:
    back = await it.door(owner, "back")
    await it.connect(door)
    foreign = await it.connect(back)
    submitted = await it.unlock(owner, door)
    for status in ("received", "executing", "executed", "failed"):
        await it.ack(foreign, submitted.command.id, status)
    with pytest.raises(NotAllowed):
        await it.ack(foreign, submitted.command.id, "executed", device_id=door.id)
    assert (await it.command(submitted.command.id)).status is S.SENT
    assert (await it.device(door.id)).lock_state.value is LockValue.UNKNOWN
    rejected = await it.log(EventType.MESSAGE_REJECTED)
    assert [event.new.device_id for event in rejected] == [back.id] * 5


async def test_a_late_ack_is_recorded_as_late(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    submitted = await it.unlock(owner, door)
    await it.clock.advance(35)
    assert (await it.command(submitted.command.id)).status is S.TIMED_OUT
    assert (await it.device(door.id)).lock_state.value is LockValue.UNKNOWN
    await it.clock.advance(1)
    await it.ack(session, submitted.command.id, "executed")
    assert await it.story(submitted.command.id) == ["queued", "sent", "timed_out", "executed_late"]
    assert (await it.command(submitted.command.id)).status is S.EXECUTED_LATE


async def test_an_ack_of_nothing_is_rejected(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    await it.ack(session, "no-such-command", "executed")
    assert len(await it.log(EventType.MESSAGE_REJECTED)) == 1


async def test_the_story_of_an_unlock_and_what_the_door_is_then(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    submitted = await it.unlock(owner, door)
    for status in ("received", "executing"):
        await it.ack(session, submitted.command.id, status)
    await it.clock.advance(1)
    await it.ack(session, submitted.command.id, "executed")
    assert await it.story(submitted.command.id) == [
        "queued",
        "sent",
        "received",
        "executing",
        "executed",
    ]
    state = (await it.device(door.id)).lock_state
    assert (state.value, state.origin) == (LockValue.UNLOCKED, LockOrigin.ACK)
    assert state.relocks_at is not None
    shown = state.seen_at(it.clock.now() + timedelta(seconds=5))
    assert (shown.value, shown.origin) == (LockValue.LOCKED, LockOrigin.ASSUMED)


async def test_what_the_device_claims_of_the_time_is_kept_and_not_believed(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    claimed = it.clock.now() - timedelta(days=9)
    await it.says(session, reports.DoorStatus(status=LockValue.JAMMED, claimed_at=iso(claimed)))
    (event,) = await it.log(EventType.STATUS_CHANGED)
    assert event.new.at == it.clock.now()
    assert event.new.payload["claimedAt"].startswith("2026-11-14")
    state = (await it.device(door.id)).lock_state
    assert (state.value, state.origin, state.at) == (
        LockValue.JAMMED,
        LockOrigin.SENSOR,
        it.clock.now(),
    )


async def test_a_failure_carries_the_devices_reason(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    submitted = await it.unlock(owner, door)
    await it.ack(session, submitted.command.id, "failed", error_message="bolt jammed")
    (event,) = await it.log(EventType.COMMAND_FAILED)
    assert event.new.payload["errorMessage"] == "bolt jammed"
    assert event.new.metadata["source"] == "websocket"


# floods


async def test_a_flood_is_cut_off_and_noted_without_filling_the_log(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    for _ in range(20):
        for _ in range(100):
            await it.ingest.report(session, reports.Motion())
        await it.clock.advance(0.1)
    heard = await it.log(EventType.MOTION_DETECTED)
    assert 200 <= len(heard) <= 200 + 50 * 2 + 1
    assert 1 <= len(await it.log(EventType.RATE_LIMITED)) <= 3


async def test_who_slows_down_is_heard_again(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    for _ in range(300):
        await it.ingest.report(session, reports.Motion())
    before = len(await it.log(EventType.MOTION_DETECTED))
    await it.clock.advance(1)
    await it.says(session, reports.Motion())
    assert len(await it.log(EventType.MOTION_DETECTED)) == before + 1


async def test_an_outcome_is_heard_in_the_middle_of_a_flood(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    submitted = await it.unlock(owner, door)
    for _ in range(300):
        await it.ingest.report(session, reports.Motion())
    await it.ack(session, submitted.command.id, "executed")
    assert (await it.command(submitted.command.id)).status is S.EXECUTED


async def test_one_devices_flood_is_not_anothers(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    back = await it.connect(await it.door(owner, "back"))
    for _ in range(300):
        await it.ingest.report(session, reports.Motion())
    await it.says(back, reports.Motion())
    assert len(await it.log(EventType.MOTION_DETECTED, device=back.device_id)) == 1


async def test_malformed_messages_are_counted_and_logged_sparingly(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    for _ in range(500):
        await it.ingest.rejected(session, "x" * 500, "cannot be read")
    assert it.ingest.rejected_count == 500
    events = await it.log(EventType.MESSAGE_REJECTED)
    assert len(events) == 20
    assert len(events[0].new.payload["event"]) == 60


# heartbeats


async def test_a_heartbeat_notes_the_battery(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    await it.beat(session, battery_level=41.6)
    assert (await it.device(door.id)).battery_level == 42


async def test_maintenance_is_kept_until_the_device_says_otherwise(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door)
    await it.beat(session, "maintenance")
    await it.beat(session, "maintenance")
    assert (await it.device(door.id)).maintenance
    assert it.presence.online(door.id)
    await it.beat(session, "offline")
    assert (await it.device(door.id)).maintenance
    await it.beat(session, "online")
    assert not (await it.device(door.id)).maintenance
    changes = await it.log(EventType.STATUS_CHANGED)
    assert [event.new.payload["status"] for event in changes] == ["maintenance", "online"]


async def test_a_device_that_says_offline_is_and_comes_back_by_speaking(
    it: House, owner: Caller, door: Device
) -> None:
    session = await it.connect(door, MQTT)
    await it.beat(session, "offline")
    assert not it.presence.online(door.id)
    await it.beat(session, "offline")
    assert len(await it.log(EventType.DEVICE_DISCONNECTED)) == 1
    await it.beat(session)
    assert it.presence.online(door.id)
    assert len(await it.log(EventType.DEVICE_CONNECTED)) == 2


async def test_offline_as_the_first_word_is_no_connection(
    it: House, owner: Caller, door: Device
) -> None:
    session = Session(f"mqtt:{door.id}", door.id, MQTT)
    await it.beat(session, "offline")
    assert not it.presence.online(door.id)
    assert await it.log(EventType.DEVICE_CONNECTED, EventType.DEVICE_DISCONNECTED) == []


@pytest.mark.parametrize("status", ["online", "maintenance", "offline"])
async def test_a_heartbeat_by_http_shows_life_and_opens_no_way(
    it: House, owner: Caller, door: Device, status: str
) -> None:
    await it.store.update_device(door.id, {"maintenance": True})
    beat = reports.Heartbeat(battery_level=50, status=status)
    await it.ingest.beat_by_http(await it.device(door.id), beat, {"source": "http"})
    found = await it.device(door.id)
    assert (found.battery_level, found.last_seen) == (50, it.clock.now())
    assert found.maintenance == (status != "online")
    assert not it.presence.online(door.id)


async def test_a_new_firmware_is_noted_once(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    for version in ("1.0", "1.0", "1.1", "1.1"):
        await it.says(session, reports.Registered(firmware_version=version, metadata={"a": 1}))
    (event,) = await it.log(EventType.FIRMWARE_UPDATED)
    assert event.new.payload == {"from": "1.0", "to": "1.1"}
    assert (await it.device(door.id)).metadata == {"a": 1}


async def test_a_picture_is_not_kept_in_the_log(it: House, owner: Caller, door: Device) -> None:
    session = await it.connect(door)
    await it.says(session, reports.Snapshot(image="A" * 4000, device_id=door.id))
    (event,) = await it.log(EventType.SNAPSHOT_CAPTURED)
    problem = event.new.payload["problem"]
    assert isinstance(problem, str) and "A" * 10 not in problem
    assert event.new.payload == {
        "imageBytes": 3000,
        "metadata": {},
        "quality": None,
        "problem": problem,
    }


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (reports.Motion(confidence=5), EventType.MOTION_DETECTED),
        (reports.DeviceFault(error_code="E1"), EventType.ERROR_OCCURRED),
        (reports.SnapshotReady(image_url="http://x"), EventType.SNAPSHOT_CAPTURED),
        (reports.BellPressed(), EventType.VISITOR_ARRIVED),
        (reports.LowBattery(battery_level=4), EventType.LOW_BATTERY),
    ],
)
async def test_what_a_device_reports_is_in_the_log(
    it: House, owner: Caller, door: Device, report: reports.Report, kind: EventType
) -> None:
    session = await it.connect(door)
    await it.says(session, report)
    (event,) = await it.log(kind)
    assert event.new.device_id == door.id


@pytest.mark.parametrize("kind", reports.REPORTS)
async def test_every_kind_of_report_is_handled_and_of_a_removed_device_too(
    it: House, owner: Caller, door: Device, kind: type[reports.Report]
) -> None:
    fields = {"status": "executed" if kind is reports.CommandAck else "locked"}
    if kind is reports.Heartbeat:
        fields = {"status": "online"}
    more = {"battery_level": 5, "image_url": "x", "image": "eA==", "command_id": "x"}
    report = kind.model_validate({**fields, **more})
    session = await it.connect(door)
    await it.says(session, report)
    await it.store.remove_device(door.id)
    await it.says(session, report)


# who it is


async def test_the_token_of_a_device_opens_and_activates_it_once(
    it: House, owner: Caller, door: Device
) -> None:
    new = await it.door(owner, "new", activated_at=None)
    for _ in range(2):
        found = await it.ingest.authenticate(new.id, "token-of-new", WHERE)
    assert found.activated_at == it.clock.now()
    assert len(await it.log(EventType.DEVICE_ACTIVATED)) == 1


@pytest.mark.parametrize(
    ("ref", "token"),
    [("own", "wrong"), ("own", "token-of-back"), ("own", ""), ("nobody", "token-of-front")],
)
async def test_unknown_devices_and_wrong_tokens_are_refused_alike(
    it: House, owner: Caller, door: Device, ref: str, token: str
) -> None:
    await it.door(owner, "back")
    with pytest.raises(AuthRefused, match=r"^Invalid device token$"):
        await it.ingest.authenticate(door.id if ref == "own" else "f" * 24, token, WHERE)


async def test_a_device_that_is_switched_off_hears_so_only_with_its_token(
    it: House, owner: Caller, door: Device
) -> None:
    await it.store.update_device(door.id, {"is_active": False})
    with pytest.raises(AuthRefused, match=r"^Device not activated$"):
        await it.ingest.authenticate(door.id, "token-of-front", WHERE)
    with pytest.raises(AuthRefused, match=r"^Invalid device token$"):
        await it.ingest.authenticate(door.id, "wrong", WHERE)


async def test_a_revoked_token_opens_nothing(it: House, owner: Caller, door: Device) -> None:
    await it.store.update_device(door.id, {"token_hash": None})
    for token in ("token-of-front", ""):
        with pytest.raises(AuthRefused, match=r"^Invalid device token$"):
            await it.ingest.authenticate(door.id, token, WHERE)
    with pytest.raises(AuthRefused, match=r"^Invalid device token$"):
        await it.ingest.vouched(door.id, WHERE)


async def test_a_token_that_is_replaced_during_its_first_use_opens_nothing(
    it: House, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = await it.door(owner, "new", activated_at=None)
    write = it.store.update_device

    async def write_after_a_rotation(device_id: str, *change: Any, **expect: Any) -> Device | None:
        await write(device_id, {"token_hash": tokens.hashed("another")})
        return await write(device_id, *change, **expect)

    monkeypatch.setattr(it.store, "update_device", write_after_a_rotation)
    with pytest.raises(AuthRefused, match=r"^Invalid device token$"):
        await it.ingest.authenticate(new.id, "token-of-new", WHERE)
    assert (await it.device(new.id)).activated_at is None


async def test_the_brokers_word_counts_for_a_known_active_device(
    it: House, owner: Caller, door: Device
) -> None:
    assert (await it.ingest.vouched(door.id, WHERE)).id == door.id
    with pytest.raises(AuthRefused, match=r"^Invalid device token$"):
        await it.ingest.vouched("f" * 24, WHERE)
    await it.store.update_device(door.id, {"is_active": False})
    with pytest.raises(AuthRefused, match=r"^Device not activated$"):
        await it.ingest.vouched(door.id, WHERE)

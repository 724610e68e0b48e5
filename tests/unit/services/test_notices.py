"""Who is told what: each dashboard hears of what its user may see at that moment, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.reports import (
    BellPressed,
    DeviceFault,
    DoorStatus,
    Frame,
    LowBattery,
    Motion,
    Snapshot,
)
from doorlock.daemon.domain.users import Caller, Role
from doorlock.daemon.domain.visitors import Verdict
from doorlock.daemon.services.desk import Seat
from doorlock.errors import NotAllowed, NotFound
from doorlock.protocol import DeviceType, LockValue
from tests.support.house import House, house
from tests.support.pictures import data_url, jpeg


class Ear(Seat):
    """A dashboard that keeps what it is told."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller, self._keep)
        self.heard: list[tuple[str, Mapping[str, Any]]] = []

    async def _keep(self, event: str, data: Mapping[str, Any]) -> None:
        self.heard.append((event, data))

    def all(self, event: str) -> list[Mapping[str, Any]]:
        return [data for name, data in self.heard if name == event]

    def one(self, event: str) -> Mapping[str, Any]:
        [found] = self.all(event)
        return found

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


def listen(it: House, caller: Caller) -> Ear:
    ear = Ear(caller)
    it.desk.sit(ear)
    return ear


async def ring(it: House, device: Device) -> None:
    await it.says(await it.connect(device), Motion())


async def test_an_owner_hears_of_their_door_and_a_stranger_of_nothing(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    door = await it.door(ada)
    mine, theirs = listen(it, ada), listen(it, bob)
    session = await it.connect(door)
    await it.says(session, DoorStatus(status=LockValue.UNLOCKED))
    connected = mine.one("device_connected")
    assert connected["deviceId"] == door.id and connected["deviceName"] == "front"
    assert connected["connectionType"] == "websocket" and connected["deviceType"] == "door-lock"
    status = mine.all("device_status")[-1]
    assert status["status"]["lockState"] == status["lockState"] == "unlocked"
    assert status["status"]["online"] is status["online"] is True
    assert theirs.heard == []


async def test_a_leaver_hears_no_more(it: House) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    ear = listen(it, ada)
    it.desk.leave(ear)
    await it.connect(door)
    assert ear.heard == []


async def test_a_share_counts_from_the_moment_it_is_granted_until_it_is_revoked(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    door = await it.door(ada)
    session = await it.connect(door)
    ear = listen(it, bob)
    await it.says(session, Motion())
    assert ear.heard == []
    await it.sharing.grant(ada, door.id, "bob", Permission.VIEW, None, None)
    await it.says(session, Motion())
    assert len(ear.all("motion_detected")) == 1
    await it.sharing.revoke(ada, door.id, "bob")
    await it.clock.settle()
    before = len(ear.heard)
    await it.says(session, Motion())
    assert len(ear.heard) == before


async def test_a_share_begins_and_ends_by_the_clock_without_an_event(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    door = await it.door(ada)
    now = it.clock.now()
    begin, end = now + timedelta(minutes=1), now + timedelta(minutes=2)
    await it.sharing.grant(ada, door.id, "bob", Permission.VIEW, begin, end)
    session = await it.connect(door)
    ear = listen(it, bob)
    heard = []
    for _ in range(4):
        await it.says(session, Motion())
        heard.append(len(ear.all("motion_detected")))
        await it.clock.advance(45)
    assert heard == [0, 0, 1, 1]


async def test_a_disabled_user_hears_nothing_more(it: House) -> None:
    ada = await it.person("ada")
    root = await it.person("root", Role.SUPER_ADMIN)
    session = await it.connect(await it.door(ada))
    ear = listen(it, ada)
    await it.accounts.set_active(root, "ada", False)
    await it.says(session, Motion())
    assert ear.heard == []


async def test_an_operator_hears_everything(it: House) -> None:
    ada, root = await it.person("ada"), await it.person("root", Role.SUPER_ADMIN)
    ear = listen(it, root)
    await it.connect(await it.door(ada))
    assert "device_connected" in ear.names


async def test_a_removed_device_is_told_of_to_who_removed_it_alone(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    door = await it.door(ada)
    await it.sharing.grant(ada, door.id, "bob", Permission.VIEW, None, None)
    mine, theirs = listen(it, ada), listen(it, bob)
    await it.registry.remove(ada, door.id)
    await it.clock.settle()
    assert [row["eventType"] for row in mine.all("device_event")] == ["device_removed"]
    assert theirs.heard == []


async def test_an_owner_who_gave_the_device_away_hears_nothing_of_it(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    door = await it.door(ada)
    old, new = listen(it, ada), listen(it, bob)
    session = await it.connect(door)
    await it.transfers.offer(ada, door.id, "bob")
    await it.transfers.accept(bob, door.id)
    await it.clock.settle()
    old.heard.clear()
    new.heard.clear()
    await it.says(session, Motion())
    assert old.heard == []
    assert len(new.all("motion_detected")) == 1


async def test_a_command_is_followed_to_its_end(it: House) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    session = await it.connect(door)
    ear = listen(it, ada)
    submitted = await it.unlock(ada, door)
    await it.ack(session, submitted.command.id, "executed")
    told = ear.all("command_status")
    assert [one["status"] for one in told] == ["queued", "sent", "executed"]
    assert {one["commandId"] for one in told} == {submitted.command.id}
    assert {one["command"] for one in told} == {"unlock_door"}
    done = ear.one("command_executed")
    assert done["message"] == "front was unlocked" and done["deviceName"] == "front"
    assert [row["eventType"] for row in ear.all("device_event")][:1] == ["command_queued"]


@pytest.mark.parametrize(
    ("report", "level"),
    [
        (DoorStatus(status=LockValue.JAMMED), "critical"),
        (LowBattery(battery_level=5), "warning"),
        (DeviceFault(error_message="smoke"), "error"),
    ],
)
async def test_trouble_is_an_alert(it: House, report: Any, level: str) -> None:
    ada = await it.person("ada")
    session = await it.connect(await it.door(ada))
    ear = listen(it, ada)
    await it.says(session, report)
    alert = ear.one("system_alert")
    assert alert["level"] == alert["severity"] == level
    assert "front" in alert["message"] and alert["deviceId"] == session.device_id


async def test_a_device_that_goes_is_said_to_go(it: House) -> None:
    ada = await it.person("ada")
    session = await it.connect(await it.door(ada))
    ear = listen(it, ada)
    await it.ingest.disconnected(session, "transport close")
    await it.clock.settle()
    assert ear.one("device_disconnected")["reason"] == "transport close"
    assert ear.one("device_status")["status"]["online"] is False
    assert ear.one("system_alert")["level"] == "warning"


async def test_a_visitor_is_told_of_and_so_is_the_decision(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    gate = await it.door(ada, "gate", device_type=DeviceType.CAMERA)
    await it.sharing.grant(ada, gate.id, "bob", Permission.CONTROL, None, None)
    session = await it.connect(gate)
    mine, theirs = listen(it, ada), listen(it, bob)
    await it.says(session, BellPressed())
    visitor = mine.one("new_visitor")
    assert visitor["_id"] == visitor["visitorId"]
    assert (visitor["status"], visitor["bellPressed"], visitor["imageUrl"]) == (
        "pending",
        True,
        None,
    )
    await it.says(session, Snapshot(image=data_url(jpeg())))
    assert theirs.all("new_visitor")[-1]["visitorId"] == visitor["visitorId"]
    assert gate.id in theirs.all("new_visitor")[-1]["imageUrl"]
    await it.visitors.decide(bob, visitor["visitorId"], Verdict(True, bob.user.id))
    await it.clock.settle()
    for ear in (mine, theirs):
        done = ear.one("visitor_processed")
        assert (done["status"], done["decision"]) == ("approved", "granted")
        assert (done["processedBy"], done["adminId"]) == ("bob", bob.user.id)


async def test_a_visitor_nobody_decides_on_closes_every_prompt(it: House) -> None:
    ada = await it.person("ada")
    gate = await it.door(ada, "gate", device_type=DeviceType.CAMERA)
    ear = listen(it, ada)
    await it.says(await it.connect(gate), BellPressed())
    await it.clock.advance(timedelta(minutes=10))
    assert ear.one("visitor_processed")["decision"] == "expired"


async def test_a_picture_has_another_address_for_each_who_hears_of_it(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    gate = await it.door(ada, "gate", device_type=DeviceType.CAMERA)
    await it.sharing.grant(ada, gate.id, "bob", Permission.VIEW, None, None)
    session = await it.connect(gate)
    ears = [listen(it, ada), listen(it, bob)]
    it.notices._image_url = lambda caller, device, image: f"{caller.user.username}:{image[:4]}"
    await it.says(session, Snapshot(image=data_url(jpeg())))
    urls = [ear.one("snapshot_ready")["imageUrl"] for ear in ears]
    assert [url.split(":")[0] for url in urls] == ["ada", "bob"]
    assert "image" not in ears[0].one("snapshot_ready")


async def test_a_battery_is_told_of_though_the_log_is_not(it: House) -> None:
    ada = await it.person("ada")
    session = await it.connect(await it.door(ada))
    ear = listen(it, ada)
    await it.beat(session, battery_level=61)
    assert ear.one("device_status")["batteryLevel"] == 61
    await it.beat(session, battery_level=61)
    assert len(ear.all("device_status")) == 1


async def test_motion_is_part_of_the_state_for_a_while(it: House) -> None:
    ada = await it.person("ada")
    door = await it.door(ada)
    await ring(it, door)
    assert it.notices.status(door)["status"]["motionDetected"] is True
    it.clock.jump(31)
    assert it.notices.status(door)["status"]["motionDetected"] is False


async def test_what_cannot_be_told_does_not_stop_the_rest(it: House) -> None:
    ada = await it.person("ada")
    session = await it.connect(await it.door(ada))

    class Broken(Ear):
        async def _keep(self, event: str, data: Mapping[str, Any]) -> None:
            raise RuntimeError("the pipe is broken")

    ears = [listen(it, ada)]
    it.desk.sit(Broken(ada))
    ears.append(listen(it, ada))
    await it.says(session, Motion())
    await it.says(session, Motion())
    assert [len(ear.all("motion_detected")) for ear in ears] == [2, 2]


# frames


async def camera(it: House, owner: Caller) -> tuple[Device, Any]:
    gate = await it.door(owner, "gate", device_type=DeviceType.CAMERA)
    return gate, await it.connect(gate)


async def test_frames_go_to_who_subscribed_and_the_camera_films_for_them_alone(it: House) -> None:
    ada = await it.person("ada")
    gate, session = await camera(it, ada)
    watching, other = listen(it, ada), listen(it, ada)
    await it.desk.subscribe(watching, gate.id)
    await it.clock.settle()
    assert [one.data["command"] for one in it.websocket.told] == ["start_stream"]
    await it.says(session, Frame(image=data_url(jpeg())))
    assert watching.one("frame")["deviceId"] == gate.id
    assert other.all("frame") == []
    await it.desk.unsubscribe(watching, gate.id)
    await it.clock.settle()
    assert it.websocket.told[-1].data["command"] == "stop_stream"
    await it.says(session, Frame(image=data_url(jpeg())))
    assert len(watching.all("frame")) == 1


async def test_a_revoked_share_ends_the_film(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    gate, session = await camera(it, ada)
    await it.sharing.grant(ada, gate.id, "bob", Permission.VIEW, None, None)
    ear = listen(it, bob)
    await it.desk.subscribe(ear, gate.id)
    await it.clock.settle()
    await it.says(session, Frame(image=data_url(jpeg())))
    await it.sharing.revoke(ada, gate.id, "bob")
    await it.says(session, Frame(image=data_url(jpeg())))
    assert len(ear.all("frame")) == 1
    assert ear.one("unsubscribed") == {"deviceId": gate.id}
    assert not it.frames.watched(gate.id)


async def test_who_left_while_subscribing_watches_nothing(it: House) -> None:
    ada = await it.person("ada")
    gate, _ = await camera(it, ada)
    ear = listen(it, ada)
    asked = asyncio.ensure_future(it.desk.subscribe(ear, gate.id))
    it.desk.leave(ear)
    await asked
    await it.clock.settle()
    assert ear.subscribed == {} and not it.frames.watched(gate.id)


async def test_a_stranger_may_not_subscribe_and_a_viewer_may_not_command(it: House) -> None:
    ada, bob = await it.person("ada"), await it.person("bob")
    gate, _ = await camera(it, ada)
    ear = listen(it, bob)
    for act in (it.desk.subscribe(ear, gate.id), it.desk.status(ear, gate.id)):
        with pytest.raises(NotFound):
            await act
    await it.sharing.grant(ada, gate.id, "bob", Permission.VIEW, None, None)
    with pytest.raises(NotAllowed):
        await it.desk.send(ear, gate.id, "unlock", {})

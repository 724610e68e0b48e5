"""Dashboards over real sockets; WIRE sections 1 and 2."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.reports import BellPressed, Frame, Motion
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.users import Caller, Role, Scope
from doorlock.daemon.gateways import dashboards
from doorlock.protocol import DeviceType
from tests.support.api import Api, serving
from tests.support.dashboards import DashboardSocket
from tests.support.house import House, house
from tests.support.pictures import data_url, jpeg
from tests.support.waiting import until


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
async def api(it: House) -> AsyncIterator[Api]:
    async with serving(it) as served:
        yield served


@pytest.fixture
async def ada(it: House) -> Caller:
    return await it.person("ada")


@pytest.fixture
async def bob(it: House) -> Caller:
    return await it.person("bob")


def dashboard(it: House, api: Api, caller: Caller, **auth: Any) -> DashboardSocket:
    client = DashboardSocket(api.url, it.sessions.token_for(caller.user))
    client.auth |= auth
    return client


async def seated(it: House, count: int = 1) -> None:
    await until(lambda: it.notices.viewers == count, f"{count} dashboards are told things")


# coming in


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ({"token": None}, "Authentication required"),
        ({"token": ""}, "Authentication required"),
        ({"token": 7}, "Authentication required"),
        ({"clientType": "toaster"}, "Authentication required"),
        ({"token": "a.b.c"}, "Invalid token"),
        ({"token": "doorlock_nothing"}, "Invalid token"),
    ],
)
async def test_a_refusal_is_in_the_words_that_clients_compare(
    it: House, api: Api, ada: Caller, auth: dict[str, Any], told: str
) -> None:
    assert await dashboard(it, api, ada, **auth).refusal() == told
    assert len(it.dashboards) == 0


async def test_a_dead_token_and_a_dead_user_are_told_apart(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    root = await it.person("root", Role.SUPER_ADMIN)
    shut_out, late = dashboard(it, api, ada), dashboard(it, api, bob)
    unknown = DashboardSocket(api.url, it.sessions.token_for((await ghost(it)).user))
    await it.accounts.set_active(root, "ada", False)
    assert await shut_out.refusal() == "Invalid user"
    assert await unknown.refusal() == "Invalid user"
    await it.clock.advance(timedelta(days=7))
    assert await late.refusal() == "Invalid token"


async def ghost(it: House) -> Caller:
    """Somebody who is in no list of users any more."""
    known = await it.person("known")
    return Caller(replace(known.user, id="f" * 24))


@pytest.mark.parametrize("auth", [{"clientType": None}, {}])
async def test_the_kind_of_client_may_be_missing(
    it: House, api: Api, ada: Caller, auth: dict[str, Any]
) -> None:
    client = dashboard(it, api, ada)
    del client.auth["clientType"]
    client.auth |= auth
    async with client:
        await seated(it)


# going out


async def test_a_session_ends_with_its_token(it: House, api: Api, ada: Caller) -> None:
    await it.door(ada)
    async with dashboard(it, api, ada) as client:
        await seated(it)
        await it.clock.advance(timedelta(days=7) - timedelta(seconds=2))
        assert not client.ended.is_set()
        await it.clock.advance(3)
        await client.has_ended()
    assert len(it.dashboards) == 0


async def test_logging_out_ends_that_session_alone(it: House, api: Api, ada: Caller) -> None:
    async with dashboard(it, api, ada) as one, dashboard(it, api, ada) as other:
        await seated(it, 2)
        answer = await api.post("/api/auth/logout", token=one.auth["token"])
        assert answer.status == 200
        await one.has_ended()
        assert await other.ask("request_device_status", {"deviceId": "x"})
        assert it.notices.viewers == 1
    assert await one.refusal() == "Invalid token"


async def test_disabling_ends_every_session_of_that_user_alone(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    root = await it.person("root", Role.SUPER_ADMIN)
    async with dashboard(it, api, ada) as one, dashboard(it, api, bob) as other:
        await seated(it, 2)
        await it.accounts.set_active(root, "ada", False)
        await one.has_ended()
        assert not other.ended.is_set() and it.notices.viewers == 1


async def test_who_is_shut_out_does_nothing_more_even_before_the_socket_ends(
    it: House, api: Api, ada: Caller
) -> None:
    door = await it.door(ada)
    await it.connect(door)
    async with dashboard(it, api, ada) as client:
        await seated(it)
        await it.store.update_user(ada.user.id, {"is_active": False})  # nobody told the sockets
        await client.sio.emit("send_command", {"deviceId": door.id, "command": "unlock"})
        await client.has_ended()
    assert await it.log(EventType.COMMAND_QUEUED) == []
    assert len(it.dashboards) == 0


# being told


async def test_two_users_never_hear_of_each_other(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    doors = [await it.door(ada, "front"), await it.door(bob, "back")]
    cameras = [
        await it.door(who, f"{who.user.username}-cam", device_type=DeviceType.CAMERA)
        for who in (ada, bob)
    ]
    async with dashboard(it, api, ada) as a, dashboard(it, api, bob) as b:
        await seated(it, 2)
        for client, camera in zip((a, b), cameras, strict=True):
            await client.ask("subscribe_device", {"deviceId": camera.id})
        for device in (*doors, *cameras):
            session = await it.connect(device)
            await it.says(session, Motion())
            if device in cameras:
                await it.says(session, BellPressed())
                await it.says(session, Frame(image=data_url(jpeg())))
        for who, device, client in ((ada, doors[0], a), (bob, doors[1], b)):
            await it.unlock(who, device)
            await client.hears("command_status", status="sent")
        for client in (a, b):
            await client.hears("new_visitor")
            await client.hears("frame")
        for number, other in ((0, b), (1, a)):
            whose = (ada, bob)[number].user.id
            for secret in (doors[number].id, cameras[number].id, doors[number].name, whose):
                assert secret not in str(other.heard)


async def test_a_share_takes_effect_without_reconnecting(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    door = await it.door(ada)
    session = await it.connect(door)
    async with dashboard(it, api, bob) as client:
        await seated(it)
        await it.says(session, Motion())
        await it.sharing.grant(ada, door.id, "bob", Permission.VIEW, None, None)
        await it.says(session, Motion())
        await client.hears("motion_detected", deviceId=door.id)
        await it.sharing.revoke(ada, door.id, "bob")
        await it.says(session, Motion())
        # what is said to everybody after it shows that nothing was on its way
        await client.ask("request_device_status", {"deviceId": door.id})
        assert len(client.all("motion_detected")) == 1


# asking


async def test_subscribing_is_answered(it: House, api: Api, ada: Caller) -> None:
    door = await it.door(ada)
    async with dashboard(it, api, ada) as client:
        for event, reply in (
            ("subscribe_device", "subscribed"),
            ("unsubscribe_device", "unsubscribed"),
        ):
            answer = await client.ask(event, {"deviceId": door.id})
            assert answer["success"] is True and answer["deviceId"] == door.id
            assert await client.hears(reply) == {"deviceId": door.id}


async def test_the_state_of_a_device_is_answered(it: House, api: Api, ada: Caller) -> None:
    door = await it.door(ada)
    await it.connect(door)
    async with dashboard(it, api, ada) as client:
        await client.ask("request_device_status", {"deviceId": door.id})
        told = await client.hears("device_status_response", deviceId=door.id)
        assert told["status"] == {
            "status": "online",
            "online": True,
            "lockState": "unknown",
            "motionDetected": False,
            "batteryLevel": None,
            "lastSeen": told["lastSeen"],
        }
        assert told["online"] is True and told["deviceName"] == "front"


@pytest.mark.parametrize("name", ["unlock", "unlock_door"])
async def test_a_command_is_sent_and_followed(it: House, api: Api, ada: Caller, name: str) -> None:
    door = await it.door(ada)
    session = await it.connect(door)
    async with dashboard(it, api, ada) as client:
        await seated(it)
        answer = await client.ask("send_command", {"deviceId": door.id, "command": name})
        sent = await client.hears("command_sent", commandId=answer["commandId"])
        assert sent["status"] == "queued"
        await it.clock.settle()
        await it.ack(session, answer["commandId"], "executed")
        await client.hears("command_status", commandId=answer["commandId"], status="executed")
    [handed] = it.websocket.handed
    assert (handed.command.name, handed.command.issued_by) == ("unlock_door", ada.user.id)
    [queued] = await it.log(EventType.COMMAND_QUEUED)
    assert queued.new.metadata["source"] == "websocket"
    assert queued.new.metadata["ipAddress"] == "127.0.0.1"


async def test_a_viewer_may_not_command_and_that_is_recorded(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    door = await it.door(ada)
    await it.connect(door)
    await it.sharing.grant(ada, door.id, "bob", Permission.VIEW, None, None)
    async with dashboard(it, api, bob) as client:
        answer = await client.ask("send_command", {"deviceId": door.id, "command": "unlock"})
        assert answer["success"] is False and answer["code"] == "not_allowed"
        assert (await client.hears("error"))["message"] == answer["message"]
    assert it.websocket.handed == []
    assert [event.new.user_id for event in await it.log(EventType.ACCESS_REFUSED)] == [bob.user.id]


async def test_what_is_not_seen_and_what_is_not_there_sound_the_same(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    gate = await it.door(ada, "gate", device_type=DeviceType.CAMERA)
    session = await it.connect(gate)
    await it.says(session, BellPressed())
    [visitor] = await it.store.pending_visitors()
    async with dashboard(it, api, bob) as client:
        for event, real, more in (
            ("subscribe_device", gate.id, {}),
            ("request_device_status", gate.id, {}),
            ("send_command", gate.id, {"command": "unlock"}),
            ("visitor_approval", visitor.id, {"approved": True}),
            ("visitor_rejection", visitor.id, {"approved": False}),
        ):
            key = "visitorId" if event.startswith("visitor") else "deviceId"
            answers = [await client.ask(event, {key: one, **more}) for one in (real, "e" * 24)]
            said = [(one["code"], one["message"].replace(real, "e" * 24)) for one in answers]
            refusal = "not_allowed" if event == "send_command" else "not_found"
            assert said[0] == said[1] and said[0][0] == refusal


async def test_a_named_token_gives_no_more_than_its_scope(it: House, api: Api, ada: Caller) -> None:
    door = await it.door(ada)
    await it.connect(door)
    made = await it.access_tokens.create(ada, "wall", Scope.VIEW, None)
    async with DashboardSocket(api.url, made.secret) as client:
        assert (await client.ask("subscribe_device", {"deviceId": door.id}))["success"] is True
        answer = await client.ask("send_command", {"deviceId": door.id, "command": "unlock"})
        assert answer["code"] == "not_allowed"
        await it.access_tokens.revoke(ada, "wall")
        await client.has_ended()
    assert it.websocket.handed == []


async def rung(it: House, owner: Caller) -> tuple[Device, Session, str]:
    gate = await it.door(owner, "gate", device_type=DeviceType.CAMERA)
    session = await it.connect(gate)
    await it.says(session, BellPressed())
    [visitor] = await it.store.pending_visitors()
    return gate, session, visitor.id


async def test_a_visitor_is_let_in_once(it: House, api: Api, ada: Caller) -> None:
    gate, _, visitor_id = await rung(it, ada)
    async with dashboard(it, api, ada) as client:
        await seated(it)
        wanted = {"visitorId": visitor_id, "approved": True, "note": "the plumber"}
        answer = await client.ask("visitor_approval", wanted)
        assert answer["success"] is True and answer["decision"] == "granted"
        await client.hears("visitor_processed", visitorId=visitor_id, status="approved")
        again = await client.ask("visitor_rejection", {**wanted, "approved": False})
        assert again["success"] is False and again["code"] == "conflict"
    await it.clock.settle()
    assert [one.command.name for one in it.websocket.handed] == ["unlock_door"]
    granted = next(one for one in it.websocket.told if one.event == "access_granted")
    assert granted.device_id == gate.id and granted.data["note"] == "the plumber"


@pytest.mark.parametrize(
    ("event", "approved"), [("visitor_approval", False), ("visitor_rejection", True)]
)
async def test_a_message_that_contradicts_itself_decides_nothing(
    it: House, api: Api, ada: Caller, event: str, approved: bool
) -> None:
    _, _, visitor_id = await rung(it, ada)
    async with dashboard(it, api, ada) as client:
        answer = await client.ask(event, {"visitorId": visitor_id, "approved": approved})
        assert answer["code"] == "bad_input"
    assert [one.id for one in await it.store.pending_visitors()] == [visitor_id]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("subscribe_device", None),
        ("subscribe_device", "front"),
        ("subscribe_device", {}),
        ("subscribe_device", {"deviceId": {"$ne": 1}}),
        ("subscribe_device", {"deviceId": "x" * 500}),
        ("send_command", {"deviceId": "front", "command": 5}),
        ("send_command", {"deviceId": "front", "command": "unlock", "payload": [1]}),
        ("send_command", {"deviceId": "front", "command": "explode"}),
        ("visitor_approval", {"visitorId": "v", "approved": "yes please"}),
        ("device_heartbeat", {"deviceId": "front"}),
        ("command_ack", {"commandId": "c", "status": "executed"}),
        ("no_such_event", {}),
    ],
)
async def test_a_bad_message_is_answered_and_changes_nothing(
    it: House, api: Api, ada: Caller, event: str, data: Any
) -> None:
    await it.connect(await it.door(ada))
    before = it.feed.position
    async with dashboard(it, api, ada) as client:
        answer = await client.ask(event, data)
        assert answer["success"] is False and answer["code"] == "bad_input"
        assert (await client.hears("error"))["message"] == answer["message"]
        assert not client.ended.is_set()
    assert it.feed.position == before and it.websocket.handed == []


async def test_a_fault_inside_is_not_told_and_ends_nothing(
    it: House, api: Api, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(it.desk, "status", broken)
    async with dashboard(it, api, ada) as client:
        answer = await client.ask("request_device_status", {"deviceId": "x"})
        assert answer["code"] == "unexpected" and "hunter2" not in str(answer)
        assert (await client.ask("subscribe_device", {}))["code"] == "bad_input"


async def test_too_many_messages_are_not_done(it: House, api: Api, ada: Caller) -> None:
    door = await it.door(ada)
    async with dashboard(it, api, ada) as client:
        ask = {"deviceId": door.id}
        answers = [await client.ask("request_device_status", ask) for _ in range(60)]
    refused = [answer["code"] for answer in answers if not answer["success"]]
    assert set(refused) == {"rate_limited"} and len(refused) == 10


# who reads slowly


async def test_who_reads_too_slowly_misses_frames_and_in_the_end_is_cut_off(
    it: House, api: Api, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await it.door(ada, "gate", device_type=DeviceType.CAMERA)
    session = await it.connect(gate)
    async with dashboard(it, api, ada) as client:
        await seated(it)
        await client.ask("subscribe_device", {"deviceId": gate.id})
        behind = 0
        monkeypatch.setattr(it.dashboards, "_behind", lambda sid: behind)
        behind = dashboards._BEHIND + 1
        await it.says(session, Frame(image=data_url(jpeg(mark=b"lost"))))
        await it.says(session, Motion())
        await client.hears("motion_detected")
        behind = 0
        await it.says(session, Frame(image=data_url(jpeg(mark=b"seen"))))
        await client.hears("frame")
        assert len(client.all("frame")) == 1
        behind = dashboards._TOO_FAR_BEHIND + 1
        await it.says(session, Motion())
        await client.has_ended()
    await until(lambda: not it.frames.watched(gate.id), "nobody watches")

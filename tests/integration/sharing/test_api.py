"""Sharing over HTTP: shares with a schedule, invitations, transfers, and who may open a door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller
from doorlock.times import iso
from tests.support.api import Api, serving
from tests.support.clock import START
from tests.support.house import House, house

NEW = "new@example.org"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
async def api(it: House) -> AsyncIterator[Api]:
    async with serving(it) as served:
        yield served


@pytest.fixture
async def tokens(it: House) -> dict[str, str]:
    people = [await it.person(name) for name in ("owner", "ann", "bob")]
    return {one.user.username: it.sessions.token_for(one.user) for one in people}


@pytest.fixture
async def door(it: House, tokens: dict[str, str]) -> Device:
    owner = await it.store.find_user("owner")
    assert owner is not None
    return await it.door(Caller(owner))


async def share(api: Api, token: str, **body: Any) -> Any:
    return await api.post("/api/device/front/share", {"permission": "control", **body}, token)


async def test_a_share_with_a_schedule(
    it: House, api: Api, tokens: dict[str, str], door: Device
) -> None:
    changed = await api.put("/api/device/front", {"timezone": "Europe/Berlin"}, tokens["owner"])
    assert (changed.status, changed.data["timezone"]) == (200, "Europe/Berlin")
    answer = await share(api, tokens["owner"], user="ann", schedule="Mon 12:00-14:00")
    assert answer.status == 201
    assert answer.data["schedule"] == "Mon 12:00-14:00"
    assert answer.data["timezone"] == "Europe/Berlin"
    # START is noon in UTC: one o'clock at the door
    assert answer.data["active"] is True
    assert answer.data["nextChange"] == "2026-11-23T13:00:00.000Z"
    assert (await api.get("/api/device/front", tokens["ann"])).status == 200
    await it.clock.advance(timedelta(hours=1))
    hidden = await api.get("/api/device/front", tokens["ann"])
    missing = await api.get("/api/device/nothing", tokens["ann"])
    assert hidden.status == missing.status == 404
    (listed,) = (await api.get("/api/shares", tokens["ann"])).data
    assert (listed["active"], listed["deviceName"]) == (False, "front")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"schedule": "whenever"}, "schedule"),
        ({"schedule": "RRULE:FREQ=SECONDLY DURATION:PT1H"}, "schedule"),
        ({"schedule": "x" * 501}, "schedule"),
        ({"schedule": "Mon\n09:00-10:00"}, "schedule"),
        ({"schedule": 5}, "schedule"),
        ({"permission": "owner"}, "permission"),
        ({"startsAt": "soon"}, "startsAt"),
    ],
)
async def test_a_share_that_cannot_be_is_refused_by_its_field(
    it: House, api: Api, tokens: dict[str, str], door: Device, body: dict[str, Any], field: str
) -> None:
    answer = await share(api, tokens["owner"], user="ann", **body)
    assert answer.status == 400
    assert [error["field"] for error in answer.body["errors"]] == [field]
    assert await it.store.shares_of_device(door.id) == []


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "", "x" * 65, 5])
async def test_no_such_time_zone(
    api: Api, tokens: dict[str, str], door: Device, zone: object
) -> None:
    answer = await api.put("/api/device/front", {"timezone": zone}, tokens["owner"])
    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == "timezone"
    shown = await api.get("/api/device/front", tokens["owner"])
    assert shown.data["timezone"] == "UTC"


async def test_a_dry_run_says_what_would_change(
    it: House, api: Api, tokens: dict[str, str], door: Device
) -> None:
    await share(api, tokens["owner"], user="ann", permission="view")
    position = (await it.store.bounds()).last
    plan = await share(api, tokens["owner"], user="ann", schedule="Mon 09:00-10:00", dryRun=True)
    assert plan.status == 200
    assert plan.data["changes"] == {
        "permission": ["view", "control"],
        "schedule": [None, "Mon 09:00-10:00"],
    }
    assert plan.data["before"]["permission"] == "view"
    assert plan.data["after"]["active"] is False
    assert plan.data["invitation"] is False
    plan = await share(api, tokens["owner"], user=NEW, dryRun=True)
    assert plan.data["invitation"] is True
    assert plan.data["before"] is None
    assert "code" not in json.dumps(plan.data).replace("codeExpiresAt", "")
    refused = await share(api, tokens["ann"], user="bob", dryRun=True)
    assert refused.status == 403
    events = await it.log(after=position)
    assert [event.new.type for event in events] == [EventType.ACCESS_REFUSED]
    assert (await api.get("/api/invitations", tokens["owner"])).data == []


async def test_an_invitation_from_its_making_to_its_acceptance(
    it: House, api: Api, tokens: dict[str, str], door: Device
) -> None:
    made = await share(api, tokens["owner"], user=NEW, expiresAt=iso(START + timedelta(days=30)))
    assert (made.status, made.body["message"]) == (201, "invitation made")
    code = made.data["code"]
    assert made.data["email"] == NEW
    assert made.data["codeExpiresAt"] == iso(START + timedelta(days=7))
    (listed,) = (await api.get("/api/invitations", tokens["owner"])).data
    assert listed["open"] is True and "code" not in listed
    assert (await api.get("/api/invitations", tokens["ann"])).data == []
    wrong = await api.post("/api/invitations/accept", {"code": "AAAA-BBBB"}, tokens["ann"])
    assert wrong.status == 404
    nobody = await api.post("/api/invitations/accept", {"code": code})
    assert nobody.status == 401
    accepted = await api.post("/api/invitations/accept", {"code": code}, tokens["ann"])
    assert (accepted.status, accepted.data["deviceName"]) == (201, "front")
    assert accepted.data["expiresAt"] == iso(START + timedelta(days=30))
    again = await api.post("/api/invitations/accept", {"code": code}, tokens["bob"])
    assert again.status == 404
    logged = await api.get("/api/logs", tokens["owner"])
    assert code not in json.dumps(logged.body)


async def test_an_invitation_is_revoked_by_who_manages_the_device(
    api: Api, tokens: dict[str, str], door: Device
) -> None:
    made = await share(api, tokens["owner"], user=NEW)
    path = f"/api/invitations/{made.data['id']}"
    assert (await api.delete(path, tokens["ann"])).status == 404
    assert (await api.delete(path, tokens["owner"])).status == 200
    assert (await api.delete(path, tokens["owner"])).status == 404
    body = {"code": made.data["code"]}
    assert (await api.post("/api/invitations/accept", body, tokens["ann"])).status == 404


async def test_a_sign_up_with_a_code_ends_with_the_door(
    it: House, api: Api, tokens: dict[str, str], door: Device
) -> None:
    made = await share(api, tokens["owner"], user=NEW)
    account = {"email": NEW, "password": "correct horse"}
    wrong = await api.post("/api/auth/register", {**account, "inviteCode": "AAAA"})
    assert wrong.status == 404
    assert await it.store.find_user(NEW) is None
    body = {**account, "inviteCode": made.data["code"]}
    signed_up = await api.post("/api/auth/register", body)
    assert signed_up.status == 201, signed_up.body
    assert signed_up.data["share"]["permission"] == "control"
    seen = await api.get("/api/device", signed_up.data["token"])
    assert [device["name"] for device in seen.data] == ["front"]
    second = {**body, "email": "other@example.org"}
    assert (await api.post("/api/auth/register", second)).status == 404


async def test_many_sign_ups_with_one_code_make_one_share(
    it: House, api: Api, tokens: dict[str, str], door: Device
) -> None:
    code = (await share(api, tokens["owner"], user=NEW)).data["code"]
    bodies = [
        {"email": f"p{n}@example.org", "password": "correct horse", "inviteCode": code}
        for n in range(4)
    ]
    answers = await asyncio.gather(*(api.post("/api/auth/register", body) for body in bodies))
    assert {answer.status for answer in answers} <= {201, 404}
    shared = [answer for answer in answers if answer.status == 201 and answer.data["share"]]
    assert len(shared) == 1
    assert len(await it.store.shares_of_device(door.id)) == 1


async def test_a_device_is_given_to_somebody_else(
    api: Api, tokens: dict[str, str], door: Device
) -> None:
    await share(api, tokens["owner"], user="bob")
    path = "/api/device/front/transfer"
    assert (await api.post(path, {"user": "ann"}, tokens["bob"])).status == 403
    assert (await api.post(path, {"user": "bob"}, tokens["ann"])).status == 404
    offered = await api.post(path, {"user": "ann"}, tokens["owner"])
    assert (offered.status, offered.data["to"]["username"]) == (201, "ann")
    for who, count in (("ann", 1), ("owner", 1), ("bob", 0)):
        assert len((await api.get("/api/transfers", tokens[who])).data) == count
    assert (await api.get("/api/device/front", tokens["ann"])).status == 404
    assert (await api.post(f"{path}/accept", None, tokens["bob"])).status == 404
    accepted = await api.post(f"{path}/accept", None, tokens["ann"])
    assert accepted.status == 200, accepted.body
    assert [one["username"] for one in accepted.data["shares"]] == ["bob"]
    assert (await api.get("/api/device/front", tokens["owner"])).status == 404
    shown = await api.get("/api/device/front", tokens["ann"])
    assert shown.data["owner"]["username"] == "ann"
    assert (await api.post(f"{path}/accept", None, tokens["ann"])).status == 404


async def test_an_offer_is_declined(api: Api, tokens: dict[str, str], door: Device) -> None:
    path = "/api/device/front/transfer"
    await api.post(path, {"user": "ann"}, tokens["owner"])
    assert (await api.delete(path, tokens["bob"])).status == 404
    assert (await api.delete(path, tokens["ann"])).status == 200
    assert (await api.post(f"{path}/accept", {"dropShares": True}, tokens["ann"])).status == 404
    assert (await api.get("/api/transfers", tokens["owner"])).data == []


async def test_who_may_open_it_and_why(
    it: House, api: Api, tokens: dict[str, str], door: Device
) -> None:
    await it.clock.advance(60)
    await share(api, tokens["owner"], user="ann", schedule="Tue 09:00-10:00")
    path = "/api/device/front/access"
    now = await api.get(path, tokens["owner"])
    lines = {one["username"]: (one["mayOpen"], one["why"]) for one in now.data["people"]}
    assert lines == {"owner": (True, "owner"), "ann": (False, "outside_schedule")}
    then = await api.get(f"{path}?user=ann&at=2026-11-24T09:30:00Z", tokens["owner"])
    assert [one["mayOpen"] for one in then.data["people"]] == [True]
    past = await api.get(f"{path}?user=ann&at={iso(START)}", tokens["owner"])
    assert (past.data["from"], past.data["people"][0]["why"]) == ("log", "not_shared")
    mine = await api.get(f"{path}?user=ann", tokens["ann"])
    assert mine.data["people"][0]["nextChange"] == "2026-11-24T09:00:00.000Z"
    assert (await api.get(path, tokens["bob"])).status == 404
    for bad in ("tomorrow", "2526-11-24", "99999"):
        assert (await api.get(f"{path}?at={bad}", tokens["owner"])).status == 400


async def test_nobody_without_a_token(api: Api, door: Device) -> None:
    calls = [
        ("GET", "/api/shares"), ("GET", "/api/invitations"), ("GET", "/api/transfers"),
        ("GET", "/api/device/front/access"), ("POST", "/api/device/front/transfer/accept"),
        ("DELETE", "/api/device/front/transfer"), ("DELETE", "/api/invitations/x"),
    ]  # fmt: skip
    for method, path in calls:
        assert (await api.call(method, path)).status == 401, path


async def test_a_share_that_begins_or_ends_is_felt_by_who_follows(
    it: House, api: Api, tokens: dict[str, str], door: Device
) -> None:
    """A stream that is open tells the next event only to who may see the door at that moment."""
    schedule = "Mon 11:00-13:00, 15:00-16:00"
    await share(api, tokens["owner"], user="ann", schedule=schedule)
    after = (await it.store.bounds()).last
    heard = b""

    async def change(room: str) -> None:
        answer = await api.put("/api/device/front", {"room": room}, tokens["owner"])
        assert answer.status == 200

    async with (
        asyncio.timeout(10),
        api.stream(f"/api/events/stream?after={after}", tokens["ann"]) as stream,
    ):
        await change("first")
        while b'"first"' not in heard:
            heard += await stream.content.readany()
        await it.clock.advance(timedelta(hours=2))
        await change("hidden")
        await it.clock.settle()
        await it.clock.advance(timedelta(hours=1.5))
        await change("last")
        while b'"last"' not in heard:
            heard += await stream.content.readany()
    assert b'"hidden"' not in heard

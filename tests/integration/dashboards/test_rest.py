"""The routes of a dashboard's pages; WIRE sections 4 and 6."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.reports import BellPressed, DoorStatus, LowBattery, Motion
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.users import Caller, Role, Scope
from doorlock.daemon.ports import EventFilter, PartHealth
from doorlock.protocol import DeviceType, LockValue
from tests.support.api import Api, serving
from tests.support.house import House, house

PAGES = (
    "/api/dashboard/stats",
    "/api/dashboard/activity",
    "/api/dashboard/devices-summary",
    "/api/dashboard/alerts",
    "/api/logs",
    "/api/logs/activity",
    "/api/logs/visitors",
    "/api/logs/type/motion_detected",
    "/api/health/detailed",
    "/api/health/devices",
    "/api/health/metrics",
)


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


async def get(it: House, api: Api, caller: Caller, path: str) -> Any:
    answer = await api.get(path, it.sessions.token_for(caller.user))
    assert answer.status == 200, answer.body
    return answer.body


async def a_day(it: House, owner: Caller) -> tuple[Device, Session]:
    """A camera at a gate, where a good deal happens."""
    gate = await it.door(owner, f"gate-of-{owner.user.username}", device_type=DeviceType.CAMERA)
    session = await it.connect(gate)
    for report in (Motion(), BellPressed(), DoorStatus(status=LockValue.JAMMED)):
        await it.says(session, report)
    await it.says(session, LowBattery(battery_level=9))
    await it.clock.advance(1)
    submitted = await it.unlock(owner, gate)
    await it.clock.advance(1)
    await it.ack(session, submitted.command.id, "executed")
    return gate, session


async def test_nobody_reads_them_without_a_token(api: Api) -> None:
    for path in PAGES:
        assert (await api.get(path)).status == 401
    assert (await api.delete("/api/logs")).status == 401


async def test_two_users_never_read_of_each_other(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    gates = {who.user.id: (await a_day(it, who))[0] for who in (ada, bob)}
    for who, other in ((ada, bob), (bob, ada)):
        for path in PAGES:
            text = str(await get(it, api, who, path))
            hidden = gates[other.user.id]
            for secret in (other.user.id, f"'{other.user.username}'", hidden.id, hidden.name):
                assert secret not in text, path
        theirs = f"/api/logs/device/{gates[other.user.id].id}"
        token = it.sessions.token_for(who.user)
        assert (await api.get(theirs, token)).status == 404
        assert (await api.get("/api/logs/device/" + "e" * 24, token)).status == 404
        stats = (await get(it, api, who, "/api/dashboard/stats"))["data"]
        assert stats["devices"]["total"] == 1 and stats["visitors"]["pending"] == 1


async def test_the_first_page_counts_what_there_is(it: House, api: Api, ada: Caller) -> None:
    await a_day(it, ada)
    await it.door(ada, "spare")
    stats = (await get(it, api, ada, "/api/dashboard/stats"))["data"]
    devices = stats["devices"]
    assert (devices["total"], devices["online"], devices["offline"]) == (2, 1, 1)
    assert (devices["jammed"], devices["lowBattery"]) == (0, 1)  # the unlock has freed the door
    assert stats["visitors"]["pending"] == 1
    assert stats["commands"] == {
        "queued": 1,
        "executed": 1,
        "failed": 0,
        "timedOut": 0,
        "expired": 0,
    }
    await it.clock.advance(timedelta(days=1))
    tomorrow = (await get(it, api, ada, "/api/dashboard/stats"))["data"]
    assert tomorrow["commands"]["queued"] == 0


async def test_activity_is_told_in_words_newest_first(it: House, api: Api, ada: Caller) -> None:
    gate, _ = await a_day(it, ada)
    body = await get(it, api, ada, "/api/logs/activity?limit=3")
    rows = body["data"]
    assert len(rows) == 3 and body["pagination"]["hasNextPage"] is True
    for row in rows:
        assert {"id", "icon", "message", "deviceName", "username", "timestamp"} <= set(row)
    every = (await get(it, api, ada, "/api/dashboard/activity?limit=100"))["data"]
    assert every[:3] == rows
    told = [(row["message"], row["deviceName"], row["username"]) for row in every]
    assert (f"{gate.name} was unlocked", gate.name, "ada") in told
    assert (f"somebody rang at {gate.name}", gate.name, None) in told
    assert "command_sent" not in [row["eventType"] for row in every]


async def test_a_page_of_activity_can_be_narrowed(it: House, api: Api, ada: Caller) -> None:
    await a_day(it, ada)
    path = "/api/logs/activity?type=motion_detected"
    rows = (await get(it, api, ada, path))["data"]
    assert [row["eventType"] for row in rows] == ["motion_detected"]
    body = await get(it, api, ada, "/api/logs/activity?type=command_sent")
    assert body["data"] == [] and body["pagination"]["totalItems"] == 0


async def test_the_log_is_read_by_device_and_by_type(it: House, api: Api, ada: Caller) -> None:
    gate, _ = await a_day(it, ada)
    other = await it.door(ada, "other")
    await it.connect(other)
    rows = (await get(it, api, ada, f"/api/logs/device/{gate.id}"))["data"]
    assert rows and {row["deviceId"] for row in rows} == {gate.id}
    rows = (await get(it, api, ada, "/api/logs/type/device_connected"))["data"]
    assert [row["deviceId"] for row in rows] == [other.id, gate.id]
    for row in rows:
        assert row["type"] == row["eventType"] == "device_connected"
        assert row["message"] == f"{row['deviceName']} is online"
        assert {"_id", "username", "timestamp", "payload"} <= set(row)
    bad = await api.get("/api/logs/type/nonsense", it.sessions.token_for(ada.user))
    assert bad.status == 400


async def test_visitors_are_rows_of_the_log_too(it: House, api: Api, ada: Caller) -> None:
    await a_day(it, ada)
    body = await get(it, api, ada, "/api/logs/visitors")
    [row] = body["data"]
    assert {"_id", "imageUrl", "timestamp", "status"} <= set(row)
    assert row["status"] == "pending" and body["pagination"]["totalItems"] == 1
    assert (await get(it, api, ada, "/api/logs/visitors?status=approved"))["data"] == []


async def test_an_alert_stays_active_as_long_as_it_holds(it: House, api: Api, ada: Caller) -> None:
    gate, session = await a_day(it, ada)
    await it.says(session, DoorStatus(status=LockValue.JAMMED))
    alerts = (await get(it, api, ada, "/api/dashboard/alerts"))["data"]
    told = [(one["eventType"], one["level"], one["active"]) for one in alerts]
    assert told == [
        ("status_changed", "critical", True),
        ("low_battery", "warning", True),
        ("status_changed", "critical", False),
    ]
    assert alerts[0]["severity"] == "critical" and gate.name in alerts[0]["message"]
    await it.says(session, DoorStatus(status=LockValue.LOCKED))
    await it.ingest.disconnected(session, "gone")
    alerts = (await get(it, api, ada, "/api/dashboard/alerts"))["data"]
    assert [one["eventType"] for one in alerts if one["active"]] == [
        "device_disconnected",
        "low_battery",
    ]
    await it.clock.advance(timedelta(days=2))
    assert (await get(it, api, ada, "/api/dashboard/alerts"))["data"] == []


async def test_the_summary_of_devices_holds_what_pages_read(
    it: House, api: Api, ada: Caller
) -> None:
    gate, _ = await a_day(it, ada)
    [row] = (await get(it, api, ada, "/api/dashboard/devices-summary"))["data"]
    assert row["_id"] == row["id"] == gate.id
    assert (row["status"], row["online"], row["batteryLevel"]) == ("online", True, 9)


async def test_nobody_learns_from_the_log_who_has_an_account(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    await it.connect(await it.door(bob))
    for path in ("/api/logs", "/api/logs/activity"):
        known, unknown = [
            (await get(it, api, ada, f"{path}?user={name}"))["data"] for name in ("bob", "nobody")
        ]
        assert known == unknown == []


# clearing


async def test_clearing_hides_the_log_from_who_cleared_it_and_deletes_nothing(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    gate, session = await a_day(it, ada)
    await it.sharing.grant(ada, gate.id, "bob", Permission.ADMIN, None, None)
    before = await it.store.count_events(EventFilter())
    token = it.sessions.token_for(bob.user)
    answer = await api.delete("/api/logs", token)
    assert answer.status == 200 and answer.data["clearedTo"] == before
    for path in ("/api/logs", "/api/logs/activity", f"/api/logs/device/{gate.id}"):
        rows = (await get(it, api, bob, path))["data"]
        assert [row["eventType"] for row in rows] in (["settings_updated"], [])
        hidden = (await get(it, api, bob, f"{path}?cleared=true&limit=1000"))["data"]
        assert len(hidden) > 5
        assert len((await get(it, api, ada, path))["data"]) > 5
    await it.says(session, Motion())
    rows = (await get(it, api, bob, "/api/logs"))["data"]
    assert [row["eventType"] for row in rows] == ["motion_detected", "settings_updated"]
    assert await it.store.count_events(EventFilter()) == before + 2
    assert (await it.queries.verified())["ok"] is True


@pytest.mark.parametrize("scope", [Scope.VIEW, Scope.CONTROL])
async def test_a_lesser_token_clears_nothing(
    it: House, api: Api, ada: Caller, scope: Scope
) -> None:
    made = await it.access_tokens.create(ada, "script", scope, None)
    assert (await api.delete("/api/logs", made.secret)).status == 403
    user = await it.store.get_user(ada.user.id)
    assert user is not None and user.log_cleared_to == 0


# health


async def test_health_tells_of_ones_own_devices_and_an_operator_of_all(
    it: House, api: Api, ada: Caller, bob: Caller
) -> None:
    root = await it.person("root", Role.SUPER_ADMIN)
    await a_day(it, ada)
    await a_day(it, bob)
    for who, count in ((ada, 1), (root, 2)):
        devices = (await get(it, api, who, "/api/health/devices"))["data"]
        assert devices["total"] == len(devices["devices"]) == count
        detailed = (await get(it, api, who, "/api/health/detailed"))["data"]
        assert detailed["connections"]["totalConnected"] == count
        metrics = (await get(it, api, who, "/api/health/metrics"))["data"]
        assert metrics["perHour"]["commandsExecuted"] == count
        assert metrics["perDay"]["visitors"] == count
        assert metrics["latency"]["samples"] == count
        assert metrics["latency"]["p50"] == pytest.approx(1000, abs=1)


async def test_rates_are_of_the_last_hour_and_the_last_day(
    it: House, api: Api, ada: Caller
) -> None:
    await a_day(it, ada)
    await it.clock.advance(timedelta(hours=2))
    metrics = (await get(it, api, ada, "/api/health/metrics"))["data"]
    assert (metrics["perHour"]["motion"], metrics["perDay"]["motion"]) == (0, 1)


async def test_the_last_error_of_a_part_is_remembered(it: House, api: Api, ada: Caller) -> None:
    state = PartHealth("mqtt", "down", "the broker does not answer")
    it.health._probes = [lambda: state]
    assert (await api.get("/api/health")).status == 503
    state = PartHealth("mqtt", "ok", "listening")
    assert (await api.get("/api/health")).status == 200
    errors = (await get(it, api, ada, "/api/health/metrics"))["data"]["lastErrors"]
    assert errors["mqtt"]["message"] == "the broker does not answer"


# /metrics


async def metrics(api: Api, **headers: str) -> tuple[int, str, str]:
    async with api._remote.get(api.url + "/metrics", headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_metrics_are_for_this_machine(it: House, api: Api, ada: Caller) -> None:
    status, kind, text = await metrics(api)
    assert status == 200 and kind.startswith("text/plain") and "doorlock_healthy 1" in text
    async with api._local.get(api.url + "/metrics") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "Origin", "Sec-Fetch-Site"]
)
async def test_metrics_are_not_for_who_came_by_a_proxy_or_a_page(api: Api, header: str) -> None:
    assert (await metrics(api, **{header: "https://elsewhere.example"}))[0] == 401


async def test_metrics_are_for_an_operators_token(it: House, api: Api, ada: Caller) -> None:
    root = await it.person("root", Role.SUPER_ADMIN)
    for who, status in ((root, 200), (ada, 403)):
        bearer = {"Authorization": f"Bearer {it.sessions.token_for(who.user)}", "Via": "1.1 x"}
        assert (await metrics(api, **bearer))[0] == status

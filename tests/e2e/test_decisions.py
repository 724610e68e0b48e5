"""A hundred decide on one visitor at once, by every way there is: one of them does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doorlock.cli.exit_codes import ExitCode
from tests.support.daemon import Daemon, Enrolled
from tests.support.dashboards import DashboardSocket
from tests.support.devices import WEBSOCKET, BareSocket, online, unlocked
from tests.support.waiting import until

EACH = 50
BY_CLI, BY_SOCKET = 2, 24
DASHBOARDS = 6
MOST_SECONDS = 60

Decide = Callable[[bool], Awaitable[bool]]
"""Approve or deny; whether it counted. Anything but that or a conflict is an AssertionError."""


class Deciders:
    """Who may decide on one visitor, and how."""

    def __init__(self, daemon: Daemon, http: aiohttp.ClientSession, token: str) -> None:
        self._daemon, self._http, self._token = daemon, http, token
        self.dashboards: list[DashboardSocket] = []
        self.visitor = ""

    async def by_rest(self, granted: bool) -> bool:
        url = f"{self._daemon.url}/api/command/{'open' if granted else 'deny'}"
        headers = {"Authorization": f"Bearer {self._token}"}
        body = {"visitorLogId": self.visitor}
        async with self._http.post(url, json=body, headers=headers) as answer:
            envelope = await answer.json()
        assert answer.status in (200, 409), envelope
        assert envelope["success"] or envelope["code"] == "conflict"
        return answer.status == 200

    def by_socket(self, dashboard: DashboardSocket) -> Decide:
        async def decide(granted: bool) -> bool:
            event = "visitor_approval" if granted else "visitor_rejection"
            answer = await dashboard.ask(event, {"visitorId": self.visitor, "approved": granted})
            assert answer.get("success") or answer["code"] == "conflict", answer
            return bool(answer.get("success"))

        return decide

    async def by_cli(self, granted: bool) -> bool:
        verb = "approve" if granted else "deny"
        done = await self._daemon.cli("visitors", verb, self.visitor)
        assert done.code in (ExitCode.DONE, ExitCode.CONFLICT), done
        return done.code == ExitCode.DONE

    async def all_at_once(self, granted_first: bool) -> list[bool]:
        """What each was told; the granting ones in the first or the second half."""
        ways = [self.by_cli] * BY_CLI
        places = range(BY_SOCKET)
        ways += [self.by_socket(self.dashboards[place % DASHBOARDS]) for place in places]
        ways += [self.by_rest] * (EACH - len(ways))
        wishes = [
            decide(granted) for granted in (granted_first, not granted_first) for decide in ways
        ]
        return await asyncio.wait_for(asyncio.gather(*wishes), MOST_SECONDS)


async def _owner(daemon: Daemon, http: aiohttp.ClientSession) -> tuple[str, Enrolled]:
    """Somebody's token, and the lock that is theirs."""

    async def post(path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with http.post(daemon.url + path, json=body, headers=headers) as answer:
            data: dict[str, Any] = (await answer.json())["data"]
            daemon.secrets.append(data.get("token") or data["deviceToken"])
            return data

    ada = {"username": "ada", "email": "ada@doors.test", "password": "four plain words here"}
    token = (await post("/api/auth/register", ada))["token"]
    made = await post("/api/device/register", {"name": "front", "espId": "ESP-1"}, token)
    return token, Enrolled(made["id"], "front", "ESP-1", made["deviceToken"])


@pytest.mark.parametrize("granted_first", [True, False])
async def test_a_hundred_decisions_on_one_visitor_are_one(
    new_daemon: Callable[..., Daemon], tmp_path: Path, granted_first: bool
) -> None:
    daemon = new_daemon(mqtt=False).start()
    async with AsyncExitStack() as stack:
        everybody = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=everybody))
        token, enrolled = await _owner(daemon, http)
        device = await stack.enter_async_context(online(daemon, enrolled, tmp_path, WEBSOCKET))
        deciders = Deciders(daemon, http, token)
        for _ in range(DASHBOARDS):
            dashboard = DashboardSocket(daemon.url, token)
            deciders.dashboards.append(await stack.enter_async_context(dashboard))
        async with BareSocket(daemon, enrolled) as bell:
            await bell.ask("bell-pressed", {"deviceId": enrolled.id})
        rung = await deciders.dashboards[0].hears("new_visitor")
        deciders.visitor = rung["visitorId"]

        told = await deciders.all_at_once(granted_first)

        assert Counter(told) == {True: 1, False: 2 * EACH - 1}
        await _one_decision(daemon, enrolled, deciders, told.index(True) < EACH, granted_first)
        granted = (told.index(True) < EACH) is granted_first
        commands = await daemon.commands(enrolled)
        assert [one["command"] for one in commands] == ["unlock_door"] * granted
        for command in commands:
            await daemon.settled(command["commandId"], "executed")
        assert len(unlocked(device)) == granted


async def _one_decision(
    daemon: Daemon, enrolled: Enrolled, deciders: Deciders, first_half: bool, granted_first: bool
) -> None:
    """In the log, on every dashboard and at the door: one, and those who came too late."""
    status = "granted" if first_half is granted_first else "denied"
    decided = await daemon.events(enrolled, "visitor_granted", "visitor_denied")
    assert [one["eventType"] for one in decided] == [f"visitor_{status}"]
    late = await daemon.events(enrolled, "access_refused")
    assert len(late) == 2 * EACH - 1
    assert {one["payload"]["visitorId"] for one in late} == {deciders.visitor}
    assert Counter(one["metadata"]["source"] for one in late).keys() == SOURCES
    for dashboard in deciders.dashboards:
        shown = await dashboard.hears("visitor_processed")
        assert (shown["visitorId"], shown["decision"]) == (deciders.visitor, status)
    await until(
        lambda: all(len(one.all("visitor_processed")) == 1 for one in deciders.dashboards),
        "every dashboard hears it once",
    )


SOURCES = {"http", "websocket", "socket"}

"""Whoever may not see a door learns nothing of it: not even whether it is there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI

from doorlock.daemon.api import app as http
from doorlock.daemon.domain.ids import is_id, new_id
from doorlock.daemon.domain.reports import BellPressed, Motion
from doorlock.daemon.domain.visitors import Verdict
from tests.integration.access.cast import Cast
from tests.integration.access.table import ROWS, Request, Row, request_for
from tests.integration.access.test_events import ROWS as EVENTS
from tests.support.api import services_of, serving
from tests.support.dashboards import DashboardSocket
from tests.support.house import House, house
from tests.support.waiting import until

OUTSIDERS = ("nobody", "stranger", "expired", "disabled", "other")
VOLATILE = frozenset({"timestamp", "memory", "uptime", "position", "oldestEvent"})
WHOLE = frozenset({"/api/openapi.json", "/api/health", "/api/version", "/metrics"})
"""What is the same for everybody, and of nobody."""


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
def app(it: House) -> FastAPI:
    return http.build(services_of(it))


# ids


@pytest.mark.parametrize("who", OUTSIDERS)
async def test_what_exists_and_what_does_not_are_answered_alike(
    it: House, app: FastAPI, who: str
) -> None:
    compared, wrong = 0, []
    for row in ROWS:
        cast = await Cast.build(it, [who])
        if row.cells[who][:3] not in ("401", "403", "404"):
            continue
        request, headers = await request_for(row, cast, who), cast.headers(who)[-1]
        if "link=" in request.path:  # none was ever made for what is not there
            request = replace(request, path=request.path.partition("link=")[0] + "link=0.u.0")
        fakes = made_up(cast, who, request)
        if not fakes:
            continue
        there = await request.send(app, headers)
        fake = await faked(request, fakes).send(app, headers)
        compared += 1
        if told(there, fakes) != told(fake, {}):
            wrong.append(f"{row.name}: {told(there, {})} and {told(fake, {})}")
    assert not wrong, "\n".join([f"{who} can tell what exists:", *wrong])
    assert compared > 20


async def test_who_sees_a_door_cannot_tell_which_users_exist(it: House, app: FastAPI) -> None:
    """Only for what names no one that they share with."""
    cast = await Cast.build(it, ["view", "admin"])
    neighbour, nobody = cast.users["neighbour"], new_id()
    for who in ("view", "admin", "owner"):
        (headers,) = cast.headers(who)
        for method, path in (
            ("DELETE", f"/api/device/{cast.door.id}/share/{{}}"),
            ("GET", "/api/users/{}"),
            ("GET", "/api/logs?user={}"),
        ):
            there, fake = [
                await Request(method, path.format(user), None, False).send(app, headers)
                for user in (neighbour.id, nobody)
            ]
            assert told(there, {neighbour.id: nobody}) == told(fake, {}), (who, path)


def made_up(cast: Cast, who: str, request: Request) -> dict[str, str]:
    """For each id and name of the door's in the request another, of what does not exist."""
    sent = f"{request.path} {json.dumps(request.body)}"
    own = {cast.users[who].id, cast.users[who].username} if who in cast.users else set()
    known = {cast.door.id, cast.users["guest"].id, cast.users["guest"].username, *cast.made}
    return {real: another(real) for real in known - own if real in sent}


def another(real: str) -> str:
    if is_id(real):
        return new_id()
    if len(real) == 36:
        return str(uuid4())
    return real[:-4] + ("ffff" if real[-4:] != "ffff" else "0000")


def faked(request: Request, fakes: Mapping[str, str]) -> Request:
    return replace(
        request,
        path=swapped(request.path, fakes),
        body=json.loads(swapped(json.dumps(request.body), fakes)),
    )


def swapped(text: str, fakes: Mapping[str, str]) -> str:
    for real, fake in fakes.items():
        text = text.replace(real, fake)
    return text


def told(answer: Any, fakes: Mapping[str, str]) -> tuple[int, Any, Any]:
    body = json.loads(swapped(answer.body.decode(), fakes))
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return answer.status, steady(body), headers


def steady(value: Any) -> Any:
    """Without what differs from one moment to the next."""
    if isinstance(value, dict):
        return {key: steady(one) for key, one in value.items() if key not in VOLATILE}
    return [steady(one) for one in value] if isinstance(value, list) else value


# lists, counts and streams


async def test_a_neighbour_sees_no_more_and_no_less_than_before(it: House, app: FastAPI) -> None:
    """Their own door is busy, and then another's is, as far as the neighbour tries it too."""
    theirs = await Cast.build(it, [])
    await busy(theirs)
    before = await everything(app, theirs, "owner")
    cast = await Cast.build(it, [])
    await busy(cast)
    assert await everything(app, theirs, "owner") == before


async def test_trying_a_door_tells_nothing_of_it_afterwards(it: House, app: FastAPI) -> None:
    who = "stranger"
    cast = await Cast.build(it, [who])
    await busy(cast)
    (headers,) = cast.headers(who)
    for row in ROWS:
        if row.cells[who][0] == "4":
            await (await request_for(row, cast, who)).send(app, headers)
    shown = json.dumps(await everything(app, cast, who))
    assert not {mark for mark in cast.marks if mark in shown}, shown


async def test_dashboards_and_streams_tell_of_what_is_seen_alone(it: House) -> None:
    async with serving(it) as api:
        theirs = await Cast.build(it, [])
        async with (
            DashboardSocket(api.url, theirs.token("owner")) as socket,
            api.stream("/api/events/stream", theirs.token("owner")) as stream,
        ):
            await until(lambda: it.notices.viewers == 1, "the dashboard is seated")
            cast = await Cast.build(it, [])
            await busy(cast)
            await busy(theirs)
            await socket.hears("new_visitor", deviceId=theirs.door.id)
            text = ""
            while "visitor_denied" not in text:
                text += (await stream.content.readany()).decode()
            await socket.hears("visitor_processed", deviceId=theirs.door.id)
    heard = str(socket.heard)
    assert not {mark for mark in cast.marks if mark in text or mark in heard}
    assert theirs.door.id in text


async def test_dashboard_events_answer_what_exists_and_what_does_not_alike(it: House) -> None:
    async with serving(it) as api:
        for who in ("stranger", "expired"):
            cast = await Cast.build(it, [who])
            visit = await cast.visit()
            fakes = {cast.door.id: new_id(), visit.visitor.id: new_id()}
            message = {"deviceId": cast.door.id, "command": "lock", "visitorId": visit.visitor.id}
            fake = json.loads(swapped(json.dumps(message), fakes))
            async with DashboardSocket(api.url, cast.token(who)) as socket:
                for event in EVENTS:
                    there = await socket.ask(event, message)
                    assert json.loads(swapped(json.dumps(there), fakes)) == await socket.ask(
                        event, fake
                    ), event
                await until(lambda: len(socket.all("error")) == 2 * len(EVENTS), "all are told")
                errors = [swapped(one["message"], fakes) for one in socket.all("error")]
                assert errors[::2] == errors[1::2]


async def busy(cast: Cast) -> None:
    """Everything that the lists and streams tell of."""
    it = cast.house
    session = await it.connect(cast.door)
    visit = await cast.visit()
    await it.says(session, BellPressed(pressed_by="somebody"))
    await it.says(session, Motion(confidence=90))
    await cast.low_battery()
    await it.unlock(cast.caller("owner"), cast.door)
    await cast.invitation()
    await cast.offer("neighbour")
    verdict = Verdict(False, cast.users["owner"].id, any_image=True)
    await it.visitors.decide(cast.caller("owner"), visit.visitor.id, verdict)
    await it.clock.settle()


async def everything(app: FastAPI, cast: Cast, who: str) -> dict[str, Any]:
    """What every list and every count shows somebody."""
    shown: dict[str, Any] = {}
    (headers,) = cast.headers(who)
    for row in ROWS:
        if row.method == "GET" and is_list(row):
            answer = await Request("GET", row.path, None, False).send(app, headers)
            lines = answer.body.splitlines() if "export" in row.path else [answer.body]
            shown[row.name] = [steady(json.loads(line)) for line in lines]
    return shown


def is_list(row: Row) -> bool:
    of_one = any(mark in row.name for mark in ("{", "#", "camera/s", "stream"))
    return not of_one and row.path not in WHOLE

"""Every route as everybody: what must come back. A route without its row fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from doorlock.daemon.api import app as http
from tests.integration.access.cast import WAYS, WHO, Cast
from tests.integration.access.table import ROWS, Row, request_for
from tests.support.api import services_of
from tests.support.house import House, house


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
def app(it: House) -> FastAPI:
    return http.build(services_of(it))


def test_every_route_has_its_row(app: FastAPI) -> None:
    routes = {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or set()) - {"HEAD"}
    }
    rows = {row.route for row in ROWS}
    assert routes - rows == set(), "these routes have no row in the table"
    assert rows - routes == set(), "these rows are of no route"


async def test_reading(it: House, app: FastAPI) -> None:
    cast = await Cast.build(it)
    wrong = [
        fault
        for row in ROWS
        if row.method == "GET"
        for who in WHO
        for way in cast.headers(who)
        async for fault in faults(app, cast, row, who, way)
    ]
    assert not wrong, told(wrong)


async def test_changing(it: House, app: FastAPI) -> None:
    """Each cell on a door of its own, so that none sees what another did."""
    wrong = []
    for row in ROWS:
        for who in WHO if row.method != "GET" else ():
            for way in range(WAYS.get(who, 1)):
                cast = await Cast.build(it, [who])
                sent = cast.headers(who)[way]
                wrong += [fault async for fault in faults(app, cast, row, who, sent)]
    assert not wrong, told(wrong)


def told(wrong: list[str]) -> str:
    return "\n".join([f"{len(wrong)} cells are not as the table says:", *wrong])


async def faults(
    app: FastAPI, cast: Cast, row: Row, who: str, headers: Mapping[str, str]
) -> AsyncIterator[str]:
    """What is wrong with a cell."""
    request = await request_for(row, cast, who)
    before = await cast.state()
    answer = await request.send(app, headers)
    wanted, told = int(row.cells[who][:3]), row.cells[who][3:]
    text = answer.body.decode("utf-8", "replace")
    sent = f"{request.path}{request.body}".replace(cast.device_token("device"), "")
    found = sorted(mark for mark in cast.marks if mark in text and mark not in sent)
    if answer.status != wanted:
        yield f"{row.name} as {who}: {answer.status} and not {wanted}: {text[:200]}"
    elif found and (told == "-" or (not told and wanted in (401, 404))):
        yield f"{row.name} as {who} tells of {found}: {text[:400]}"
    elif answer.status >= 400 and await cast.state() != before:
        yield f"{row.name} as {who}: refused, and yet something has changed"
    elif told == "+" and not found:
        yield f"{row.name} as {who} does not tell of the door: {text[:200]}"

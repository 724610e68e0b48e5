"""Every event of a dashboard as everybody: what must come back. An event without its row fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.integration.access.cast import DEVICES, WHO, Cast
from tests.support.api import Api, serving
from tests.support.dashboards import DashboardSocket
from tests.support.house import House, house

# What the acknowledgement says: `ok`, or why not. `error` is an `error` alone, for devices, whose
# messages these are not; `shut` is whoever is not let in, `connect` says in which words.
TABLE = """
                       nobody stranger  view        control   admin     owner     operator  device other expired   disabled
subscribe_device       shut   not_found ok          ok        ok        ok        ok        error  error not_found shut
unsubscribe_device     shut   not_found ok          ok        ok        ok        ok        error  error not_found shut
request_device_status  shut   not_found ok          ok        ok        ok        ok        error  error not_found shut
send_command           shut   not_allowed not_allowed ok      ok        ok        ok        error  error not_allowed shut
visitor_approval       shut   not_found not_allowed ok        ok        ok        ok        error  error not_found shut
visitor_rejection      shut   not_found not_allowed ok        ok        ok        ok        error  error not_found shut
"""  # noqa: E501
SHUT = {
    "nobody": ("", "Authentication required"),
    "made up": ("a.b.c", "Invalid token"),
    "device": ("its JWT", "Invalid token"),
    "other": ("its JWT", "Invalid token"),
    "disabled": ("their JWT", "Invalid user"),
}
ANSWERS = {
    "subscribe_device": "subscribed",
    "unsubscribe_device": "unsubscribed",
    "request_device_status": "device_status_response",
    "send_command": "command_sent",
}


def _rows() -> Mapping[str, Mapping[str, str]]:
    head, *lines = [line.split() for line in TABLE.splitlines() if line.strip()]
    assert tuple(head) == WHO
    return {event: dict(zip(WHO, cells, strict=True)) for event, *cells in lines}


ROWS = _rows()


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


@pytest.fixture
async def api(it: House) -> AsyncIterator[Api]:
    async with serving(it) as served:
        yield served


def test_every_event_has_its_row(it: House) -> None:
    assert set(it.dashboards._answers) == set(ROWS)


async def test_who_is_not_let_in_is_told_why(it: House, api: Api) -> None:
    cast = await Cast.build(it)
    for who, (what, why) in SHUT.items():
        token = cast.token(who) if "JWT" in what else what
        assert await DashboardSocket(api.url, token).refusal() == why, who
    shut = {who for cells in ROWS.values() for who, cell in cells.items() if cell == "shut"}
    assert shut <= set(SHUT)


async def test_every_event_as_everybody(it: House, api: Api) -> None:
    wrong = []
    for event, cells in ROWS.items():
        for who, wanted in cells.items():
            if wanted != "shut":
                cast = await Cast.build(it, [who])
                wrong += [fault async for fault in faults(api, cast, event, who, wanted)]
    assert not wrong, "\n".join([f"{len(wrong)} cells are not as the table says:", *wrong])


async def faults(api: Api, cast: Cast, event: str, who: str, wanted: str) -> AsyncIterator[str]:
    """What is wrong with a cell."""
    visit = await cast.visit()
    await cast.house.connect(cast.door)
    message = {
        "deviceId": cast.door.id,
        "command": "unlock",
        "visitorId": visit.visitor.id,
        "note": "from the table",
    }
    async with socket(api, cast, who) as client:
        before = await cast.state()
        told = await client.ask(event, message)
        await cast.house.clock.settle()
        changed = await cast.state() != before
        answer = "ok" if told["success"] else told.get("code", "error")
        if answer != wanted:
            yield f"{event} as {who}: {answer} and not {wanted}: {told}"
        elif wanted != "ok":
            await client.hears("error", message=told["message"])
            if changed or any(
                mark in str(told) for mark in cast.marks - {cast.door.id, cast.door.name}
            ):
                yield f"{event} as {who}: refused, and yet something is told or changed: {told}"
        elif event in ANSWERS:
            await client.hears(ANSWERS[event], deviceId=cast.door.id)
        if wanted == "ok" and changed != (event in DOES):
            yield f"{event} as {who}: what changes is not what it says"


DOES = {"send_command", "visitor_approval", "visitor_rejection"}


def socket(api: Api, cast: Cast, who: str) -> DashboardSocket:
    if who not in DEVICES:
        return DashboardSocket(api.url, cast.token(who))
    client = DashboardSocket(api.url, cast.device_token(who))
    client.auth |= {"clientType": "device", "deviceId": cast.machine(who).id}
    return client

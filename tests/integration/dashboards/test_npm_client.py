"""The npm `socket.io-client`, as a dashboard and as a camera, on a daemon as it is started."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.pictures import data_url, jpeg
from tests.support.waiting import until

foreign = pytest.importorskip(
    "tests.support.foreign", reason="needs tests/foreign: the socket.io-client of others"
)
pytestmark = foreign.needs_node


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    running = Daemon(mqtt=False)
    try:
        yield running.start()
        running.check_log()
    finally:
        running.close()


@pytest.fixture
async def clients() -> AsyncIterator[Any]:
    foreign.install()
    async with foreign.Foreign() as made:
        yield made


class Person:
    """Somebody who has signed up over HTTP."""

    def __init__(self, daemon: Daemon, http: aiohttp.ClientSession, name: str) -> None:
        self._daemon, self._http, self.name = daemon, http, name
        self.token = ""

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        if self.token and not headers:
            headers = {"Authorization": f"Bearer {self.token}"}
        url = self._daemon.url + path
        async with self._http.post(url, json=body, headers=headers) as answer:
            envelope = await answer.json()
            assert envelope["success"], envelope
            return envelope["data"]

    async def sign_up(self) -> Person:
        body = {
            "username": self.name,
            "email": f"{self.name}@doors.test",
            "password": "long enough",
        }
        self.token = (await self.post("/api/auth/register", body))["token"]
        self._daemon.secrets.append(self.token)
        return self

    def auth(self) -> dict[str, Any]:
        return {"auth": {"clientType": "dashboard", "token": self.token}}


@pytest.fixture
async def people(daemon: Daemon) -> AsyncIterator[tuple[Person, Person]]:
    async with aiohttp.ClientSession() as http:
        number = len(daemon.secrets)
        made = [Person(daemon, http, f"{name}{number}") for name in ("ada", "bob")]
        yield await made[0].sign_up(), await made[1].sign_up()


async def test_a_visitor_is_let_in_from_a_web_page(
    daemon: Daemon, clients: Any, people: tuple[Person, Person]
) -> None:
    ada, bob = people
    described = {"name": "gate", "espId": f"CAM-{ada.name}", "deviceType": "esp32-cam"}
    made = await ada.post("/api/device/register", described)
    daemon.secrets.append(made["deviceToken"])
    for person in people:
        await clients.connect(person.name, daemon.url, person.auth())
    proof = {"clientType": "device", "deviceId": made["id"], "token": made["deviceToken"]}
    await clients.connect("camera", daemon.url, {"auth": proof})
    assert (await clients.hears(ada.name, "device_connected"))["deviceId"] == made["id"]

    clients.emit("camera", "bell-pressed", {"deviceId": made["id"]})
    ring = await clients.hears(ada.name, "new_visitor")
    upload = {"deviceId": made["id"], "image": data_url(jpeg())}
    headers = {"X-Device-Id": made["id"], "X-Device-Token": made["deviceToken"]}
    kept = await ada.post("/api/door/upload", upload, **headers)
    assert kept["visitorLogId"] == ring["visitorId"]
    shown = await clients.hears(ada.name, "new_visitor", count=2)
    assert shown["visitorId"] == ring["visitorId"] and shown["imageUrl"]

    wanted = {"visitorId": ring["visitorId"], "approved": True, "note": "come in"}
    answer = await clients.call(ada.name, "visitor_approval", wanted)
    assert answer["success"] is True
    granted = await clients.hears("camera", "access_granted")
    assert granted["visitorId"] == granted["_id"] == kept["visitorLogId"]
    processed = await clients.hears(ada.name, "visitor_processed")
    assert (processed["status"], processed["processedBy"]) == ("approved", ada.name)
    heard = [one["event"] for one in clients.of(bob.name, "heard")]
    assert set(heard) <= {"device_event"} and made["id"] not in str(clients.of(bob.name, "heard"))


async def test_a_page_is_cut_off_when_its_user_signs_out(
    daemon: Daemon, clients: Any, people: tuple[Person, Person]
) -> None:
    ada, bob = people
    for person in people:
        await clients.connect(person.name, daemon.url, person.auth())
    await ada.post("/api/auth/logout", {})
    await until(lambda: clients.of(ada.name, "disconnected"), "the page is cut off")
    assert clients.of(bob.name, "disconnected") == []
    told = await clients.refused("again", daemon.url, ada.auth())
    assert told == "Invalid token"


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ({}, "Authentication required"),
        ({"clientType": "dashboard"}, "Authentication required"),
        ({"token": "a.b.c"}, "Invalid token"),
    ],
)
async def test_a_refusal_is_in_the_words_that_pages_compare(
    daemon: Daemon, clients: Any, auth: dict[str, str], told: str
) -> None:
    assert await clients.refused("page", daemon.url, {"auth": auth}) == told

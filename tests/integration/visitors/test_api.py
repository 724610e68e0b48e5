"""Visitors over the real HTTP server, with a camera on its socket: WIRE sections 2 and 4."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.visitors.conftest import Camera, Person, Place
from tests.support.pictures import JPEG_1PX, data_url, gif, jpeg, png, segment, webp
from tests.support.waiting import until

HIDDEN = b"Exif\0\0MM\0*48.8584 N 2.2945 E"
UPLOAD = "/api/door/upload"


async def pair(place: Place) -> tuple[Person, Camera]:
    owner = await place.person("owner")
    return owner, await place.camera(owner)


async def test_ring_upload_approve_and_the_camera_hears(place: Place, folder: Path) -> None:
    owner, camera = await pair(place)
    await camera.connect()
    answer = await camera.say("bell-pressed", pressedBy="button", metadata={"location": "gate"})
    assert answer["success"] is True
    said = await camera.upload(jpeg([segment(0xE1, HIDDEN)]), message="a parcel")
    assert said.status == 201
    log = said.data
    assert (log["deviceName"], log["status"]) == ("gate", "pending")
    (row,) = (await owner.get("/api/door/logs", status="pending")).data
    assert row["_id"] == row["id"] == log["visitorLogId"]
    assert (row["bellPressed"], row["message"], row["image"]) == (True, "a parcel", log["image"])
    for url in (row["imageUrl"], log["imageUrl"]):
        picture = await place.nobody.get(url)
        assert (picture.status, picture.body) == (200, JPEG_1PX)
        assert picture.headers["Content-Type"] == "image/jpeg"
        assert picture.headers["X-Content-Type-Options"] == "nosniff"
    body = {"visitorLogId": log["visitorLogId"], "notes": "come in"}
    decided = await owner.post("/api/command/open", body)
    assert decided.status == 200
    assert (decided.data["decision"], decided.data["unlock"]["sent"]) == ("granted", True)
    unlock = await camera.hears("unlock_door")
    assert unlock["commandId"] == decided.data["unlock"]["command"]["commandId"]
    granted = await camera.hears("access_granted")
    assert granted["visitorId"] == granted["_id"] == log["visitorLogId"]
    assert (granted["approved"], granted["note"]) == (True, "come in")
    assert (await camera.hears("door_decision"))["adminUsername"] == "owner"
    again = await owner.post("/api/command/deny", body)
    assert (again.status, again.body["success"]) == (409, False)
    assert again.body["details"]["status"] == "granted"
    (shown,) = (await owner.get("/api/door/logs", status="approved")).data
    assert (shown["status"], shown["decidedByName"]) == ("granted", "owner")
    kept = [file for file in (folder / "state" / "snapshots").rglob("*") if file.is_file()]
    assert [file.read_bytes() for file in kept] == [JPEG_1PX]
    text = str(await place.events("visitor_arrived", "visitor_granted", "snapshot_captured"))
    assert camera.token not in text and "link=" not in text


async def test_fifty_approvals_and_fifty_denials_are_one_decision(place: Place) -> None:
    owner, camera = await pair(place)
    guest = await place.person("guest")
    share = {"user": "guest", "permission": "control"}
    assert (await owner.post(f"/api/device/{camera.id}/share", share)).status == 201
    await camera.connect()
    visitor = (await camera.upload(JPEG_1PX)).data["visitorLogId"]
    people = [owner, guest, place.operator]

    async def decide(number: int) -> int:
        act = "open" if number % 2 else "deny"
        person = people[number % 3]
        return (await person.post(f"/api/command/{act}", {"visitorLogId": visitor})).status

    statuses = await asyncio.gather(*(decide(number) for number in range(100)))
    assert sorted(statuses) == [200, *[409] * 99]
    (event,) = await place.events("visitor_granted", "visitor_denied")
    granted = event["eventType"] == "visitor_granted"
    await camera.hears("door_decision")
    status = (await owner.get(f"/api/door/logs/{visitor}")).data["status"]
    assert status == ("granted" if granted else "denied")
    refused = [e for e in await place.events("access_refused") if e["deviceId"] == camera.id]
    assert len(refused) == 99
    assert {e["payload"]["visitorId"] for e in refused} == {visitor}
    assert len(await place.events("command_queued")) == granted
    if granted:
        await camera.hears("unlock_door")
    assert len(camera.told("unlock_door")) == granted
    assert len(camera.told("access_granted") + camera.told("access_denied")) == 1


async def test_a_door_that_is_away_is_said_and_stays_shut(place: Place) -> None:
    owner, camera = await pair(place)
    visitor = (await camera.upload(JPEG_1PX)).data["visitorLogId"]
    decided = await owner.post("/api/command/open", {"visitorLogId": visitor})
    assert decided.status == 200
    assert decided.data["status"] == "granted"
    assert decided.data["unlock"]["code"] == "device_offline"
    assert "not unlocked" in decided.body["message"]
    await camera.connect()
    await camera.say("device_heartbeat", status="online")
    assert not camera.told("unlock_door")


async def test_a_decision_may_name_the_picture_it_is_on(place: Place) -> None:
    owner, camera = await pair(place)
    log = (await camera.upload(JPEG_1PX)).data
    body: dict[str, Any] = {"visitorLogId": log["visitorLogId"]}
    for image in ("0" * 64, None):
        said = await owner.post("/api/command/deny", {**body, "image": image})
        assert said.status == 409
    assert (await owner.post("/api/command/deny", {**body, "image": log["image"]})).status == 200


# uploads


async def test_an_upload_as_json_and_by_every_proof(place: Place) -> None:
    owner, camera = await pair(place)
    body = {"image": data_url(png(), "image/png"), "timestamp": "2026-11-23T12:00:00Z"}
    headers = {"X-Device-Id": camera.id, "X-Device-Token": camera.token}
    first = await place.nobody.post(UPLOAD, body, headers=headers)
    proof = {"deviceId": camera.id, "token": camera.token}
    jwt = (await place.nobody.post("/api/device/activate", proof)).body["token"]
    bearer = {"Authorization": f"Bearer {jwt}"}
    second = await place.nobody.post(UPLOAD, {**body, "deviceId": camera.id}, headers=bearer)
    in_body = {**body, "deviceId": camera.id, "deviceToken": camera.token}
    third = await place.nobody.post(UPLOAD, in_body)
    assert [said.status for said in (first, second, third)] == [201] * 3
    assert len({said.data["visitorLogId"] for said in (first, second, third)}) == 1
    assert len((await owner.get("/api/door/logs/pending")).data) == 1
    (event,) = await place.events("visitor_arrived")
    assert event["payload"]["claimedAt"] == "2026-11-23T12:00:00.000Z"


@pytest.mark.parametrize("content", [png(), gif(), webp(flags=0)], ids=["png", "gif", "webp"])
async def test_every_kind_of_picture_is_taken(place: Place, content: bytes) -> None:
    owner, camera = await pair(place)
    said = await camera.upload(content)
    assert said.status == 201
    shown = await owner.get(f"/api/door/picture/{camera.id}/{said.data['image']}")
    assert shown.body == content


@pytest.mark.parametrize(
    "content", [b"<svg/>", b"", b"\xff\xd8\xff\xe0 cut"], ids=["svg", "nothing", "cut short"]
)
async def test_what_is_no_picture_is_refused(place: Place, content: bytes) -> None:
    owner, camera = await pair(place)
    said = await camera.upload(content)
    assert (said.status, said.body["success"]) == (415, False)
    assert (await owner.get("/api/door/logs")).data == []


async def test_who_proves_nothing_uploads_nothing(place: Place) -> None:
    owner, camera = await pair(place)
    other = await place.camera(owner, "other")
    image = {"image": data_url(JPEG_1PX)}
    wrong = [
        ({}, {}, 401),
        ({"deviceId": camera.id}, {}, 401),
        ({"deviceId": camera.id, "deviceToken": other.token}, {}, 401),
        ({"deviceId": camera.id, "deviceToken": ""}, {}, 401),
        ({}, {"Authorization": "Bearer a.b.c"}, 401),
        ({}, {"X-Device-Id": camera.id, "X-Device-Token": "0" * 64}, 401),
        ({"deviceId": camera.id}, {"X-Device-Id": other.id, "X-Device-Token": other.token}, 403),
    ]
    for fields, headers, status in wrong:
        said = await place.nobody.post(UPLOAD, {**image, **fields}, headers=headers)
        assert (said.status, said.body["success"]) == (status, False), fields
    assert (await owner.post(UPLOAD, image)).status == 401
    assert (await owner.get("/api/door/logs")).data == []


async def test_bodies_that_cannot_be_read_are_refused_in_order(place: Place) -> None:
    _, camera = await pair(place)
    proof = {"X-Device-Id": camera.id, "X-Device-Token": camera.token}
    form = {**proof, "Content-Type": "multipart/form-data"}
    json = {**proof, "Content-Type": "application/json"}
    tries: list[tuple[dict[str, str], bytes, int]] = [
        (json, b"{", 400),
        (json, b"[]", 400),
        (json, b'{"image": 5}', 400),
        (json, b'{"image": "data:image/png,abc"}', 415),
        ({**proof, "Content-Type": "text/plain"}, b"hello", 415),
        (form, b"--x", 400),
        ({**form, "Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nrubbish", 400),
        (
            {**form, "Content-Type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nno file\r\n--x--\r\n',
            400,
        ),
    ]
    for headers, data, status in tries:
        said = await place.nobody.ask("POST", UPLOAD, data=data, headers=headers)
        assert said.status == status, data
        assert said.body["success"] is False


async def test_only_an_upload_may_be_large(place: Place) -> None:
    owner, camera = await pair(place)
    comment = segment(0xFE, b"x" * 65533)
    assert (await camera.upload(jpeg([comment] * 79))).status == 201
    assert (await camera.upload(jpeg([comment] * 82))).status == 413
    as_json = {"image": data_url(jpeg([comment] * 79)), "deviceId": camera.id}
    proof = {"X-Device-Id": camera.id, "X-Device-Token": camera.token}
    assert (await place.nobody.post(UPLOAD, as_json, headers=proof)).status == 201

    async def endless() -> Any:
        for _ in range(8):
            yield b" " * 1024 * 1024

    sent = {**proof, "Content-Type": "application/json"}
    too_long = await place.nobody.ask("POST", UPLOAD, data=endless(), headers=sent)
    assert (too_long.status, too_long.body["code"]) == (413, "too_large")
    ordinary = {"visitorLogId": "x" * 2 * 1024 * 1024}
    assert (await owner.post("/api/command/open", ordinary)).status == 413


async def test_too_many_uploads_are_asked_to_wait(place: Place) -> None:
    _, camera = await pair(place)
    said = [await camera.upload(JPEG_1PX) for _ in range(25)]
    assert {one.status for one in said} == {201, 429}
    assert said[-1].headers["Retry-After"] == "2"


# reading


async def test_a_camera_reads_its_own_with_the_jwt_of_its_activation(place: Place) -> None:
    owner, camera = await pair(place)
    other = await place.camera(owner, "other")
    mine, theirs = await camera.upload(JPEG_1PX), await other.upload(png())
    proof = {"deviceId": camera.id, "token": camera.token}
    jwt = (await place.nobody.post("/api/device/activate", proof)).body["token"]
    for headers in (
        {"Authorization": f"Bearer {jwt}"},
        {"X-Device-Id": camera.id, "X-Device-Token": camera.token},
    ):
        logs = await place.nobody.ask("GET", "/api/door/logs", headers=headers)
        assert [row["id"] for row in logs.data] == [mine.data["id"]]
        assert logs.body["pagination"]["totalItems"] == 1
        stats = await place.nobody.ask("GET", "/api/door/stats", headers=headers)
        assert (stats.data["total"], stats.data["pending"]) == (1, 1)
        found = f"/api/door/logs/{theirs.data['id']}"
        assert (await place.nobody.ask("GET", found, headers=headers)).status == 404
        decide = {"visitorLogId": mine.data["id"]}
        said = await place.nobody.post("/api/command/open", decide, headers=headers)
        assert said.status == 401
    assert (await place.nobody.get("/api/door/logs")).status == 401
    bad = {"Authorization": "Bearer a.b.c"}
    assert (await place.nobody.ask("GET", "/api/door/logs", headers=bad)).status == 401


async def test_a_stranger_sees_nothing_of_it(place: Place) -> None:
    owner, camera = await pair(place)
    stranger = await place.person("stranger")
    log = (await camera.upload(JPEG_1PX)).data
    none = "0" * 24
    pairs = [
        (f"/api/door/logs/{log['id']}", f"/api/door/logs/{none}"),
        (
            f"/api/door/picture/{camera.id}/{log['image']}",
            f"/api/door/picture/{none}/{'0' * 64}",
        ),
    ]
    for there, not_there in pairs:
        one, two = await stranger.get(there), await stranger.get(not_there)
        assert one.status == two.status == 404
        assert one.body["message"] == two.body["message"]
    for act in ("open", "deny"):
        path = f"/api/command/{act}"
        one = await stranger.post(path, {"visitorLogId": log["id"]})
        two = await stranger.post(path, {"visitorLogId": none})
        assert (one.status, one.body["message"]) == (two.status, two.body["message"])
        assert one.status == 404
    for path in ("/api/door/logs", "/api/door/logs/pending"):
        said = await stranger.get(path)
        assert (said.data, said.body["pagination"]["totalItems"]) == ([], 0)
    assert (await stranger.get("/api/door/stats")).data["total"] == 0
    assert (await owner.get("/api/door/stats")).data["total"] == 1
    for path in ("/api/camera/snapshot", "/api/camera/stream-url"):
        assert (await stranger.get(path, cameraId=camera.id)).status == 404


async def test_who_may_only_look_may_not_decide(place: Place) -> None:
    owner, camera = await pair(place)
    viewer = await place.person("viewer")
    share = {"user": "viewer", "permission": "view"}
    await owner.post(f"/api/device/{camera.id}/share", share)
    log = (await camera.upload(JPEG_1PX)).data
    assert (await viewer.get(f"/api/door/logs/{log['id']}")).status == 200
    said = await viewer.post("/api/command/open", {"visitorLogId": log["id"]})
    assert (said.status, said.body["code"]) == (403, "not_allowed")
    assert (await owner.get(f"/api/door/logs/{log['id']}")).data["status"] == "pending"


async def test_pages_and_filters(place: Place) -> None:
    owner, camera = await pair(place)
    made = [(await camera.upload(jpeg(mark=bytes((n,))))).data["id"] for n in range(3)]
    await owner.post("/api/command/deny", {"visitorLogId": made[1]})
    page = await owner.get("/api/door/logs", page=2, limit=2)
    assert [row["id"] for row in page.data] == [made[0]]
    assert page.body["pagination"] == {
        "currentPage": 2,
        "itemsPerPage": 2,
        "totalItems": 3,
        "totalPages": 2,
        "hasNextPage": False,
        "hasPreviousPage": True,
    }
    rejected = await owner.get("/api/door/logs", status="rejected", device="gate")
    assert [(row["id"], row["status"]) for row in rejected.data] == [(made[1], "denied")]
    assert len((await owner.get("/api/door/logs", status="all")).data) == 3
    assert (await owner.get("/api/door/logs", since="2100-01-01")).data == []
    for wrong in ({"status": "odd"}, {"since": "yesterday"}, {"limit": 0}, {"page": "x"}):
        assert (await owner.get("/api/door/logs", **wrong)).status == 400
    oldest_first = (await owner.get("/api/door/logs/pending")).data
    assert [row["id"] for row in oldest_first] == [made[0], made[2]]


@pytest.mark.parametrize("body", [{}, {"visitorLogId": 5}, {"visitorLogId": "x" * 99}, []])
async def test_a_decision_on_nothing_is_bad_input(place: Place, body: Any) -> None:
    assert (await place.operator.post("/api/command/open", body)).status == 400


# cameras


async def test_the_latest_picture_of_a_camera(place: Place) -> None:
    owner, camera = await pair(place)
    door = {"name": "door", "espId": "LOCK-1"}
    await owner.post("/api/device/register", door)
    (listed,) = (await owner.get("/api/camera/list")).data
    assert (listed["_id"], listed["cameraId"], listed["online"]) == (camera.id, camera.id, False)
    assert (await owner.get("/api/camera/snapshot", cameraId="gate")).status == 404
    await camera.connect()
    answer = await camera.say("snapshot", image=data_url(JPEG_1PX), quality="high")
    assert answer["success"] is True
    latest = (await owner.get("/api/camera/snapshot", cameraId=camera.id)).data
    assert (await place.nobody.get(latest["imageUrl"])).body == JPEG_1PX
    bad = await camera.say("snapshot", image="no base64!")
    assert bad["success"] is False
    assert len(await place.events("message_rejected")) == 1
    assert (await owner.get("/api/camera/snapshot")).status == 400


async def test_a_page_watches_a_camera_and_the_camera_knows(place: Place) -> None:
    owner, camera = await pair(place)
    await camera.connect()
    url = (await owner.get("/api/camera/stream-url", cameraId="gate")).data["streamUrl"]
    async with aiohttp.ClientSession() as page, page.get(url) as stream:
        kind = stream.headers["Content-Type"]
        assert (stream.status, kind) == (200, "multipart/x-mixed-replace; boundary=frame")
        start = await camera.hears("backend-command")
        assert start["command"] == "start_stream"
        for content in (JPEG_1PX, jpeg(mark=b"2")):
            await camera.say("frame", image=data_url(content), fps=5)
            assert await _part(stream.content) == content
    stopped = await until(lambda: camera.told("backend-command")[1:], "the camera may stop")
    assert stopped[0]["command"] == "stop_stream"
    broken = url[:-4] + "0000"
    assert (await place.nobody.get(broken)).status == 401
    assert (await place.nobody.get(url.partition("?")[0])).status == 400


async def _part(stream: aiohttp.StreamReader) -> bytes:
    """One picture of an MJPEG stream."""
    length = 0
    while line := (await asyncio.wait_for(stream.readline(), 10)).strip():
        name, _, value = line.partition(b": ")
        length = int(value) if name == b"Content-Length" else length
    picture = await stream.readexactly(length)
    assert await stream.readline() == b"\r\n"
    return picture


async def test_a_page_of_another_origin_may_ask(place: Place) -> None:
    owner, camera = await pair(place)
    origin = {"Origin": "http://page.test"}
    said = await owner.ask("GET", "/api/door/logs", headers=origin)
    assert said.headers["Access-Control-Allow-Origin"] == "http://page.test"
    log = (await camera.upload(JPEG_1PX)).data
    shown = await place.nobody.ask("GET", log["imageUrl"], headers=origin)
    assert shown.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_the_openapi_document_tells_of_uploads(place: Place) -> None:
    described = (await place.operator.get("/api/openapi.json")).body
    upload = described["paths"][UPLOAD]["post"]
    assert set(upload["requestBody"]["content"]) == {"multipart/form-data", "application/json"}

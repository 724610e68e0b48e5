"""No secret gets out: a whole scenario at the most talkative log level, and then everything that
the daemon said, wrote down or keeps to be read is searched for what was secret in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import pytest
import socketio

from tests.support.daemon import HAS_MOSQUITTO, Daemon, Enrolled, Reader
from tests.support.dashboards import DashboardSocket
from tests.support.devices import BareSocket
from tests.support.pictures import data_url, jpeg
from tests.support.waiting import until

READ = (
    "/api/logs?limit=1000",
    "/api/logs/activity?limit=1000",
    "/api/logs/visitors",
    "/api/events/export",
    "/api/events/verify",
    "/api/dashboard/stats",
    "/api/dashboard/activity?limit=1000",
    "/api/dashboard/devices-summary",
    "/api/dashboard/alerts?limit=500",
    "/api/health",
    "/api/health/detailed",
    "/api/health/devices",
    "/api/health/metrics",
    "/metrics",
    "/api/version",
    "/api/config",
    "/api/users",
    "/api/auth/me",
    "/api/auth/tokens",
    "/api/device",
    "/api/device/stats",
    "/api/shares",
    "/api/invitations",
    "/api/transfers",
    "/api/command/history",
    "/api/door/logs",
    "/api/door/logs/pending",
    "/api/door/stats",
    "/api/camera/list",
    "/api/openapi.json",
)
FIRST, SECOND, GUEST, WRONG, MISPLACED = (
    f"a secret word {name}" for name in ("once", "again", "of-a-guest", "guessed", "misplaced")
)


class Talk:
    """Speaks with the daemon, and keeps what must hold no secret and what is secret."""

    def __init__(self, daemon: Daemon, http: aiohttp.ClientSession) -> None:
        self._daemon, self._http = daemon, http
        self.said: dict[str, str] = {}
        self.secrets: dict[str, str] = {}

    def secret(self, name: str, value: str) -> str:
        self.secrets[name] = value
        return value

    async def ask(
        self, method: str, path: str, body: Any = None, token: str | None = None, **more: Any
    ) -> Any:
        """The answer's data. An error, and whatever is only read, is kept to be searched."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers.update(more.pop("headers", {}))
        sent = {"json": body} if body is not None else {}
        url = self._daemon.url + path
        async with self._http.request(method, url, headers=headers, **sent, **more) as answer:
            text = await answer.text()
        if answer.status >= 400 or (method == "GET" and path in READ):
            self.said[f"{method} {path} {answer.status} {len(self.said)}"] = text
        is_json = answer.headers["content-type"] == "application/json"
        return json.loads(text).get("data") if is_json else text

    async def refused(self, status: int, method: str, path: str, *args: Any, **more: Any) -> None:
        before = len(self.said)
        await self.ask(method, path, *args, **more)
        (key,) = list(self.said)[before:]
        assert f" {status} " in key, (key, self.said[key])


@pytest.fixture(scope="module")
def talkative() -> Iterator[Daemon]:
    daemon = Daemon(mqtt=HAS_MOSQUITTO, daemon_log_level="debug")
    try:
        yield daemon.start()
        daemon.check_log()
    finally:
        daemon.close()


@pytest.fixture
async def talk(talkative: Daemon) -> AsyncIterator[Talk]:
    async with aiohttp.ClientSession() as http:
        yield Talk(talkative, http)


async def test_no_secret_of_a_whole_scenario_gets_out(talkative: Daemon, talk: Talk) -> None:
    async with Reader(talkative) as stream:
        owner = await _people(talk)
        camera, heard = await _visit(talkative, talk, owner)
        await _share(talk, owner, camera)
        owner = await _renew(talkative, talk, owner, camera)
        talk.said["dashboard"] = json.dumps(heard)
        await until(
            lambda: any(one["eventType"] == "token_revoked" for one in stream.events),
            "the stream tells of the revoking",
        )
        talk.said["stream"] = json.dumps(stream.events)
    await _read_everything(talkative, talk, owner, camera)
    _add_hashes(talkative, talk)
    _nothing_gets_out(talk)


async def _people(talk: Talk) -> str:
    """Who signs up and in, rightly and wrongly; the owner's token."""
    for name, word in (("first", FIRST), ("guest", GUEST), ("wrong", WRONG), ("odd", MISPLACED)):
        talk.secret(f"password {name}", word)
    ada = {"username": "ada", "email": "ada@doors.test", "password": FIRST}
    talk.secret("signup", (await talk.ask("POST", "/api/auth/register", ada))["token"])
    await talk.refused(409, "POST", "/api/auth/register", ada)
    await talk.refused(401, "POST", "/api/auth/login", {**ada, "password": WRONG})
    await talk.refused(401, "POST", "/api/auth/login", {"username": "no", "password": WRONG})
    await talk.refused(400, "POST", "/api/auth/login", {**ada, "password": [MISPLACED]})
    broken = '{"username": "ada", "password": "' + MISPLACED
    kind = {"Content-Type": "application/json"}
    await talk.refused(400, "POST", "/api/auth/login", data=broken, headers=kind)
    await talk.refused(401, "GET", "/api/auth/me", token=talk.secret("junk", "a.b.c" * 9))
    token: str = (await talk.ask("POST", "/api/auth/login", ada))["token"]
    return talk.secret("login", token)


async def _visit(daemon: Daemon, talk: Talk, owner: str) -> tuple[Enrolled, list[Any]]:
    """A camera is registered and paired; it rings, uploads, and the visitor is let in."""
    named = await talk.ask("POST", "/api/auth/tokens", {"name": "script"}, owner)
    talk.secret("named token", named["token"])
    await talk.refused(403, "POST", "/api/device/register", {"name": "x"}, named["token"])
    body = {"name": "gate", "espId": "CAM-1", "deviceType": "esp32-cam"}
    made = await talk.ask("POST", "/api/device/register", body, owner)
    first = talk.secret("device token", made["deviceToken"])
    qr = await talk.ask("GET", f"/api/device/{made['id']}/qr", None, owner)
    (paired,) = parse_qs(urlsplit(qr["onboardingURL"]).query)["token"]
    camera = Enrolled(made["id"], "gate", "CAM-1", talk.secret("pairing token", paired))
    proof = {"deviceId": camera.id, "token": paired}
    wrong = {**proof, "token": talk.secret("wrong device token", "e" * 64)}
    await talk.refused(401, "POST", "/api/device/activate", wrong)
    await talk.refused(400, "POST", "/api/device/activate", {**proof, "token": [paired]})
    async with DashboardSocket(daemon.url, owner) as dashboard:
        await dashboard.ask("subscribe_device", {"deviceId": camera.id})
        await _by_query(daemon, camera)
        await talk.refused(401, "POST", "/api/device/validate", {**proof, "token": first})
        async with BareSocket(daemon, camera) as device:
            await _rings(talk, owner, camera, device)
        return camera, dashboard.heard


async def _by_query(daemon: Daemon, camera: Enrolled) -> None:
    """As small clients do: the token stands in the URL."""
    client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    query = f"clientType=device&deviceId={camera.id}&token={camera.token}"
    await client.connect(f"{daemon.url}?{query}", transports=["websocket"], wait_timeout=15)
    await client.disconnect()


async def _rings(talk: Talk, owner: str, camera: Enrolled, device: BareSocket) -> None:
    await device.ask("device_heartbeat", {"deviceId": camera.id, "batteryLevel": 80})
    await device.ask("device_heartbeat", {"deviceId": "f" * 24, "token": camera.token})
    await device.ask("bell-pressed", {"deviceId": camera.id})
    proof = {"deviceId": camera.id, "deviceToken": camera.token}
    await talk.refused(400, "POST", "/api/door/upload", {**proof, "image": 7})
    sent = {**proof, "image": data_url(jpeg())}
    kept = await talk.ask("POST", "/api/door/upload", sent)
    decided = {"visitorLogId": kept["visitorLogId"], "notes": "come in"}
    await talk.ask("POST", "/api/command/open", decided, owner)
    command = await device.command()
    await device.ack(command["commandId"], "executed")
    await talk.refused(409, "POST", "/api/command/deny", decided, owner)


async def _share(talk: Talk, owner: str, camera: Enrolled) -> None:
    """With somebody there, and by an invitation that makes an account."""
    sharing = f"/api/device/{camera.id}/share"
    terms = {"user": "bob@doors.test", "permission": "view"}
    code = (await talk.ask("POST", sharing, terms, owner))["code"]
    talk.secret("invitation", code)
    bob = {"username": "bob", "email": "bob@doors.test", "password": GUEST, "inviteCode": code}
    joined = await talk.ask("POST", "/api/auth/register", bob)
    assert joined["share"]["deviceId"] == camera.id
    guest = talk.secret("guest", joined["token"])
    await talk.refused(404, "POST", "/api/invitations/accept", {"code": code}, guest)
    eve = {**bob, "username": "eve", "email": "eve@doors.test"}
    await talk.refused(404, "POST", "/api/auth/register", eve)
    await talk.ask("POST", sharing, {"user": "bob", "permission": "control"}, owner)
    await talk.refused(403, "DELETE", f"/api/device/{camera.id}", None, guest)


async def _renew(daemon: Daemon, talk: Talk, owner: str, camera: Enrolled) -> str:
    """The password, the key and the device's token are changed; the owner's new token."""
    words = {"currentPassword": WRONG, "newPassword": talk.secret("password second", SECOND)}
    await talk.refused(400, "PUT", "/api/auth/password", words, owner)
    right = {**words, "currentPassword": FIRST}
    owner = talk.secret(
        "renewed", (await talk.ask("PUT", "/api/auth/password", right, owner))["token"]
    )
    assert (await daemon.cli("auth", "rotate-key", "--yes")).code == 0
    rotated = await talk.ask("POST", f"/api/device/{camera.id}/token/rotate", {}, owner)
    talk.secret("rotated", rotated["deviceToken"])
    await talk.ask("POST", f"/api/device/{camera.id}/token/revoke", {}, owner)
    await talk.ask("DELETE", "/api/auth/tokens/script", None, owner)
    old = {"deviceId": camera.id, "token": talk.secrets["rotated"]}
    await talk.refused(401, "POST", "/api/device/validate", old)
    return owner


async def _read_everything(daemon: Daemon, talk: Talk, owner: str, camera: Enrolled) -> None:
    client = daemon.client()
    for path in READ:
        await talk.ask("GET", path, None, owner if path != "/metrics" else None)
        if path not in ("/api/events/export", "/metrics", "/api/openapi.json"):
            talk.said[f"operator {path}"] = json.dumps((await client.get(path)).data)
    for part in ("", "/shares", "/access"):
        answer = await client.get(f"/api/device/{camera.id}{part}")
        talk.said[f"operator device{part}"] = json.dumps(answer.data)
    for words in (["events"], ["status"], ["ls"], ["visitors", "ls"], ["user", "ls"]):
        done = await daemon.cli("-o", "json", *words)
        assert done.code == 0, done
        talk.said[f"cli {words}"] = done.out + done.err
    talk.said["log"] = daemon.log_text
    assert '"debug"' in talk.said["log"] or " debug " in talk.said["log"], "it is not talkative"


def _add_hashes(daemon: Daemon, talk: Talk) -> None:
    """What is kept of the secrets is secret as well, and so is the signing key."""
    for name, value in list(talk.secrets.items()):
        talk.secret(f"hash of {name}", hashlib.sha256(value.encode()).hexdigest())
    with sqlite3.connect(daemon.state_dir / "doorlock.db") as store:
        kept = "\n".join(store.iterdump())
    hashes = set(re.findall(r"\$argon2id\$[^'\"\s]+", kept))
    assert len(hashes) >= 2, "the passwords are kept as argon2id"
    assert talk.secrets["hash of rotated"] not in kept, "it was revoked"
    plain = [name for name, value in talk.secrets.items() if "hash" not in name and value in kept]
    assert plain == [], "the store holds a secret itself"
    for number, found in enumerate(sorted(hashes)):
        talk.secret(f"argon2 {number}", found)


def _nothing_gets_out(talk: Talk) -> None:
    events = talk.said["stream"]
    for kind in ("login_failed", "visitor_granted", "token_rotated", "user_created"):
        assert kind in events, f"the scenario has a {kind}"
    leaks = [
        f"{name} in {where}"
        for where, text in talk.said.items()
        for name, value in talk.secrets.items()
        if value in text or quote(value) in text or "$argon2" in text
    ]
    assert leaks == []

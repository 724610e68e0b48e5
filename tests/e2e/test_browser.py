"""The web clients that exist, as WIRE section 6 has them: sign up, register, pair, ring, upload,
approve, `access_granted` seen by the camera, the admin's list updated live.

Once with the npm `socket.io-client`, and once as two pages in a real Chromium, which is served from
another origin than the daemon's and so asks it for leave by CORS.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web

from tests.support.daemon import Daemon
from tests.support.foreign import FOLDER, Foreign, install, needs_node
from tests.support.pictures import data_url, jpeg
from tests.support.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: a page in a browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",  # else a headless browser ends when the page is loaded
)
PATIENCE = 40.0

MakeDaemon = Callable[..., Daemon]
pytestmark = needs_node


class Site:
    """Serves the pages on an origin of its own, and keeps what they report."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.url = ""

    async def _report(self, request: web.Request) -> web.Response:
        self.reports.append(json.loads(await request.text()))
        return web.Response(status=204)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Site]:
        app = web.Application()
        app.router.add_post("/report", self._report)
        for path in (FOLDER / "pages").iterdir():
            app.router.add_get(f"/{path.name}", _file(path))
        client = FOLDER / "node_modules" / "socket.io-client" / "dist" / "socket.io.min.js"
        app.router.add_get("/socket.io.js", _file(client))
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            place = web.TCPSite(runner, "127.0.0.1", 0)
            await place.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    def of(self, who: str, what: str) -> list[dict[str, Any]]:
        return [one for one in self.reports if (one["who"], one["what"]) == (who, what)]

    async def sees(self, who: str, what: str, **fields: Any) -> dict[str, Any]:
        """The first report that says so. A page that failed is an AssertionError."""

        def there() -> dict[str, Any] | None:
            failed = [one for one in self.reports if one["what"] in ("failed", "refused")]
            assert what == "failed" or not failed, failed
            found = (one for one in self.of(who, what) if fields.items() <= one.items())
            return next(found, None)

        told = f"the {who} page reports {what} {fields}"
        found = await until(there, told, seconds=PATIENCE)
        assert found is not None
        return found


def _file(path: Path) -> Callable[[web.Request], Any]:
    async def send(request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    return send


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[None]:
    """Chromium, with a profile of its own, showing the page at `url`."""
    assert CHROMIUM is not None
    profile = tempfile.mkdtemp(prefix="dl")
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={profile}",
        url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": profile},
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


@needs_chromium
async def test_pages_of_another_origin_do_it_all(new_daemon: MakeDaemon) -> None:
    install()
    async with Site().serving() as site:
        daemon = new_daemon(mqtt=False, listen_cors_origins=site.url).start()
        assert site.url != daemon.url
        async with browser(f"{site.url}/admin.html?api={daemon.url}"):
            assert (await site.sees("admin", "qr", name="gate"))["width"] > 20
            activated = await site.sees("camera", "activated", activated=True)
            assert (activated["name"], activated["room"]) == ("gate", "Hall")
            uploaded = await site.sees("camera", "uploaded", status="pending")
            assert (await site.sees("admin", "picture"))["width"] == 64
            await site.sees("camera", "access_granted", mine=True, note="come in")
            logs = await site.sees("camera", "logs")
            assert logs["ids"] == [uploaded["visitorLogId"]]
            await site.sees("admin", "visitors", rows=["gate approved"])
            for rows in (["gate offline"], ["gate online"]):
                await site.sees("admin", "devices", rows=rows)
            await site.sees("admin", "visitors", rows=["gate pending"])
        assert not site.of("camera", "access_denied")


@needs_chromium
async def test_a_page_of_an_origin_that_is_not_configured_gets_nowhere(
    new_daemon: MakeDaemon,
) -> None:
    install()
    async with Site().serving() as site:
        daemon = new_daemon(mqtt=False, listen_cors_origins="http://127.0.0.1:1").start()
        async with browser(f"{site.url}/admin.html?api={daemon.url}"):
            failed = await site.sees("admin", "failed")
        assert "Failed to fetch" in failed["message"]
        assert site.of("admin", "connected") == []
        users = (await daemon.client().get("/api/users")).data
        assert "ada" not in [one["username"] for one in users]


class Web:
    """The admin site's and the camera app's own HTTP calls."""

    def __init__(self, daemon: Daemon, http: aiohttp.ClientSession) -> None:
        self._daemon, self._http = daemon, http
        self.token = ""

    async def ask(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> dict[str, Any]:
        bearer = self.token if token is None else token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        url = self._daemon.url + path
        async with self._http.request(method, url, json=body, headers=headers) as answer:
            envelope: dict[str, Any] = await answer.json()
        assert envelope["success"], envelope
        return envelope


async def _paired(daemon: Daemon, site: Web) -> tuple[dict[str, str], str]:
    """Sign up, register a camera, and activate it by what its QR says: its proof and its JWT."""
    ada = {"username": "ada", "email": "ada@doors.test", "password": "four plain words here"}
    site.token = (await site.ask("POST", "/api/auth/register", ada))["data"]["token"]
    camera = {"name": "gate", "espId": "CAM-1", "deviceType": "esp32-cam"}
    made = (await site.ask("POST", "/api/device/register", camera))["data"]
    qr = (await site.ask("GET", f"/api/device/{made['id']}/qr"))["data"]
    fields = {name: one for name, (one,) in parse_qs(urlsplit(qr["onboardingURL"]).query).items()}
    proof = {"deviceId": fields["deviceId"], "token": fields["token"]}
    activated = await site.ask("POST", "/api/device/activate", proof, token="")
    daemon.secrets += [site.token, made["deviceToken"], proof["token"], activated["token"]]
    return proof, activated["token"]


async def test_the_npm_client_does_it_all(new_daemon: MakeDaemon) -> None:
    install()
    daemon = new_daemon(mqtt=False).start()
    async with aiohttp.ClientSession() as http, Foreign() as clients:
        site = Web(daemon, http)
        proof, jwt = await _paired(daemon, site)
        (row,) = (await site.ask("GET", "/api/device"))["data"]
        assert {"_id", "id", "name", "espId", "status", "online", "lockState"} <= row.keys()
        assert row["online"] is False
        dashboard = {"auth": {"clientType": "dashboard", "token": site.token}}
        await clients.connect("admin", daemon.url, dashboard)
        await clients.connect("camera", daemon.url, {"auth": {"clientType": "device", **proof}})
        assert (await clients.hears("admin", "device_connected"))["deviceId"] == row["_id"]
        await until(
            lambda: [one for one in clients.heard("admin", "device_status") if one["online"]],
            "the admin's row is updated",
        )

        clients.emit("camera", "bell-pressed", {"deviceId": row["_id"]})
        rung = await clients.hears("admin", "new_visitor")
        sent = {"deviceId": row["_id"], "deviceToken": proof["token"], "image": data_url(jpeg())}
        kept = (await site.ask("POST", "/api/door/upload", sent, token=""))["data"]
        assert kept["visitorLogId"] == rung["visitorId"] == rung["_id"]
        (seen,) = (await site.ask("GET", "/api/door/logs", token=jwt))["data"]
        assert seen["_id"] == kept["visitorLogId"]
        await site.ask("POST", "/api/command/open", {"visitorLogId": kept["visitorLogId"]})

        granted = await clients.hears("camera", "access_granted")
        assert granted["visitorId"] == granted["_id"] == kept["visitorLogId"]
        processed = await clients.hears("admin", "visitor_processed")
        assert (processed["visitorId"], processed["status"]) == (kept["visitorLogId"], "approved")
        assert clients.heard("camera", "access_denied") == []

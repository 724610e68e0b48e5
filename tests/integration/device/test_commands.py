"""`doorlock simulate` and `doorlock device run` as processes, and a fleet in this one."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from doorlock.device.fleet import fleet, run_fleet
from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from tests.integration.device.conftest import (
    DEVICE_ID,
    TOKEN,
    Broker,
    Daemon,
    eventually,
    make_command,
)

APP = """
import sys, typer
from doorlock.cli.commands import device, simulate
from doorlock.errors import DoorlockError
app = typer.Typer()
app.command()(simulate.simulate)
app.add_typer(device.app, name="device")
try:
    app()
except DoorlockError as error:
    sys.exit(f"{error.message}: {error.hint}")
"""


class Run:
    """A command that runs; `lines` is what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[list[str]] = []

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n").split("\t"))

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 10)


@asynccontextmanager
async def running(*arguments: object, said: bytes = b"") -> AsyncIterator[Run]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        APP,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(said)
    process.stdin.close()
    run = Run(process)
    reading = asyncio.ensure_future(run.read())
    try:
        yield run
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN + "\n")
    return file


async def test_simulate_one_that_exists(daemon: Daemon, token_file: Path) -> None:
    command = make_command()
    options = ("--device-id", DEVICE_ID, "--token-file", token_file, "--url", daemon.url)
    async with running("simulate", *options) as run:
        await eventually(lambda: run.lines)
        await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))
        assert await run.stop() == 0
    assert run.lines == [[DEVICE_ID, DEVICE_ID, "websocket"]]


async def test_simulate_over_both_with_the_token_from_stdin(daemon: Daemon, broker: Broker) -> None:
    options = ("--device-id", DEVICE_ID, "--token-file", "-")
    where = ("--url", daemon.url, "--mqtt", broker.url)
    async with running("simulate", *options, *where, said=TOKEN.encode() + b"\n") as run:
        await eventually(lambda: len(run.lines) == 2)
        assert {line[2] for line in run.lines} == {"websocket", "mqtt"}


async def test_simulate_registers_and_removes(daemon: Daemon) -> None:
    folder = Path(tempfile.mkdtemp(prefix="dl"))
    calls: list[tuple[str, str, Any]] = []
    try:
        async with local_api(folder / "s", daemon.url, calls):
            options = ("--count", 2, "--name", "door", "--socket", folder / "s", "--remove")
            async with running("simulate", *options) as run:
                await eventually(lambda: len(run.lines) == 2)
                assert await run.stop() == 0
    finally:
        shutil.rmtree(folder)
    assert {line[0] for line in run.lines} == {"door-1", "door-2"}
    posts = [body["name"] for method, path, body in calls if method == "POST"]
    assert posts == ["door-1", "door-2"]
    removed = {path for method, path, _ in calls if method == "DELETE"}
    assert removed == {f"/api/device/{n:024x}" for n in (1, 2)}


async def test_a_fault_with_a_wrong_name_is_explained(token_file: Path) -> None:
    options = ("--device-id", DEVICE_ID, "--token-file", token_file, "--fault", "jamm")
    async with running("simulate", *options) as run:
        assert await asyncio.wait_for(run.process.wait(), 20) == 1
        assert run.process.stderr is not None
        assert b"'jamm' is not a fault" in await run.process.stderr.read()


async def test_the_agent_on_a_mock_pin(daemon: Daemon, token_file: Path, tmp_path: Path) -> None:
    command = make_command("lock_door")
    options = ("--device-id", DEVICE_ID, "--token-file", token_file, "--url", daemon.url)
    async with running("device", "run", *options, "--mock", "--state-dir", tmp_path / "s") as run:
        await eventually(lambda: len(run.lines) == 2)
        assert "simulated" in run.lines[0][0]
        await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))
        assert await run.stop() == 0
    assert command["commandId"] in (tmp_path / "s" / "journal.jsonl").read_text()


async def test_a_killed_agent_never_acts_twice(
    daemon: Daemon, token_file: Path, tmp_path: Path
) -> None:
    command, state = make_command(duration=30_000), tmp_path / "s"
    options = ("--device-id", DEVICE_ID, "--token-file", token_file, "--url", daemon.url)
    arguments = ("device", "run", *options, "--mock", "--state-dir", state)
    async with running(*arguments) as run:
        await eventually(lambda: len(run.lines) == 2)
        await daemon.send(command)
        await eventually(lambda: "executing" in daemon.acks(command["commandId"]))
        run.process.kill()
        await run.process.wait()
    async with running(*arguments) as run:
        await eventually(lambda: "failed" in daemon.acks(command["commandId"]))
        await daemon.send(command)
        await eventually(lambda: daemon.acks(command["commandId"]).count("failed") >= 2)
    moves = [json.loads(line) for line in (state / "actuations.jsonl").read_text().splitlines()]
    assert [m["action"] for m in moves if m["commandId"] == command["commandId"]] == ["unlock"]


async def test_a_fleet_runs_in_one_loop(
    daemon: Daemon, make_spec: Callable[..., DeviceSpec], tmp_path: Path
) -> None:
    specs = [
        make_spec(url=daemon.url, device_id=f"{n:024x}", state_dir=tmp_path / str(n))
        for n in range(20)
    ]
    async with fleet(specs) as devices:
        for device in devices:
            await device.connected("websocket")
    assert len(daemon.proofs) == 20


async def test_run_fleet_ends_when_it_is_told(
    daemon: Daemon, make_spec: Callable[..., DeviceSpec]
) -> None:
    stop, running_devices = asyncio.Event(), list[Device]()
    task = asyncio.ensure_future(
        run_fleet([make_spec(url=daemon.url)], started=running_devices.extend, stop=stop)
    )
    await eventually(lambda: running_devices and running_devices[0].is_connected("websocket"))
    stop.set()
    await asyncio.wait_for(task, 5)
    await eventually(lambda: daemon.sid is None)


@asynccontextmanager
async def local_api(
    socket: Path, url: str, calls: list[tuple[str, str, Any]]
) -> AsyncIterator[None]:
    """As much of the daemon's local API as registering needs."""
    numbers = iter(range(1, 100))

    async def answer(request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        calls.append((request.method, request.path, body))
        data: Any = {"version": "0", "api": 1, "url": url, "mqttUrl": None}
        if request.method == "POST":
            data = {"id": f"{next(numbers):024x}", "deviceToken": TOKEN}
        return web.json_response({"success": True, "message": "", "data": data})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()

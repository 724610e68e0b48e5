"""A daemon in a process of its own, with as many devices as a benchmark wants."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.devices import Device as Kept
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.users import Role, User
from doorlock.daemon.stores.sqlite import SqliteStore
from doorlock.times import utc_now
from tests.bench.wire import Device, Http

_PATIENCE = 20.0
_OPENING = 64  # connections that are made at the same time


@dataclass(frozen=True, slots=True)
class Daemon:
    """How to reach it, and the id and token of each of its devices."""

    pid: int
    socket: Path
    url: str
    known: Sequence[tuple[str, str]]

    def rss(self) -> int:
        """Its resident memory in bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def connect(self, begin: int, end: int) -> list[Device]:
        """Devices `begin` to `end` on their sockets."""
        devices = [Device(self.url, *who) for who in self.known[begin:end]]
        for at in range(0, len(devices), _OPENING):
            await asyncio.gather(*(device.open() for device in devices[at : at + _OPENING]))
        return devices


@asynccontextmanager
async def daemon(devices: int) -> AsyncIterator[Daemon]:
    """A running daemon that knows `devices`, named door-0 and so on."""
    with tempfile.TemporaryDirectory(prefix="dl") as folder:
        home = Path(folder)
        known = await _seed(home / "doorlock.db", devices)
        process = await asyncio.create_subprocess_exec(
            *_command(home), stdin=asyncio.subprocess.DEVNULL
        )
        try:
            url = await _answers(home / "s", process)
            yield Daemon(process.pid, home / "s", url, known)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _command(home: Path) -> list[str]:
    settings = {
        "listen.port": "0",
        "mqtt.embedded": "off",
        "daemon.log_level": "warning",
    }
    flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    where = ["--socket", str(home / "s"), "--state-dir", str(home)]
    return [sys.executable, "-m", "doorlock.daemon", *where, *flags]


async def _seed(path: Path, devices: int) -> list[tuple[str, str]]:
    """Put an operator and devices of theirs into the store, and return the devices' credentials."""
    store = SqliteStore(path)
    await store.open()
    now = utc_now()
    user = User(new_id(), "bench", now, role=Role.SUPER_ADMIN, unix_uid=os.geteuid())
    known = [(new_id(), tokens.new_token()) for _ in range(devices)]
    try:
        await store.add_user(user)
        for at in range(0, devices, 500):
            await asyncio.gather(
                *(
                    store.add_device(_device(at + number, *who, user))
                    for number, who in enumerate(known[at : at + 500])
                )
            )
    finally:
        await store.close()
    return known


def _device(number: int, device_id: str, token: str, owner: User) -> Kept:
    return Kept(
        id=device_id,
        name=f"door-{number}",
        esp_id=f"ESP32-{number}",
        owner_id=owner.id,
        created_at=owner.created_at,
        updated_at=owner.created_at,
        activated_at=owner.created_at,
        token_hash=tokens.hashed(token),
    )


async def _answers(socket: Path, process: asyncio.subprocess.Process) -> str:
    """Where the daemon's TCP listener is, as soon as it says so."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while asyncio.get_running_loop().time() < deadline and process.returncode is None:
        try:
            asked = await Http.over(socket)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        with closing(asked):
            return str((await asked.get("/api/version"))["url"])
    raise RuntimeError("the daemon did not start")


@contextmanager
def closed(devices: Sequence[Device]):  # type: ignore[no-untyped-def]
    """Close the devices on leaving."""
    try:
        yield devices
    finally:
        for device in devices:
            device.close()

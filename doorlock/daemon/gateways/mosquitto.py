"""The embedded broker: Mosquitto as a child of the daemon, configured, watched and ended by it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from doorlock.daemon.gateways.dynsec_file import DAEMON_NAME, DynsecFile
from doorlock.daemon.gateways.mosquitto_conf import embedded_conf
from doorlock.daemon.gateways.mqtt_link import Address

log = structlog.get_logger("doorlock.mosquitto")

HOW_TO_GET = "Install Mosquitto 2.0 or newer (apt install mosquitto), then restart the daemon."
_PLUGIN_NAME = "mosquitto_dynamic_security.so"
_PLUGIN_FOLDERS = ("lib/*-linux-*", "lib64", "lib", "lib/mosquitto")
_MORE_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin")
_END_SECONDS = 3.0
_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY_SECONDS = 0.2, 30.0, 30.0

# Run before the broker in its process: asks the kernel to end it with the daemon, even when the
# daemon is killed, and leaves at once if the daemon was gone by then. Not by SIGTERM, which
# Mosquitto forgets while it starts; it has nothing to write down that it has not written already.
_WITH_ITS_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) or sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """Where Mosquitto's two halves are."""

    program: Path
    plugin: Path


def find_mosquitto(search: str | None) -> Installed | None:
    """Mosquitto on the path `search`, or where daemons are kept; None without its plugin."""
    folders = [*(search or os.defpath).split(os.pathsep), *_MORE_PATH]
    found = shutil.which("mosquitto", path=os.pathsep.join(folders))
    if found is None:
        return None
    program = Path(found)
    prefixes = (program.resolve().parent.parent, Path("/usr"), Path("/usr/local"))
    for prefix in prefixes:
        for folder in _PLUGIN_FOLDERS:
            for plugin in sorted(prefix.glob(f"{folder}/{_PLUGIN_NAME}")):
                return Installed(program, plugin)
    return None


class Mosquitto:
    """The child. It is restarted, with pauses that grow, whenever it ends by itself.

    The daemon's own password is made anew at every start and kept nowhere but in the plugin's
    hashed file and in memory. Nothing is written down of sessions or messages: a command must not
    outlive the broker.
    """

    def __init__(
        self, installed: Installed, folder: Path, host: str, port: int, *, legacy: bool
    ) -> None:
        self._installed, self._folder, self._legacy = installed, folder, legacy
        self.host, self._wanted_port = host, port
        self._password = secrets.token_hex(32)
        self._ready = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self.port = port
        self.restarts = 0
        self.last_error: str | None = None

    @property
    def users(self) -> Path:
        return self._folder / "dynsec.json"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    async def start(self) -> None:
        """Begin to run it; does not wait until it listens."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        await asyncio.to_thread(end_orphan, self._pid_file, self._config)
        DynsecFile(self.users).admit_daemon(self._password, legacy=self._legacy)
        self._watch = asyncio.create_task(self._keep_running(), name="mosquitto")

    async def stop(self) -> None:
        """End it: politely, then not."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._pid_file.unlink(missing_ok=True)

    async def address(self) -> Address:
        """Where the daemon reaches it, once it listens: never before, since until then anybody's
        broker could be on that port."""
        await self._ready.wait()
        return Address(local(self.host), self.port, DAEMON_NAME, self._password, DAEMON_NAME)

    @property
    def _config(self) -> Path:
        return self._folder / "mosquitto.conf"

    @property
    def _pid_file(self) -> Path:
        return self._folder / "mosquitto.pid"

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            began = loop.time()
            try:
                await self._run_once()
            except OSError as error:
                self._failed(error.strerror or "it cannot be started")
            pause = _FIRST_PAUSE if loop.time() - began > _STEADY_SECONDS else pause
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)
            self.restarts += 1

    async def _run_once(self) -> None:
        self._choose_port()
        plugin, as_root = self._installed.plugin, os.geteuid() == 0
        text = embedded_conf(self.host, self.port, plugin, self.users, as_root=as_root)
        self._config.write_text(text, "utf-8")
        process = self._process = await asyncio.create_subprocess_exec(
            *_command(self._installed.program, self._config),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env={"LANG": "C"},
            start_new_session=True,
        )
        try:
            self._pid_file.write_text(str(process.pid), "ascii")
            await self._listen_to(process)
            code = await process.wait()
            self._failed(self.last_error or f"it ended with code {code}")
        finally:
            self._ready.clear()
            await _end(process)
            self._process = None

    def _choose_port(self) -> None:
        if self._wanted_port == 0 and self.port == 0:
            with socket.socket() as probe:
                probe.bind((local(self.host), 0))
                self.port = probe.getsockname()[1]

    async def _listen_to(self, process: Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode("utf-8", "replace").strip()
            if text.startswith("mosquitto version ") and text.endswith(" running"):
                self._ready.set()
                self.last_error = None
                log.info("the embedded broker listens", host=self.host, port=self.port)
            elif text.startswith("Error: "):
                self.last_error = text.removeprefix("Error: ").rstrip(".")
                log.error("mosquitto", says=text)
            else:
                log.debug("mosquitto", says=text)

    def _failed(self, error: str) -> None:
        if not self.is_ready and self._wanted_port == 0:
            self.port = 0  # somebody else was quicker to take it
        self.last_error = error
        log.warning("the embedded broker ended", error=error)


def local(host: str) -> str:
    """Where a listener on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _command(program: Path, config: Path) -> Sequence[str]:
    broker = [str(program), "-c", str(config)]
    if sys.platform != "linux":
        return broker
    return [sys.executable, "-I", "-S", "-c", _WITH_ITS_PARENT, str(os.getpid()), *broker]


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def end_orphan(pid_file: Path, config: Path) -> None:
    """End a broker that an earlier daemon, killed at once, left on our configuration. Blocks."""
    try:
        pid = int(pid_file.read_text("ascii"))
    except (OSError, ValueError):
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _END_SECONDS
        with contextlib.suppress(ProcessLookupError):
            if _runs(pid, config):
                log.info("ending the broker that an earlier daemon left", pid=pid)
                os.kill(pid, sign)
        while _runs(pid, config) and time.monotonic() < deadline:
            time.sleep(0.02)
    pid_file.unlink(missing_ok=True)


def _runs(pid: int, config: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(config) in arguments

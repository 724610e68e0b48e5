"""A real daemon, real simulated devices and the real program, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from doorlock.cli.stage import Stage
from doorlock.client import Client
from doorlock.errors import DaemonUnreachable

PROGRAM = [sys.executable, "-m", "doorlock.cli.app"]
Done = subprocess.CompletedProcess[str]


class House:
    """A daemon on a stage, and what a person at its door would type."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.socket = stage.folder / "d.sock"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DOORLOCK_")},
            "DOORLOCK_SOCKET": str(self.socket),
        }
        config = stage.folder / "doorlock.toml"
        config.write_text('[listen]\nport = 0\n\n[mqtt]\nembedded = "off"\n')
        where = ["--config", str(config), "--socket", str(self.socket)]
        stage.start("daemon", "doorlock.daemon", [*where, "--state-dir", str(stage.folder / "s")])
        self.url = str(stage.until("the daemon", self._version)["url"])

    def _version(self) -> dict[str, Any] | None:
        try:
            version: dict[str, Any] = Client([self.socket]).get("/api/version").data
            return version
        except DaemonUnreachable:
            return None

    def doorlock(self, *arguments: str, **options: Any) -> Done:
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
            **options,
        )

    def json(self, *arguments: str) -> Any:
        return json.loads(self.doorlock(*arguments, "-o", "json").stdout)

    def register(self, name: str) -> str:
        """A new device's id; its token lies in the file `NAME.token`."""
        token = str(self.stage.folder / f"{name}.token")
        made = self.json("register", name, "--esp-id", name, "--token-file", token)
        return str(made["data"]["id"])

    def simulate(self, name: str, *faults: str) -> None:
        """A new device that is connected."""
        ident = self.register(name)
        token = str(self.stage.folder / f"{name}.token")
        arguments = ["simulate", "--device-id", ident, "--token-file", token, "--url", self.url]
        arguments += ["--transport", "websocket"]
        for fault in faults:
            arguments += ["--fault", fault]
        self.stage.start(name, "doorlock.cli.app", arguments)
        assert self.doorlock("wait", name, "--until", "online", "--timeout", "20s").returncode == 0


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with Stage() as stage:
        yield House(stage)

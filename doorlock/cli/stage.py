"""Programs that run for a while in a throw-away folder, and are gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from doorlock.cli.failures import CliFailure

PATIENCE = 30.0
GOODBYE = 8.0
T = TypeVar("T")


class Stage:
    """Start programs on it; leaving it ends them, the last first, and removes the folder.

    They run in sessions of their own, so that ctrl-c reaches this process alone and the order of
    ending is kept.
    """

    def __enter__(self) -> Stage:
        # Short, because the path of a socket in it must be.
        self.folder = Path(tempfile.mkdtemp(prefix="doorlock-"))
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._before = {
            number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)
        }
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # A second ctrl-c must not leave anything behind.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _, process in reversed(self._running):
            end(process)
        shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in {**self._before, signal.SIGINT: interrupt}.items():
            signal.signal(number, handler)

    def start(self, name: str, module: str, arguments: Sequence[str]) -> None:
        """Run a module of ours; what it prints goes to a log in the folder."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("DOORLOCK_")}
        env["TMPDIR"] = str(self.folder)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )
        self._running.append((name, process))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def until(self, what: str, found: Callable[[], T | None]) -> T:
        """What `found` returns once it is not None. Raises CliFailure when a program ended before,
        or when it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while (result := found()) is None:
            for name, process in self._running:
                if process.poll() is not None:
                    raise CliFailure("unexpected", f"the {name} ended early", self._last_word(name))
            if time.monotonic() > deadline:
                said = f"{what} took longer than {PATIENCE:g}s"
                raise CliFailure("unexpected", said, self._last_word(self._running[-1][0]))
            time.sleep(0.02)
        return result

    def _last_word(self, name: str) -> str | None:
        lines = self.log(name).read_text(errors="replace").strip().splitlines()
        return f"it said: {lines[-1]}" if lines else None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and whatever it has started: asked first, then made to."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GOODBYE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)

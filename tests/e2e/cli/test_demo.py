"""The tour: it runs, it ends by itself without a terminal, and it leaves nothing behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import PROGRAM


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its folders; short, because a socket's path must be."""
    import tempfile

    short = Path(tempfile.mkdtemp(prefix="dl"))
    monkeypatch.setenv("TMPDIR", str(short))
    return short


def left_behind(folder: Path) -> list[str]:
    """Folders and processes that outlived the demo."""
    files = [str(path) for path in folder.iterdir()]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command:
            files.append(command.decode(errors="replace"))
    return files


def test_without_a_terminal_it_ends_by_itself(folder: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "demo"], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "front: executed in " in done.stdout
    assert "command_queued" in done.stdout and "command_executed" in done.stdout
    assert left_behind(folder) == []
    folder.rmdir()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_on_a_terminal_it_stays_until_it_is_told_to_go(
    folder: Path, number: signal.Signals, code: int
) -> None:
    ours, theirs = pty.openpty()
    demo = subprocess.Popen([*PROGRAM, "demo"], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen = b""
    while b"Live from here" not in screen:
        screen += os.read(ours, 65536)
    assert demo.poll() is None
    demo.send_signal(number)
    assert demo.wait(30) == code
    os.close(ours)
    assert left_behind(folder) == []
    folder.rmdir()


def test_what_goes_wrong_is_told_and_cleaned_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder so deep that the socket's path is too long for the daemon to listen at.
    deep = folder / ("x" * 120)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    done = subprocess.run(
        [*PROGRAM, "demo"], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 1
    assert "doorlock: " in done.stderr and "Traceback" not in done.stderr
    assert left_behind(deep) == []
    deep.rmdir()
    folder.rmdir()

"""What a newcomer sees: `doorlock demo`, and the two programs out of an installed wheel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.daemon import DOORLOCK
from tests.support.nursery import ROOT


def environment(folder: Path) -> dict[str, str]:
    home = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    return {"PATH": os.environ["PATH"], **home}


def processes_in(folder: Path) -> list[str]:
    """What still runs with this folder on its command line."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


@pytest.fixture
def short_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="dl"))


async def test_the_demo_ends_by_itself_and_leaves_nothing(short_folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        str(DOORLOCK),
        "demo",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(short_folder),
        cwd=short_folder,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    text = said.decode()
    assert process.returncode == 0, text
    assert "front: executed in" in text
    assert "garden" in text
    for step in ("queued", "sent", "executed"):
        assert f"command_{step}" in text, text
    assert "Traceback" not in text
    assert processes_in(short_folder) == []
    assert [path.name for path in short_folder.iterdir() if path.name != ".cache"] == []
    short_folder.rmdir()


@pytest.mark.skipif(find_spec("pip") is None, reason="needs pip: to install the wheel")
def test_a_wheel_installs_both_programs_and_the_manual(tmp_path: Path) -> None:
    """Built and installed without the network: what the wheel needs is borrowed from here."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "venv"
    venv.create(fresh)
    python = fresh / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    pip += ["--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (packages,) = fresh.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    for program, word in (("doorlock", "version"), ("doorlockd", "--version")):
        done = subprocess.run(
            [fresh / "bin" / program, word],
            env=environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        assert done.stdout.strip()
    where = subprocess.run(
        [python, "-c", "import doorlock; print(doorlock.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(packages) in where.stdout, "it is the installed one that runs"
    pages = sorted(page.name for page in fresh.glob("share/man/*/*"))
    assert "doorlock.1" in pages
    assert "doorlockd.8" in pages

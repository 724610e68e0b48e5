"""From the typed word to the bolt and back, everything real but the door."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.e2e.cli.conftest import PROGRAM, House


@pytest.fixture(scope="module")
def front(house: House) -> str:
    house.simulate("front")
    return "front"


def test_a_door_opens(house: House, front: str) -> None:
    done = house.doorlock("unlock", front, "--for", "1s")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("front: executed in ")
    trail = [each["eventType"] for each in house.json("events", "--device", front)["data"]]
    ours = [kind for kind in trail if kind.startswith("command_")]
    assert ours[-5:] == [
        "command_queued",
        "command_sent",
        "command_received",
        "command_executing",
        "command_executed",
    ]


def test_it_is_listed_shown_and_watched(house: House, front: str) -> None:
    assert front in house.doorlock("ls").stdout
    shown = house.json("show", front)["data"]
    assert (shown["online"], shown["connections"]) == (True, ["websocket"])
    assert house.json("wait", front, "--until", "locked", "--timeout", "10s")["ok"]
    assert house.doorlock("status").returncode == 0
    assert house.doorlock("doctor").returncode == 0
    assert house.doorlock("events", "verify").returncode == 0
    exported = house.doorlock("events", "export").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in exported] == list(range(1, len(exported) + 1))


def test_a_door_that_is_offline_is_refused_at_once(house: House) -> None:
    house.register("away")
    began = time.monotonic()
    done = house.doorlock("unlock", "away")
    assert time.monotonic() - began < 0.5
    assert (done.returncode, done.stdout) == (7, "")


def test_a_silent_device_leaves_the_outcome_unknown(house: House) -> None:
    house.simulate("mute", "silent")
    done = house.doorlock("unlock", "mute", "--for", "1s", "--timeout", "1s")
    assert done.returncode == 3
    assert "unknown" in done.stderr


def test_a_jammed_door_is_a_failure(house: House) -> None:
    house.simulate("stuck", "jam")
    done = house.doorlock("unlock", "stuck", "--for", "1s", "-o", "json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["code"] in {"failed", "jammed"}


def test_some_doors_of_several(house: House, front: str) -> None:
    done = house.doorlock("lock", front, "nowhere", "-o", "json")
    assert done.returncode == 11
    results = json.loads(done.stdout)["data"]
    assert [each["ok"] for each in results] == [True, False]


def test_a_dry_run_moves_nothing(house: House, front: str) -> None:
    house.register("parked")
    before = len(house.json("command", "ls")["data"])
    assert house.doorlock("unlock", front, "--dry-run").returncode == 0
    assert house.doorlock("unlock", "parked", "--dry-run").returncode == 7
    assert len(house.json("command", "ls")["data"]) == before


def test_administration(house: House) -> None:
    house.register("shed")
    assert house.doorlock("register", "x", "--esp-id", "shed").returncode == 6
    assert house.doorlock("rename", "shed", "hut").returncode == 0
    assert house.doorlock("set", "hut", "room=garden").returncode == 0
    assert house.json("show", "hut")["data"]["room"] == "garden"
    assert house.doorlock("user", "add", "ann").returncode == 0
    assert house.doorlock("user", "link", "ann", "4242").returncode == 0
    share = house.json("share", "hut", "ann", "--permission", "view", "--until", "2h")
    assert share["data"]["permission"] == "view"
    refused = house.doorlock("--as", "ann", "unlock", "hut", "-o", "json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (4, "not_allowed")
    assert [each["username"] for each in house.json("shares", "hut")["data"]] == ["ann"]
    assert house.doorlock("unshare", "hut", "ann").returncode == 0
    assert house.doorlock("--as", "ann", "show", "hut").returncode == 10
    assert house.doorlock("token", "rotate", "hut").returncode == 2
    assert len(house.doorlock("-q", "token", "rotate", "hut", "-y").stdout.strip()) == 64
    assert house.doorlock("token", "revoke", "hut", "-y").returncode == 0
    assert house.doorlock("user", "disable", "ann", "-y").returncode == 0
    assert house.doorlock("rm", "hut", "-y").returncode == 0
    assert house.doorlock("show", "hut").returncode == 10


def test_an_interruption_leaves_the_command_running(house: House, front: str) -> None:
    waiting = subprocess.Popen(
        [*PROGRAM, "unlock", front, "--for", "3s", "-o", "json"],
        env=house.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    house.stage.until("the unlock", lambda: _running(house))
    waiting.send_signal(signal.SIGINT)
    out, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    ident = json.loads(out)["data"][0]["commandId"]
    finished = house.stage.until("its end", lambda: _over(house, ident))
    assert finished["status"] == "executed"


def _running(house: House) -> bool | None:
    last = house.json("command", "ls", "-n", "1")["data"][0]
    return True if last["status"] == "executing" else None


def _over(house: House, ident: str) -> dict[str, Any] | None:
    shown: dict[str, Any] = house.json("command", "show", ident)["data"]
    return shown if shown["finishedAt"] else None


def test_progress_on_a_terminal_ends_with_the_line_alone(house: House, front: str) -> None:
    code, screen = on_a_terminal(house, "unlock", front, "--for", "1s")
    assert code == 0
    assert "front: executing via websocket…" in screen
    assert screen.rstrip().splitlines()[-1].split("\x1b[K")[-1].startswith("front: executed in ")


def on_a_terminal(house: House, *arguments: str) -> tuple[int, str]:
    """Exit code and what a terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments], env=house.env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = read_all(ours)
    return process.wait(20), shown


def read_all(descriptor: int) -> str:
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:  # how a terminal says that nobody is left at its other end
        pass
    finally:
        os.close(descriptor)
    return b"".join(parts).decode()

"""`doorlock status --watch`: drawn anew at every event, through breaks, until it is refused."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from doorlock.cli import redraw
from tests.support.fake_daemon import HANG_UP, FakeDaemon, Stream, Turns, failure, frame
from tests.unit.cli.conftest import Runner

HEALTH, STREAM = "/api/health/detailed", "/api/events/stream"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redraw, "AT_MOST_EVERY", 0.0)
    monkeypatch.setattr(redraw, "REFRESH", 0.1)


def health(position: int) -> dict[str, Any]:
    return {"status": "healthy", "version": f"v{position}", "uptime": 1, "position": position}


def news(position: int) -> Stream:
    frames = [frame("hello", {"position": position - 1}), frame("status_changed", {}, position)]
    return Stream(frames)


def states(daemon: FakeDaemon, *positions: int) -> None:
    """So many states, one a call, then a refusal that ends the watching."""
    told = [health(position) for position in positions]
    daemon.on("GET", HEALTH, Turns(*told, failure(403, "not_allowed")))


def test_it_is_shown_anew_after_an_event(daemon: FakeDaemon, runner: Runner) -> None:
    states(daemon, 4, 5)
    daemon.on("GET", STREAM, Turns(news(5), news(6)))
    result = runner("status", "--watch")
    assert result.code == 4
    assert result.out.index("v4") < result.out.index("v5")
    assert [asked.query for asked in daemon.seen("GET", STREAM)] == [{"after": "4"}, {"after": "5"}]


def test_it_is_shown_anew_after_a_while_without_any(daemon: FakeDaemon, runner: Runner) -> None:
    states(daemon, 4, 4, 4)
    over = threading.Event()
    held = Stream([frame("hello", {"position": 4}), over.wait])
    daemon.on("GET", STREAM, held)
    shown = runner("status", "--watch").out
    over.set()
    assert shown.count("v4") == 3


def test_a_terminal_is_drawn_in_place_and_a_pipe_is_not(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", STREAM, news(5))
    for terminal in (True, False):
        states(daemon, 4, 5)
        runner.terminal = terminal
        assert runner("status", "-w", "--no-color").out.count("\x1b[H\x1b[J") == 2 * terminal


def test_scripts_get_an_object_a_line(daemon: FakeDaemon, runner: Runner) -> None:
    states(daemon, 4, 5)
    daemon.on("GET", STREAM, news(5))
    lines = runner("status", "--watch", "-o", "json").out.splitlines()
    assert [json.loads(line).get("version") for line in lines[:2]] == ["v4", "v5"]


def test_a_daemon_that_goes_is_waited_for(daemon: FakeDaemon, runner: Runner) -> None:
    states(daemon, 4, 5)
    daemon.on("GET", STREAM, Turns(HANG_UP, HANG_UP, news(5)))
    result = runner("status", "--watch")
    assert "v5" in result.out
    assert result.err.count("trying again until it is back") == 1


def test_one_that_does_not_run_is_said_not_to(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.stop()
    assert runner("status", "--watch").code == 8

"""A picture that is drawn anew whenever something happens, until the person has seen enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from doorlock.cli.output import visible
from doorlock.cli.session import Session
from doorlock.errors import DaemonUnreachable, DoorlockError, Unavailable

REFRESH = 5.0  # what changes by itself, such as how long the daemon has run
AT_MOST_EVERY = 0.25
_HOME, _CLEAR_BELOW = "\x1b[H", "\x1b[J"


def redraw(session: Session, path: str, show: Callable[[dict[str, Any]], None]) -> None:
    """`show` what the daemon answers at `path`, which tells its `position`, and again after every
    event. Returns only by an interruption; a daemon that goes away later is waited for."""
    out = session.out
    if out.format == "json":
        out.format = "ndjson"  # one object cannot hold what has no end
    data: dict[str, Any] = session.client.get(path).data
    while True:
        drawn = time.monotonic()
        _draw(session, data, show)
        data = _next(session, path, data)
        time.sleep(max(0.0, drawn + AT_MOST_EVERY - time.monotonic()))


def _draw(session: Session, data: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> None:
    stream = session.out.stdout
    in_place = session.out.for_people and stream.isatty()
    if in_place:
        stream.write(f"{_HOME}{_CLEAR_BELOW}")
    show(data)
    if session.out.for_people and not in_place:
        stream.write("\n")
    stream.flush()


def _next(session: Session, path: str, data: dict[str, Any]) -> dict[str, Any]:
    """What is at `path` after the next event or after a while; when the daemon is back, if it is
    away."""
    lost = False
    while True:
        try:
            _wait(session, data.get("position"))
            found: dict[str, Any] = session.client.get(path).data
        except (DaemonUnreachable, Unavailable) as error:
            if not lost:
                _say_lost(session, error)
            lost = True
            time.sleep(AT_MOST_EVERY)
            continue
        return found


def _wait(session: Session, position: int | None) -> None:
    """Until an event after `position`, or for a while."""
    deadline = time.monotonic() + REFRESH
    try:
        for frame in session.client.stream(after=position, deadline=deadline):
            if frame.name != "hello":
                return
    except TimeoutError:
        return


def _say_lost(session: Session, error: DoorlockError) -> None:
    session.out.note(f"{visible(error.message)}; trying again until it is back")

"""Events as they happen, until the person has seen enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from doorlock.cli import views
from doorlock.cli.output import GAP, Cell, Output, dump, text_width, visible
from doorlock.cli.session import Session
from doorlock.client_wire import ServerEvent
from doorlock.errors import DoorlockError

WIDTHS = (19, 21, 16, 12)


def print_live(
    session: Session,
    query: Mapping[str, Any],
    position: int | None,
    first: Iterable[Mapping[str, Any]] = (),
    devices: Collection[str] = (),
) -> None:
    """Print `first`, then every event after `position`, of these devices only where some are named.
    Returns only by an interruption; a daemon that goes away is waited for."""
    out = session.out
    if out.format == "json":
        out.format = "ndjson"  # one object cannot hold what has no end
    for event in first:
        print_event(out, event)
    out.stdout.flush()
    lost = False

    def on_break(error: DoorlockError) -> None:
        nonlocal lost
        if not lost:
            out.note(f"{visible(error.message)}; trying again until it is back")
        lost = True

    for frame in session.client.follow(query, after=position, on_break=on_break):
        if lost:
            out.note("connected again")
            lost = False
        if not devices or frame.name == "gap" or frame.data.get("deviceId") in devices:
            _print_frame(out, frame)
        out.stdout.flush()


def _print_frame(out: Output, frame: ServerEvent) -> None:
    if frame.name == "gap":
        asked, first = frame.data.get("requested"), frame.data.get("firstAvailable")
        out.warn(f"events between {asked} and {first} are missing: they were pruned already")
    elif frame.name != "hello":
        print_event(out, frame.data)


def print_event(out: Output, event: Mapping[str, Any]) -> None:
    """One event on one line, as JSON for scripts."""
    out.write(event_line(out, event) if out.for_people else dump(event))


def event_line(out: Output, event: Mapping[str, Any]) -> str:
    cells = [Cell(visible(c.text), c.style) for c in map(_as_cell, views.event_row(event))]
    padded = [
        out.style(cell.text, cell.style) + " " * (width - text_width(cell.text))
        for cell, width in zip(cells, WIDTHS, strict=False)
    ]
    return GAP.join([*padded, cells[-1].text])


def _as_cell(value: str | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)

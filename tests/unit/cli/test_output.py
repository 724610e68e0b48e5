"""Layout, width, colour, and names that mean harm."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from doorlock.cli import views
from doorlock.cli.output import Cell, Output, clip, dump, fit, text_width, visible
from tests.unit.cli.conftest import Terminal, device

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)


@given(st.text())
def test_what_is_shown_does_nothing_to_a_terminal(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert not {*"\x1b\x07\n\r\u202e\u2066\u200b"} & {*shown}
    assert visible(shown) == shown


@given(st.text(alphabet=st.characters(blacklist_categories=["C", "Z"]), max_size=30))
def test_ordinary_letters_of_any_script_stay_as_they_are(text: str) -> None:
    assert visible(text) == text


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_json_is_ascii_and_reads_back(value: object) -> None:
    assert dump(value).isascii()
    assert json.loads(dump(value)) == value


@given(st.text(max_size=40), st.integers(1, 20))
def test_clipped_text_fits(text: str, width: int) -> None:
    assert text_width(clip(visible(text), width)) <= width


def test_wide_letters_count_twice() -> None:
    assert text_width("玄関") == 4
    assert text_width("e\u0301") == 1


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.integers(1, 300))
def test_columns_are_narrowed_to_the_terminal_and_no_further(widths: list[int], total: int) -> None:
    found = fit(widths, total)
    assert all(new <= old for new, old in zip(found, widths, strict=True))
    needed = sum(found) + 2 * (len(found) - 1)
    assert needed <= total or max(found) <= 6
    assert fit(widths, 0) == widths


def test_a_table_is_aligned_whatever_is_in_it() -> None:
    out = Output(io.StringIO(), io.StringIO(), {"FORCE_COLOR": "1"})
    rows = [["玄関", Cell("on", "green")], ["a\x1b[0m", "off"]]
    lines = list(out.table(["NAME", "X"], rows))
    assert lines[1] == "玄関      \x1b[32mon\x1b[0m"
    assert lines[2] == "a\\x1b[0m  off"


def test_a_terminal_cuts_and_a_pipe_does_not() -> None:
    rows = [["x" * 200, "end"]]
    for stream, width in ((Terminal(), 40), (io.StringIO(), 205)):
        out = Output(stream, io.StringIO(), {"COLUMNS": "40", "NO_COLOR": "1"})
        assert max(len(line) for line in out.table(["NAME", "Y"], rows)) == width


def test_where_a_state_comes_from_is_shown_and_the_unknown_is_unknown() -> None:
    assert views.door(device()) == "locked (sensor)"
    assert views.door(device(lockStateSource="none", lockState="unknown")) == "unknown"
    assert views.door(device(lockState=None, lockStateSource="none")) == "unknown"


def test_ages_and_times_are_words() -> None:
    assert views.age("2026-11-23T17:59:50.000Z", NOW) == "10s ago"
    assert views.age("2026-11-21T17:00:00.000Z", NOW) == "2d ago"
    assert views.age("2026-11-23T19:00:00.000Z", NOW) == "0s ago"
    assert views.age(None, NOW) == "-"
    assert views.moment("never") == "never"


def test_an_event_in_a_line_leaves_out_what_is_long() -> None:
    payload = {"command": "unlock_door", "image": "x" * 5000, "nested": {"a": 1}, "n": 3}
    assert views.detail({"payload": payload}) == "command=unlock_door n=3"


def test_an_event_is_told_in_words() -> None:
    command = {"command": "unlock_door", "status": "failed", "via": "mqtt", "errorMessage": "jam"}
    assert views.detail({"eventType": "command_failed", "payload": command}) == (
        "unlock_door via mqtt: jam"
    )
    door = {"status": "locked", "source": "sensor", "triggeredBy": "manual", "claimedAt": "x"}
    assert (
        views.detail({"eventType": "status_changed", "payload": door}) == "locked (sensor, manual)"
    )

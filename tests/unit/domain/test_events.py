"""The hash chain: whatever is done to a log, it shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain.events import GENESIS, Event, EventType, NewEvent, chain, verify

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json = st.dictionaries(text, st.none() | st.booleans() | text | st.integers(-99, 99), max_size=3)
new_events = st.builds(
    NewEvent,
    type=st.sampled_from(EventType),
    at=st.datetimes(datetime(2001, 1, 1), timezones=st.just(UTC)),
    device_id=st.none() | text,
    user_id=st.none() | text,
    command_id=st.none() | text,
    correlation_id=st.none() | text,
    payload=json,
    metadata=json,
)


def _log(news: list[NewEvent]) -> list[Event]:
    log: list[Event] = []
    for seq, new in enumerate(news, 1):
        log.append(chain(log[-1].hash if log else GENESIS, seq, new))
    return log


logs = st.lists(new_events, min_size=1, max_size=6).map(_log)


@given(logs)
def test_a_log_as_it_was_written_verifies_from_any_place(log: list[Event]) -> None:
    anchors = [GENESIS, *(one.hash for one in log)]
    for place in range(len(log) + 1):
        assert verify(anchors[place], log[place:]) is None


@given(logs, st.data())
def test_a_wrong_anchor_shows_at_the_first(log: list[Event], data: st.DataObject) -> None:
    anchor = data.draw(st.sampled_from([one.hash for one in log]))
    assert verify(anchor, log) == 1


@given(logs, st.data())
def test_an_event_taken_out_shows_at_the_next(log: list[Event], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(log) - 1))
    expected = gone + 2 if gone < len(log) - 1 else None
    assert verify(GENESIS, log[:gone] + log[gone + 1 :]) == expected


@given(logs, st.data())
def test_two_that_changed_places_show(log: list[Event], data: st.DataObject) -> None:
    one, other = sorted(data.draw(st.tuples(*[st.integers(0, len(log) - 1)] * 2)))
    log[one], log[other] = log[other], log[one]
    assert verify(GENESIS, log) == (None if one == other else other + 1)


@given(logs, new_events, st.data())
def test_an_event_put_in_shows(log: list[Event], new: NewEvent, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    before = log[place - 1].hash if place else GENESIS
    forged = chain(before, place + 1, new)
    bad = verify(GENESIS, [*log[:place], forged, *log[place:]])
    assert bad == log[place].seq


@pytest.mark.parametrize(
    "change",
    [
        {"type": EventType.LOGIN_FAILED},
        {"at": NOON + timedelta(milliseconds=1)},
        {"device_id": None},
        {"device_id": "u", "user_id": "d"},
        {"command_id": ""},
        {"correlation_id": "x"},
        {"payload": {"a": 2}},
        {"payload": {"a": "1"}},
        {"metadata": {"b": 1}},
        {"id": "0" * 24},
    ],
)
def test_any_field_that_changed_shows(change: dict[str, Any]) -> None:
    new = NewEvent(EventType.STATUS_CHANGED, NOON, "d", "u", payload={"a": 1}, id="1" * 24)
    log = _log([new, new, new])
    log[1] = replace(log[1], new=replace(new, **change))
    assert verify(GENESIS, log) == 2


def test_a_changed_seq_or_hash_shows() -> None:
    log = _log([NewEvent(EventType.STATUS_CHANGED, NOON)] * 3)
    assert verify(GENESIS, [log[0], replace(log[1], seq=7)]) == 7
    assert verify(GENESIS, [log[0], replace(log[1], hash=log[0].hash), log[2]]) == 2


def test_the_order_of_keys_and_what_is_finer_than_a_millisecond_do_not_matter() -> None:
    one = NewEvent(EventType.STATUS_CHANGED, NOON, payload={"a": 1, "b": 2}, id="1" * 24)
    same = replace(one, at=NOON + timedelta(microseconds=999), payload={"b": 2, "a": 1})
    assert chain(GENESIS, 1, one).hash == chain(GENESIS, 1, same).hash


def test_an_empty_log_verifies() -> None:
    assert verify(GENESIS, []) is None

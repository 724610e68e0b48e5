"""Times and spans: there and back, and nothing but ValueError for what is neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.times import iso, iso_or_none, parse_span, parse_time, show_span, utc_now

zones = st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
aware = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers(), max_size=2),
    st.from_regex(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([+-]\d{2}:\d{2}|Z)?", fullmatch=True),
)


@given(aware)
def test_a_time_comes_back_to_the_millisecond_in_utc(moment: datetime) -> None:
    back = parse_time(iso(moment))
    assert back.tzinfo is UTC
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)
    assert iso(back) == iso(moment)


@given(aware)
def test_the_wire_form_is_fixed(moment: datetime) -> None:
    text = iso(moment)
    assert text[10] == "T" and text[-5] == "." and text[-1] == "Z" and len(text) == 24


@given(st.integers(978_307_200_000, 253_402_300_799_999))
def test_epoch_milliseconds_are_taken(value: int) -> None:
    assert abs(parse_time(value).timestamp() * 1000 - value) < 1


@given(anything)
def test_whatever_is_no_time_is_a_value_error(value: object) -> None:
    try:
        moment = parse_time(value)
    except ValueError:
        return
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        1_795_000_000,  # seconds
        -1,
        float("nan"),
        float("inf"),
        "",
        "now",
        "2026-13-01",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        b"2026-11-23",
    ],
)
def test_these_are_no_times(value: object) -> None:
    with pytest.raises(ValueError):
        parse_time(value)


def test_text_without_a_zone_is_utc_and_others_are_converted() -> None:
    noon = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    for text in ("2026-11-23T12:00:00", " 2026-11-23T12:00:00Z ", "2026-11-23T14:00:00+02:00"):
        assert parse_time(text) == noon


def test_none_stays_none() -> None:
    assert iso_or_none(None) is None
    assert iso_or_none(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


def test_now_is_aware() -> None:
    assert utc_now().tzinfo is UTC


@given(st.integers(0, 10**12))
def test_a_span_comes_back(count: int) -> None:
    span = timedelta(milliseconds=count)
    assert abs(parse_span(show_span(span)) - span) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("500ms", 0.5), ("2h", 7200), ("1h30m", 5400), (" 3D ", 259200), ("1.5s", 1.5)],
)
def test_spans_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "30", "s", "1y", "-1s", "1h 30m", "1s2", "9" * 400 + "w"]
)
def test_these_are_no_spans(text: str) -> None:
    with pytest.raises(ValueError):
        parse_span(text)


@given(st.text() | st.from_regex(r"(\d{1,30}(ms|s|m|h|d|w)){1,3}", fullmatch=True))
def test_whatever_is_no_span_is_a_value_error(text: str) -> None:
    try:
        span = parse_span(text)
    except ValueError:
        return
    assert span >= timedelta(0)

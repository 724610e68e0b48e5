"""Weekly windows and recurrence rules, read and evaluated by the door's clock."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from doorlock.daemon.domain.schedules import (
    HORIZON_DAYS,
    MAX_TEXT,
    first_moment,
    parse,
    zone_named,
)
from doorlock.errors import BadInput

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = "Mon-Fri 09:00-17:00, Sat 10:00-12:00"
# 2026-11-23 is a Monday.


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def is_open(schedule: str, when: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> bool:
    return parse(schedule).is_open(at(when, zone, fold), zone)


def after(schedule: str, when: str, zone: ZoneInfo = BERLIN) -> datetime | None:
    return parse(schedule).next_change(at(when, zone), zone)


@pytest.mark.parametrize(
    ("schedule", "when", "expected"),
    [
        (OFFICE, "2026-11-23T09:00", True),
        (OFFICE, "2026-11-23T08:59:59.999", False),
        (OFFICE, "2026-11-27T16:59:59.999", True),
        (OFFICE, "2026-11-27T17:00", False),
        (OFFICE, "2026-11-28T11:00", True),
        (OFFICE, "2026-11-28T13:00", False),
        (OFFICE, "2026-11-29T11:00", False),
        ("22:00-06:00", "2026-11-23T23:00", True),
        ("22:00-06:00", "2026-11-23T05:59", True),
        ("22:00-06:00", "2026-11-23T06:00", False),
        ("Fri 22:00-06:00", "2026-11-28T05:00", True),
        ("Fri 22:00-06:00", "2026-11-27T05:00", False),
        ("Sun 22:00-06:00", "2026-11-30T05:00", True),
        ("daily 08:00-20:00", "2026-11-29T12:00", True),
        ("weekdays 08:00-20:00", "2026-11-29T12:00", False),
        ("weekends 08:00-20:00", "2026-11-29T12:00", True),
        ("Fri-Mon 08:00-20:00", "2026-11-29T12:00", True),
        ("Fri-Mon 08:00-20:00", "2026-11-25T12:00", False),
        ("Mon,Wed 9:00-12:00, 13:00-17:00", "2026-11-25T14:00", True),
        ("Mon,Wed 9:00-12:00, 13:00-17:00", "2026-11-25T12:30", False),
        ("Mon 09:00-12:00 Tue 13:00-17:00", "2026-11-24T10:00", False),
        ("sunday 00:00-24:00", "2026-11-29T23:59", True),
        ("sunday 00:00-24:00", "2026-11-30T00:00", False),
        ("Mon \u2013 Fri 09:00 \u2013 17:00", "2026-11-24T10:00", True),
    ],
)
def test_weekly_windows(schedule: str, when: str, expected: bool) -> None:
    assert is_open(schedule, when) is expected


@pytest.mark.parametrize(
    ("schedule", "when", "expected"),
    [
        ("RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0 DURATION=PT8H", "2026-11-23T09:00", True),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0 DURATION=PT8H", "2026-11-23T17:00", False),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0 DURATION=PT8H", "2026-11-24T09:00", False),
        ("FREQ=DAILY;BYHOUR=22 DURATION:PT8H", "2026-11-24T05:59", True),
        ("freq=daily;byhour=22 duration:pt8h", "2026-11-24T06:00", False),
        ("DTSTART:20261124T080000 RRULE:FREQ=DAILY DURATION:PT1H", "2026-11-23T08:30", False),
        ("DTSTART:20261124T080000 RRULE:FREQ=DAILY DURATION:PT1H", "2026-11-24T08:30", True),
        ("DTSTART:20261124T080000 RRULE:FREQ=DAILY;COUNT=3 DURATION:PT1H",
         "2026-11-26T08:30", True),
        ("DTSTART:20261124T080000 RRULE:FREQ=DAILY;COUNT=3 DURATION:PT1H",
         "2026-11-27T08:30", False),
        ("RRULE:FREQ=DAILY;BYHOUR=8;UNTIL=20261125T080000 DURATION:PT1H", "2026-11-25T08:30", True),
        ("RRULE:FREQ=DAILY;BYHOUR=9;UNTIL=20261125T080000 DURATION:PT1H",
         "2026-11-25T09:30", False),
        ("RRULE:FREQ=DAILY;BYHOUR=9;UNTIL=20261125 DURATION:PT1H", "2026-11-25T09:30", True),
        # every second Monday, from the 23rd
        ("DTSTART:20261123T090000 RRULE:FREQ=WEEKLY;INTERVAL=2 DURATION:PT1H",
         "2026-11-30T09:30", False),
        ("DTSTART:20261123T090000 RRULE:FREQ=WEEKLY;INTERVAL=2 DURATION:PT1H",
         "2026-12-07T09:30", True),
        ("RRULE:FREQ=MONTHLY;BYDAY=1MO;BYHOUR=9 DURATION:PT1H", "2026-12-07T09:30", True),
        ("RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9 DURATION:PT1H", "2026-11-27T09:30", True),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=-1 DURATION:P1D", "2026-11-30T23:59", True),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1 DURATION:P1D",
         "2026-10-30T12:00", True),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1 DURATION:P1D",
         "2026-10-31T12:00", False),
        ("RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24 DURATION:P3D", "2026-12-26T23:59", True),
        ("RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24 DURATION:P3D", "2026-12-27T00:00", False),
        ("RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24 DURATION:P1W", "2026-12-30T12:00", True),
    ],
)  # fmt: skip
def test_recurrence_rules(schedule: str, when: str, expected: bool) -> None:
    assert is_open(schedule, when) is expected


@pytest.mark.parametrize(
    "schedule",
    [
        "", "   ", "Mon", "Mon-Fri", "Mon 09:00-17:00, Tue", "09:00", "25:00-26:00", "09:60-10:00",
        "10:00-24:01", "09:00-09:00", "Mo 09:00-17:00", "Monkey 09:00-10:00", "whenever",
        "Mon 9-17", "Mon 09:00-17:00 xx",
        "RRULE:FREQ=SECONDLY DURATION:PT1H",
        "RRULE:FREQ=MINUTELY DURATION:PT1H",
        "RRULE:FREQ=HOURLY DURATION:PT1H",
        "RRULE:FREQ=DAILY",
        "DURATION:PT1H",
        "RRULE:FREQ=DAILY DURATION:PT0M",
        "RRULE:FREQ=DAILY DURATION:P8D",
        "RRULE:FREQ=DAILY DURATION:PT99999M",
        "RRULE:FREQ=DAILY DURATION:P",
        "RRULE:FREQ=DAILY DURATION:1h",
        "RRULE:FREQ=DAILY;INTERVAL=2 DURATION:PT1H",
        "RRULE:FREQ=DAILY;COUNT=2 DURATION:PT1H",
        "RRULE:FREQ=WEEKLY DURATION:PT1H",
        "RRULE:FREQ=MONTHLY DURATION:PT1H",
        "DTSTART:20261123T090000 RRULE:FREQ=DAILY;INTERVAL=0 DURATION:PT1H",
        "DTSTART:20261123T090000 RRULE:FREQ=DAILY;INTERVAL=99999 DURATION:PT1H",
        "DTSTART:20261123T090000 RRULE:FREQ=DAILY;COUNT=1001 DURATION:PT1H",
        "DTSTART:20261123T090000 RRULE:FREQ=YEARLY;COUNT=1000 DURATION:PT1H",
        "DTSTART:20261123T090000 RRULE:FREQ=DAILY;COUNT=5;UNTIL=20270101 DURATION:PT1H",
        "DTSTART:20261123T090000Z RRULE:FREQ=DAILY DURATION:PT1H",
        "DTSTART:00010101T000000 RRULE:FREQ=DAILY DURATION:PT1H",
        "DTSTART:99991231T000000 RRULE:FREQ=DAILY DURATION:PT1H",
        "DTSTART:20261323T090000 RRULE:FREQ=DAILY DURATION:PT1H",
        "RRULE:FREQ=DAILY;FREQ=DAILY DURATION:PT1H",
        "RRULE:FREQ=DAILY RRULE:FREQ=DAILY DURATION:PT1H",
        "RRULE:FREQ=DAILY;BYSECOND=1 DURATION:PT1H",
        "RRULE:FREQ=DAILY;BYHOUR=24 DURATION:PT1H",
        "RRULE:FREQ=DAILY;BYHOUR=1,2,3,4,5;BYMINUTE=1,2,3,4,5 DURATION:PT1H",
        "RRULE:FREQ=DAILY;BYDAY=1MO DURATION:PT1H",
        "RRULE:FREQ=WEEKLY;BYDAY=XX DURATION:PT1H",
        "RRULE:FREQ=WEEKLY;BYDAY=MO;BYMONTHDAY=1 DURATION:PT1H",
        "RRULE:FREQ=WEEKLY;BYDAY=MO;BYSETPOS=1 DURATION:PT1H",
        "RRULE:FREQ=MONTHLY;BYMONTHDAY=0 DURATION:PT1H",
        "DTSTART:20261123T090000 RRULE:FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1;COUNT=3 DURATION:PT1H",
        "RRULE:FREQ=DAILY;WKST=XX DURATION:PT1H",
        "RRULE:FREQ DURATION:PT1H",
        "RRULE:FREQ=DAILY;BYHOUR=\u0661 DURATION:PT1H",
        "Mon 09:00-17:00 " * 40,
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_reason(schedule: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(schedule)
    assert refused.value.message.startswith("the schedule cannot be read: ")
    assert refused.value.hint and refused.value.hint.startswith("For example:")
    assert refused.value.details["errors"][0]["field"] == "schedule"


def test_next_change_is_the_end_while_open_and_the_beginning_while_closed() -> None:
    assert after(OFFICE, "2026-11-23T12:00") == at("2026-11-23T17:00")
    assert after(OFFICE, "2026-11-27T17:00") == at("2026-11-28T10:00")
    assert after(OFFICE, "2026-11-28T12:00") == at("2026-11-30T09:00")


def test_windows_that_touch_are_one() -> None:
    assert after("Mon 08:00-24:00, Tue 00:00-06:00", "2026-11-23T09:00") == at("2026-11-24T06:00")
    assert after("Mon 08:00-12:00, 10:00-14:00", "2026-11-23T09:00") == at("2026-11-23T14:00")


def test_what_never_closes_or_never_opens_again_has_no_next_change() -> None:
    assert after("daily 00:00-24:00", "2026-11-23T09:00") is None
    ended = "RRULE:FREQ=DAILY;BYHOUR=9;UNTIL=20261120 DURATION:PT1H"
    assert after(ended, "2026-11-23T09:00") is None
    never = "RRULE:FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30 DURATION:PT1H"
    assert after(never, "2026-11-23T09:00") is None


def test_a_time_that_spring_skips_is_the_moment_of_the_skip() -> None:
    # 2027-03-28: 02:00 CET is followed by 03:00 CEST
    skip = datetime(2027, 3, 28, 1, 0, tzinfo=UTC)
    assert first_moment(datetime(2027, 3, 28, 2, 30), BERLIN) == skip
    assert after("02:30-06:00", "2027-03-28T01:00") == skip
    assert after("00:30-02:30", "2027-03-28T01:00") == skip
    # a window that lies within the skip does not happen
    assert not is_open("02:15-02:45", "2027-03-28T03:00")
    assert after("02:15-02:45", "2027-03-28T01:00") == at("2027-03-29T02:15")


def test_of_a_time_that_autumn_shows_twice_the_first_counts() -> None:
    # 2027-10-31: 03:00 CEST is followed by 02:00 CET
    assert is_open("02:15-02:45", "2027-10-31T02:30", fold=0)
    assert not is_open("02:15-02:45", "2027-10-31T02:30", fold=1)
    assert not is_open("22:00-02:30", "2027-10-31T02:15", fold=1)
    assert is_open("02:30-04:00", "2027-10-31T02:15", fold=1)


def test_a_night_is_an_hour_shorter_in_spring_and_longer_in_autumn() -> None:
    def hours(first: str, last: str) -> float:
        (window,) = parse("22:00-06:00").windows(date.fromisoformat(first), 0, 0, BERLIN)
        assert window.end == at(f"{last}T06:00")
        return (window.end - window.begin) / timedelta(hours=1)

    assert hours("2027-03-26", "2027-03-27") == 8
    assert hours("2027-03-27", "2027-03-28") == 7
    assert hours("2027-10-30", "2027-10-31") == 9


def test_hours_of_a_duration_are_true_ones_and_its_days_are_the_clocks() -> None:
    eight = "RRULE:FREQ=DAILY;BYHOUR=22 DURATION:PT8H"
    assert after(eight, "2027-03-27T23:00") == at("2027-03-28T07:00")
    assert after(eight, "2027-10-30T23:00") == at("2027-10-31T05:00")
    day = "RRULE:FREQ=WEEKLY;BYDAY=SA;BYHOUR=12 DURATION:P1D"
    assert after(day, "2027-03-27T13:00") == at("2027-03-28T12:00")


def test_each_door_has_its_own_clock() -> None:
    noon = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
    office = parse(OFFICE)
    assert office.is_open(noon, ZoneInfo("UTC"))
    assert not office.is_open(noon, BERLIN)
    assert office.is_open(noon, ZoneInfo("America/New_York"))
    assert not office.is_open(noon, ZoneInfo("Pacific/Auckland"))


def test_a_day_that_a_zone_left_out_has_no_windows() -> None:
    samoa = ZoneInfo("Pacific/Apia")  # went from 2011-12-29 to 2011-12-31
    windows = list(parse("daily 09:00-17:00").windows(date(2011, 12, 30), 0, 0, samoa))
    assert [window.begin == window.end for window in windows] == [True]


def test_a_clock_set_back_over_midnight() -> None:
    # Newfoundland, 2010-11-07: 00:01 was followed by 23:01 of the 6th
    island = ZoneInfo("America/St_Johns")
    again = at("2010-11-06T23:30", island, fold=1)
    assert parse("Sun 00:00-01:00").is_open(again, island)
    assert not parse("Sat 23:15-23:45").is_open(again, island)


def test_the_ends_of_the_calendar_do_no_harm() -> None:
    office = parse(OFFICE)
    for near in (datetime(1, 1, 4, tzinfo=UTC), datetime(9999, 12, 28, tzinfo=UTC)):
        office.is_open(near, BERLIN)
        office.next_change(near, BERLIN)


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires"])
def test_zones(name: str) -> None:
    assert zone_named(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe",
        "x" * 5000,
        "a\0b",
        "\u00e9",
    ],
)
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(BadInput):
        zone_named(name)


HOSTILE = [
    "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30 DURATION:P7D",
    "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30 DURATION:P7D",
    "DTSTART:20000101T000000 RRULE:FREQ=DAILY;BYHOUR=" + ",".join(map(str, range(24)))
    + " DURATION:P7D",
    "DTSTART:20010101T000000 RRULE:FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29 DURATION:P7D",
    "RRULE:FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=366,-366,1,2,3;BYHOUR="
    + ",".join(map(str, range(24))) + " DURATION:P7D",
    " ".join(["daily 00:00-23:59"] * 27),
]  # fmt: skip


@pytest.mark.parametrize("schedule", HOSTILE)
def test_a_hostile_schedule_costs_little(schedule: str) -> None:
    assert len(schedule) <= MAX_TEXT
    begun = time.process_time()
    parsed = parse(schedule)
    parsed.is_open(at("2026-11-23T12:00"), BERLIN)
    parsed.next_change(at("2026-11-23T12:00"), BERLIN)
    first = time.process_time() - begun
    begun = time.process_time()
    for _ in range(20):
        parsed.is_open(at("2026-11-23T12:00"), BERLIN)
    each = (time.process_time() - begun) / 20
    assert first < 0.25 and each < 0.02, f"{first:.3f} s at first, {each * 1000:.2f} ms each"


def test_it_looks_ahead_only_so_far() -> None:
    rare = "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29 DURATION:P1D"
    assert after(rare, "2026-11-23T12:00") is None
    soon = at("2028-02-29T00:00") - timedelta(days=HORIZON_DAYS - 2)
    assert parse(rare).next_change(soon, BERLIN) == at("2028-02-29T00:00")

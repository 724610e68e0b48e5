"""What holds of every schedule, with python-dateutil as the second opinion on recurrence."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain.recurrence import DAYS, parse_rule
from doorlock.daemon.domain.schedules import Schedule, first_moment, parse

ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo",
        "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca", "Asia/Beirut",
    )
]  # fmt: skip
NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

zones = st.sampled_from(ZONES)
any_moment = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


def changes_of(zone: ZoneInfo, year: int) -> list[datetime]:
    """When the clocks of `zone` were or will be set in `year`."""
    hours = (datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(366 * 24))
    moments = list(hours)
    offsets = [moment.astimezone(zone).utcoffset() for moment in moments]
    pairs = zip(moments, offsets, offsets[1:], strict=False)
    return [moment for moment, before, after in pairs if before != after]


CHANGES = [
    (zone, moment) for zone in ZONES for year in (2011, 2018, 2027)
    for moment in changes_of(zone, year)
]  # fmt: skip

near_a_change = st.tuples(
    st.sampled_from(CHANGES), st.integers(-30 * 3600, 30 * 3600)
).map(lambda drawn: (drawn[0][0], drawn[0][1] + timedelta(seconds=drawn[1])))  # fmt: skip
anywhere = st.tuples(zones, any_moment)
places = st.one_of(near_a_change, anywhere)


@st.composite
def weekly_texts(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        days = draw(st.lists(st.sampled_from(NAMES), max_size=3))
        begin = draw(st.integers(0, 24 * 60 - 1))
        end = draw(st.integers(0, 24 * 60))
        if begin == end:
            continue
        shown = "{:02}:{:02}-{:02}:{:02}".format(*divmod(begin, 60), *divmod(end, 60))
        parts.append(f"{','.join(days)} {shown}")
    return ", ".join(parts) or "daily 09:00-17:00"


@st.composite
def rule_texts(draw: st.DrawFn) -> str:
    freq = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    parts = [f"FREQ={freq}"]
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    numbered = freq in ("MONTHLY", "YEARLY")
    if draw(st.booleans()):
        days = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=4, unique=True))
        ordinal = draw(st.sampled_from(["", "", "1", "2", "-1", "5"])) if numbered else ""
        parts.append("BYDAY=" + ",".join(ordinal + day for day in days))
        if numbered and not ordinal and draw(st.booleans()):
            parts.append(f"BYSETPOS={draw(st.sampled_from([1, 2, -1, -3]))}")
    if freq != "WEEKLY" and draw(st.booleans()):
        numbers = st.sampled_from([1, 2, 15, 29, 30, 31, -1, -2, -31])
        parts.append("BYMONTHDAY=" + ",".join(map(str, draw(st.sets(numbers, min_size=1)))))
    if draw(st.booleans()):
        months = draw(st.sets(st.integers(1, 12), min_size=1, max_size=4))
        parts.append("BYMONTH=" + ",".join(map(str, months)))
    if draw(st.booleans()):
        hours = draw(st.sets(st.integers(0, 23), min_size=1, max_size=3))
        parts.append("BYHOUR=" + ",".join(map(str, hours)))
    if draw(st.booleans()):
        parts.append(f"BYMINUTE={draw(st.integers(0, 59))}")
    if draw(st.booleans()):
        parts.append(f"WKST={draw(st.sampled_from(DAYS))}")
    return ";".join(parts)


starts = st.datetimes(datetime(2020, 1, 1), datetime(2028, 1, 1)).map(
    lambda moment: moment.replace(second=0, microsecond=0)
)
durations = st.sampled_from(["PT1M", "PT8H", "P1D", "P1DT12H", "P7D", "PT26H"])
full_rules = st.builds(
    lambda rule, start, duration: f"DTSTART:{start:%Y%m%dT%H%M%S} RRULE:{rule} DURATION:{duration}",
    rule_texts(),
    starts,
    durations,
)
schedules = st.one_of(weekly_texts(), full_rules).map(parse)


@given(rule_texts(), starts, st.sampled_from(["", "COUNT=1", "COUNT=7", "UNTIL=20270615T120000"]))
def test_a_rule_begins_when_dateutil_says(text: str, start: datetime, end: str) -> None:
    text = ";".join(filter(None, [text, end]))
    last = start + timedelta(days=800)
    try:
        rule = parse_rule(text, start)
    except ValueError as error:
        assert "COUNT reaches" in str(error) or "BYSETPOS does not go with COUNT" in str(error)
        return
    theirs = rrulestr(f"RRULE:{text}", dtstart=start)
    days = (start.date() + timedelta(days=n) for n in range(801))
    ours = [begin for day in days for begin in rule.starts_on(day) if begin <= last]
    # bounded by hand: dateutil looks for what never comes up to the year 9999
    found = []
    for begin in theirs.xafter(start - timedelta(days=1), inc=True) if ours else ():
        if begin > last or len(found) > len(ours):
            break
        found.append(begin)
    assert ours == found


@given(schedules, places)
def test_open_means_within_one_of_the_windows(
    schedule: Schedule, place: tuple[ZoneInfo, datetime]
) -> None:
    zone, moment = place
    today = moment.astimezone(zone).date()
    within = [
        window.begin <= moment < window.end for window in schedule.windows(today, -12, 3, zone)
    ]
    assert schedule.is_open(moment, zone) is any(within)


@given(schedules, places)
def test_nothing_changes_before_the_next_change(
    schedule: Schedule, place: tuple[ZoneInfo, datetime]
) -> None:
    zone, moment = place
    now = schedule.is_open(moment, zone)
    change = schedule.next_change(moment, zone)
    if change is None:
        assert schedule.is_open(moment + timedelta(days=5), zone) is now
        return
    assert change > moment
    assert schedule.is_open(change, zone) is not now
    last = change - timedelta(milliseconds=1)
    assert schedule.is_open(max(moment, last), zone) is now
    assert schedule.is_open(moment + (last - moment) / 2, zone) is now


@given(weekly_texts(), st.sampled_from(CHANGES), st.integers(-48 * 4, 48 * 4))
def test_away_from_the_change_the_clock_on_the_wall_decides(
    text: str, change: tuple[ZoneInfo, datetime], quarters: int
) -> None:
    zone, jump = change
    moment = jump + timedelta(minutes=15 * quarters)
    local = moment.astimezone(zone)
    if any(local.date() == n.astimezone(zone).date() for n in (jump, jump + timedelta(hours=1))):
        return
    if local.replace(fold=1).utcoffset() != local.replace(fold=0).utcoffset():
        return
    yesterday = local.date() - timedelta(days=1)
    if yesterday in {n.astimezone(zone).date() for n in (jump, jump + timedelta(hours=1))}:
        yesterday = None  # type: ignore[assignment]
    assert parse(text).is_open(moment, zone) in by_the_wall(text, local, yesterday)


def by_the_wall(text: str, local: datetime, yesterday: date | None) -> set[bool]:
    """What the clock's hands alone say; both where last night's window met a change."""
    clock = local.time().replace(tzinfo=None)
    week = parse(text).week  # type: ignore[attr-defined]
    today = any(
        begin <= clock and (clock < end or end <= begin) for begin, end in week[local.weekday()]
    )
    before = any(end <= begin and clock < end for begin, end in week[(local.weekday() - 1) % 7])
    if yesterday is None and before:
        return {True, today}
    return {today or before}


@given(places)
def test_the_first_moment_is_the_first(place: tuple[ZoneInfo, datetime]) -> None:
    zone, moment = place
    moment = moment.replace(microsecond=0)
    local = moment.astimezone(zone).replace(tzinfo=None)
    first = first_moment(local, zone)
    assert first <= moment
    assert first.astimezone(zone).replace(tzinfo=None) == local
    second_before = first - timedelta(seconds=1)
    assert second_before.astimezone(zone).replace(tzinfo=None) < local


@given(st.sampled_from(CHANGES), st.integers(-3 * 60, 3 * 60))
def test_the_clock_shows_it_or_later_and_never_before(
    change: tuple[ZoneInfo, datetime], minutes: int
) -> None:
    zone, jump = change
    local = (jump.astimezone(zone) + timedelta(minutes=minutes)).replace(tzinfo=None)
    first = first_moment(local, zone)
    assert first.astimezone(zone).replace(tzinfo=None) >= local
    assert (first - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None) < local


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    from doorlock.errors import BadInput

    try:
        schedule = parse(text)
    except BadInput:
        return
    assert isinstance(schedule, Schedule)


def test_midnight_is_read_as_such() -> None:
    assert parse("00:00-24:00").week[0] == ((time(0), time(0)),)  # type: ignore[attr-defined]

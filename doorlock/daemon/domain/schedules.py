"""When a share counts: weekly windows or a recurrence rule, by the door's own clock.

A window begins, and ends, at the first moment at which that clock shows the time or a later one.
So a time that the clock skips in spring is the moment of the skip, and of a time that it shows
twice in autumn the first one counts; the hours and minutes of a rule's DURATION are true ones.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from doorlock.daemon.domain.recurrence import Rule, local_time, parse_rule
from doorlock.errors import BadInput

MAX_TEXT = 500
HORIZON_DAYS = 400
HORIZON_WINDOWS = 500
"""How far ahead `next_change` looks: so many days, and so many windows."""

EXAMPLE = "For example: Mon-Fri 09:00-17:00, Sat 10:00-12:00."
RULE_EXAMPLE = "For example: RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=9 DURATION:PT8H."

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_LONGEST = timedelta(days=7)
_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_GROUPS = {"daily": range(7), "weekdays": range(5), "weekends": range(5, 7)}
_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", re.ASCII)
_RULE_PART = re.compile(r"(DTSTART|RRULE|DURATION)[:=](\S+)")
_DURATION = re.compile(
    r"P(?:(\d{1,2})W)?(?:(\d{1,2})D)?(?:T(?:(\d{1,3})H)?(?:(\d{1,5})M)?)?", re.ASCII
)


class Window(NamedTuple):
    """From `begin` until just before `end`, both in UTC."""

    begin: datetime
    end: datetime


class _Local(NamedTuple):
    """By the door's clock from `begin` until `end`, and truly `longer` after that."""

    begin: datetime
    end: datetime
    longer: timedelta = timedelta(0)

    def window(self, zone: tzinfo) -> Window:
        begin = first_moment(self.begin, zone)
        end = begin if self.end == self.begin else first_moment(self.end, zone)
        return Window(begin, end + self.longer)


class Schedule(ABC):
    """When something is open. `reach` is how many days a window may last, in whole days."""

    reach: int

    @abstractmethod
    def _begun_on(self, day: date) -> Iterable[_Local]:
        """What begins on `day`, in order."""

    def is_open(self, moment: datetime, zone: tzinfo) -> bool:
        today = moment.astimezone(zone).date()
        # a clock that is set back over midnight has begun tomorrow before today is over
        windows = self.windows(today, -self.reach - 1, 1, zone)
        return any(window.begin <= moment < window.end for window in windows)

    def next_change(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """When it next opens or closes after `moment`; None for not within the horizon."""
        today = moment.astimezone(zone).date()
        closes: datetime | None = None
        windows = self.windows(today, -self.reach - 1, HORIZON_DAYS, zone)
        for number, window in enumerate(windows):
            if number == HORIZON_WINDOWS:
                return None
            if window.end <= moment or window.begin == window.end:
                continue
            if closes is None and window.begin > moment:
                return window.begin
            if closes is not None and window.begin > closes:
                return closes
            closes = window.end if closes is None else max(closes, window.end)
        sure = closes is not None and closes - moment < timedelta(days=HORIZON_DAYS - 1)
        return closes if sure else None

    def windows(self, today: date, first: int, last: int, zone: tzinfo) -> Iterator[Window]:
        """What begins `first` to `last` days from `today`, in order."""
        for day in _days(today, first, last):
            for local in self._begun_on(day):
                yield local.window(zone)


@dataclass(frozen=True, slots=True)
class Weekly(Schedule):
    """For each weekday, Monday first, the times between which it is open; overnight where the end
    is not after the beginning."""

    week: tuple[tuple[tuple[time, time], ...], ...]
    reach = 1

    def _begun_on(self, day: date) -> Iterable[_Local]:
        for begin, end in self.week[day.weekday()]:
            last = day if end > begin else day + timedelta(days=1)
            yield _Local(datetime.combine(day, begin), datetime.combine(last, end))


@dataclass(frozen=True)
class Recurring(Schedule):
    """What `rule` begins lasts `days` by the door's clock and truly `longer` after that."""

    rule: Rule
    days: int
    longer: timedelta

    @property
    def reach(self) -> int:  # type: ignore[override]
        return self.days + self.longer.days + 1

    def _begun_on(self, day: date) -> Iterable[_Local]:
        for start in self.rule.starts_on(day):
            yield _Local(start, start + timedelta(days=self.days), self.longer)


@lru_cache(maxsize=4096)
def parse(text: str) -> Schedule:
    """The schedule that a person wrote. Raises BadInput, which says what is wrong with it."""
    if len(text) > MAX_TEXT:
        raise _unreadable(f"it is longer than {MAX_TEXT} characters", EXAMPLE)
    is_rule = re.match(r"\s*(RRULE|DTSTART|DURATION|FREQ)\b", text, re.IGNORECASE)
    try:
        return _recurring(text.upper()) if is_rule else _weekly(text)
    except ValueError as error:
        raise _unreadable(str(error), RULE_EXAMPLE if is_rule else EXAMPLE) from None


def zone_named(name: str) -> ZoneInfo:
    """The time zone of that name. Raises BadInput."""
    try:
        if 0 < len(name) <= 64 and name.isascii():
            return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        pass
    raise BadInput(
        "there is no such time zone",
        hint="Name it as in Europe/Berlin, America/New_York or UTC.",
        details={"errors": [{"field": "timezone", "message": "there is no such time zone"}]},
    )


def first_moment(local: datetime, zone: tzinfo) -> datetime:
    """The first moment at which the clock of `zone` shows `local` or something later."""
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    if _shown(moment, zone) == local:
        return moment
    # skipped: the skip lies between the two readings that Python has for such a time
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    seconds = range(round((moment - before).total_seconds()))
    return before + _SECOND * bisect_left(
        seconds, True, key=lambda n: _shown(before + _SECOND * n, zone) >= local
    )


def _shown(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _days(today: date, first: int, last: int) -> Iterator[date]:
    # a day at either end of the calendar stays free for what a zone and a night add
    begin = max(today.toordinal() + first, date.min.toordinal() + 2)
    end = min(today.toordinal() + last, date.max.toordinal() - 10)
    return map(date.fromordinal, range(begin, end + 1))


def _weekly(text: str) -> Weekly:
    joined = re.sub(r"\s*[-\u2013]\s*", "-", text.strip().lower())
    tokens = [token for token in re.split(r"[\s,;]+", joined) if token]
    week: list[list[tuple[time, time]]] = [[] for _ in range(7)]
    days: set[int] = set()
    complete = True
    for token in tokens:
        if found := _TIMES.fullmatch(token):
            for day in days or range(7):
                week[day].append(_between(*map(int, found.groups())))
            complete = True
        else:
            days = _weekdays(token) | (set() if complete else days)
            complete = False
    if not complete or not tokens:
        raise ValueError("it names no times" if not tokens else f"{tokens[-1]!r} lacks its times")
    return Weekly(tuple(tuple(sorted(set(times))) for times in week))


def _between(hour: int, minute: int, last_hour: int, last_minute: int) -> tuple[time, time]:
    shown = f"{hour:02}:{minute:02}-{last_hour:02}:{last_minute:02}"
    if hour > 23 or minute > 59 or last_minute > 59 or (last_hour, last_minute) > (24, 0):
        raise ValueError(f"{shown} is not between 00:00 and 24:00")
    if (hour, minute) == (last_hour, last_minute):
        raise ValueError(f"{shown} ends as it begins; a whole day is 00:00-24:00")
    return time(hour, minute), time(last_hour % 24, last_minute)


def _weekdays(token: str) -> set[int]:
    if token in _GROUPS:
        return set(_GROUPS[token])
    first, dash, last = token.partition("-")
    begin, end = _weekday(first), _weekday(last if dash else first)
    return {day % 7 for day in range(begin, end + 1 if begin <= end else end + 8)}


def _weekday(name: str) -> int:
    matches = [n for n, day in enumerate(_NAMES) if len(name) >= 3 and day.startswith(name)]
    if not matches:
        raise ValueError(f"{name[:40]!r} is neither a weekday nor a time such as 09:00-17:00")
    return matches[0]


def _recurring(text: str) -> Recurring:
    parts: dict[str, str] = {}
    for word in text.split():
        found = _RULE_PART.fullmatch(word if not word.startswith("FREQ=") else f"RRULE:{word}")
        if found is None:
            raise ValueError(f"{word[:40]!r} is none of DTSTART:, RRULE: and DURATION:")
        if found[1] in parts:
            raise ValueError(f"{found[1]} is there twice")
        parts[found[1]] = found[2]
    if {"RRULE", "DURATION"} - parts.keys():
        raise ValueError("it takes an RRULE and the DURATION that it is open each time")
    start = None
    if "DTSTART" in parts:
        start = local_time("DTSTART", parts["DTSTART"]).replace(second=0)
    days, longer = _duration(parts["DURATION"])
    return Recurring(parse_rule(parts["RRULE"], start), days, longer)


def _duration(text: str) -> tuple[int, timedelta]:
    found = _DURATION.fullmatch(text)
    weeks, days, hours, minutes = (int(n or 0) for n in found.groups()) if found else (0,) * 4
    whole, longer = weeks * 7 + days, timedelta(hours=hours, minutes=minutes)
    if not _MINUTE <= timedelta(days=whole) + longer <= _LONGEST:
        raise ValueError("DURATION is from PT1M to P7D, such as PT8H, PT1H30M or P1D")
    return whole, longer


def _unreadable(why: str, example: str) -> BadInput:
    return BadInput(
        f"the schedule cannot be read: {why}",
        hint=example,
        details={"errors": [{"field": "schedule", "message": why}]},
    )

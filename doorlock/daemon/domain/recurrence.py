"""Recurrence rules as calendars write them (RFC 5545), cut down to what a door can use.

A rule is asked day by day whether something begins on it, so no question costs more for a rule
that began long ago or never comes true, however it is made.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import product
from typing import Any

MOST_TIMES = 24
MOST_COUNT = 1000
MOST_INTERVAL = 1000
LONGEST_COUNT_DAYS = 20 * 366
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

_NO_START = datetime(2024, 1, 1)  # noqa: DTZ001 (the door's own clock)
_ORDINAL_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,4}", re.ASCII)


class Frequency(StrEnum):
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


@dataclass(frozen=True, slots=True)
class Rule:
    """What begins when, in the door's local time. Empty conditions are none.

    `days` pairs an ordinal (0 for every one) with a weekday, Monday being 0; `times` are in order.
    """

    frequency: Frequency
    start: datetime
    times: tuple[time, ...]
    interval: int = 1
    until: datetime | None = None
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    days: frozenset[tuple[int, int]] = frozenset()
    positions: tuple[int, ...] = ()
    week_start: int = 0
    has_start: bool = True

    def starts_on(self, day: date) -> Sequence[datetime]:
        """What begins on `day`, in order."""
        if not self._falls_on(day):
            return ()
        starts = [datetime.combine(day, at) for at in self.times]
        if self.positions:
            chosen = _chosen(self, self._period(day))
            starts = [start for start in starts if start in chosen]
        return [start for start in starts if self._within(start)]

    def _within(self, start: datetime) -> bool:
        begun = not self.has_start or self.start <= start
        return begun and (self.until is None or start <= self.until)

    def _falls_on(self, day: date) -> bool:
        return (
            (self.interval == 1 or self._steps(day) % self.interval == 0)
            and (not self.months or day.month in self.months)
            and (not self.month_days or self._is_month_day(day))
            and (not self.days or self._is_weekday(day))
        )

    def _steps(self, day: date) -> int:
        """How many periods lie between the start's and that of `day`."""
        first = self.start.date()
        match self.frequency:
            case Frequency.DAILY:
                return (day - first).days
            case Frequency.WEEKLY:
                return self._week(day) - self._week(first)
            case Frequency.MONTHLY:
                return (day.year - first.year) * 12 + day.month - first.month
            case Frequency.YEARLY:
                return day.year - first.year

    def _week(self, day: date) -> int:
        # the first day of all, 0001-01-01, was a Monday and has the ordinal 1
        return (day.toordinal() - 1 - self.week_start) // 7

    def _is_month_day(self, day: date) -> bool:
        from_the_end = day.day - monthrange(day.year, day.month)[1] - 1
        return day.day in self.month_days or from_the_end in self.month_days

    def _is_weekday(self, day: date) -> bool:
        weekday = day.weekday()
        if (0, weekday) in self.days:
            return True
        if self.frequency is Frequency.YEARLY and not self.months:
            index = day.timetuple().tm_yday
            length = date(day.year, 12, 31).timetuple().tm_yday
        else:
            index, length = day.day, monthrange(day.year, day.month)[1]
        nth, from_the_end = (index - 1) // 7 + 1, -((length - index) // 7 + 1)
        return (nth, weekday) in self.days or (from_the_end, weekday) in self.days

    def _period(self, day: date) -> tuple[date, date]:
        """The first and last day of the month or year that positions count in."""
        if self.frequency is Frequency.YEARLY:
            return date(day.year, 1, 1), date(day.year, 12, 31)
        return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


@lru_cache(maxsize=512)
def _chosen(rule: Rule, period: tuple[date, date]) -> frozenset[datetime]:
    whole = replace(rule, positions=(), until=None, has_start=False)
    first, last = (day.toordinal() for day in period)
    starts = [
        start for n in range(first, last + 1) for start in whole.starts_on(date.fromordinal(n))
    ]
    indexes = (position - 1 if position > 0 else position for position in rule.positions)
    return frozenset(starts[i] for i in indexes if -len(starts) <= i < len(starts))


def parse_rule(text: str, start: datetime | None) -> Rule:
    """`FREQ=WEEKLY;BYDAY=MO;…`; `start` is DTSTART. Raises ValueError, which says what is wrong."""
    parts = _parts(text)
    frequency = _frequency(parts.pop("FREQ", ""))
    count = _number("COUNT", parts["COUNT"], 1, MOST_COUNT) if "COUNT" in parts else None
    rule = Rule(
        frequency,
        start or _NO_START,
        _times(parts, start),
        has_start=start is not None,
        **{field: read(parts[name]) for name, (field, read) in _READERS.items() if name in parts},
    )
    _check(rule, count)
    rule = _with_defaults(rule)
    return rule if count is None else replace(rule, until=_last_of(rule, count))


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.upper().strip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise ValueError(f"{part[:40]!r} is not NAME=VALUE")
        if name not in _KNOWN:
            raise ValueError(f"{name[:40]} is not taken; known are {', '.join(_KNOWN)}")
        if name in parts:
            raise ValueError(f"{name} is there twice")
        parts[name] = value
    if "COUNT" in parts and "UNTIL" in parts:
        raise ValueError("COUNT and UNTIL exclude each other")
    return parts


def _frequency(text: str) -> Frequency:
    try:
        return Frequency(text)
    except ValueError:
        raise ValueError(f"FREQ is one of {', '.join(Frequency)}") from None


def _number(name: str, text: str, least: int, most: int) -> int:
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"{name} is a number from {least} to {most}")
    return int(text)


def _numbers(name: str, text: str, least: int, most: int) -> frozenset[int]:
    found = frozenset(_number(name, one, least, most) for one in text.split(","))
    if least < 0 and 0 in found:
        raise ValueError(f"{name} has no 0")
    return found


def _weekdays(text: str) -> frozenset[tuple[int, int]]:
    found = [_ORDINAL_DAY.fullmatch(one) for one in text.split(",")]
    if not all(found):
        raise ValueError(f"BYDAY lists {', '.join(DAYS)}, each with a number before it or none")
    return frozenset((int(one[1] or 0), DAYS.index(one[2])) for one in found if one)


def _week_start(text: str) -> int:
    if text not in DAYS:
        raise ValueError(f"WKST is one of {', '.join(DAYS)}")
    return DAYS.index(text)


def _until(text: str) -> datetime:
    whole_day = len(text) == 8
    return local_time("UNTIL", f"{text}T235959" if whole_day else text)


def local_time(name: str, text: str) -> datetime:
    """`20261123T090000`, by the door's clock. Raises ValueError."""
    try:
        if re.fullmatch(r"2[01]\d{6}T\d{6}", text, re.ASCII):
            return datetime.strptime(text, "%Y%m%dT%H%M%S")  # noqa: DTZ007
    except ValueError:
        pass
    raise ValueError(f"{name} is a time by the door's own clock, such as 20261123T090000")


_READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "INTERVAL": ("interval", lambda text: _number("INTERVAL", text, 1, MOST_INTERVAL)),
    "UNTIL": ("until", _until),
    "BYMONTH": ("months", lambda text: _numbers("BYMONTH", text, 1, 12)),
    "BYMONTHDAY": ("month_days", lambda text: _numbers("BYMONTHDAY", text, -31, 31)),
    "BYDAY": ("days", _weekdays),
    "BYSETPOS": (
        "positions",
        lambda text: tuple(sorted(_numbers("BYSETPOS", text, -366, 366))),
    ),
    "WKST": ("week_start", _week_start),
}
_KNOWN = ("FREQ", "COUNT", "BYHOUR", "BYMINUTE", *_READERS)


def _times(parts: Mapping[str, str], start: datetime | None) -> tuple[time, ...]:
    first = (start or _NO_START).time()
    hours = _numbers("BYHOUR", parts.get("BYHOUR", str(first.hour)), 0, 23)
    minutes = _numbers("BYMINUTE", parts.get("BYMINUTE", str(first.minute)), 0, 59)
    if len(hours) * len(minutes) > MOST_TIMES:
        raise ValueError(f"it begins more than {MOST_TIMES} times a day")
    return tuple(time(*at) for at in sorted(product(hours, minutes)))


def _check(rule: Rule, count: int | None) -> None:
    monthly = rule.frequency in (Frequency.MONTHLY, Frequency.YEARLY)
    if not monthly and any(ordinal for ordinal, _ in rule.days):
        raise ValueError("numbers in BYDAY go with FREQ=MONTHLY or YEARLY")
    if not monthly and rule.positions:
        raise ValueError("BYSETPOS goes with FREQ=MONTHLY or YEARLY")
    if rule.positions and count is not None:
        raise ValueError("BYSETPOS does not go with COUNT; UNTIL says when it ends")
    if rule.frequency is Frequency.WEEKLY and rule.month_days:
        raise ValueError("BYMONTHDAY does not go with FREQ=WEEKLY")
    if rule.has_start:
        return
    if count is not None or rule.interval > 1:
        raise ValueError("COUNT and INTERVAL need a DTSTART to count from")
    if rule.frequency is not Frequency.DAILY and not rule.days and not rule.month_days:
        raise ValueError("without a DTSTART it needs BYDAY or BYMONTHDAY")


def _with_defaults(rule: Rule) -> Rule:
    """What the rule leaves open is as on its first day."""
    if rule.days or rule.month_days or rule.frequency is Frequency.DAILY:
        return rule
    if rule.frequency is Frequency.WEEKLY:
        return replace(rule, days=frozenset({(0, rule.start.weekday())}))
    rule = replace(rule, month_days=frozenset({rule.start.day}))
    if rule.frequency is Frequency.YEARLY and not rule.months:
        return replace(rule, months=frozenset({rule.start.month}))
    return rule


def _last_of(rule: Rule, count: int) -> datetime:
    for offset in range(LONGEST_COUNT_DAYS):
        starts = rule.starts_on(rule.start.date() + timedelta(days=offset))
        if count <= len(starts):
            return starts[count - 1]
        count -= len(starts)
    raise ValueError("its COUNT reaches further than 20 years; UNTIL says when it ends")

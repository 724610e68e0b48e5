"""Times and spans as they stand on the wire: ISO 8601 in UTC with milliseconds and `Z`.

Standard library only: the command line imports this on its quick path.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_EARLIEST_EPOCH_MS = 978_307_200_000  # 2001: below that an epoch number is seconds or nonsense
_LATEST_EPOCH_MS = 253_402_300_799_999  # the end of the year 9999, the last that datetime knows


def utc_now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """`moment` (aware) as `2026-11-23T18:07:52.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


def parse_time(value: object) -> datetime:
    """An aware UTC time from ISO 8601 text or epoch milliseconds; text without a zone is UTC.

    Raises ValueError on anything else.
    """
    if isinstance(value, bool):
        raise ValueError("a time is ISO 8601 text or epoch milliseconds")
    if isinstance(value, int | float):
        if not _EARLIEST_EPOCH_MS <= value <= _LATEST_EPOCH_MS:
            raise ValueError("an epoch time is in milliseconds")
        return datetime.fromtimestamp(value / 1000, UTC)
    if not isinstance(value, str):
        raise ValueError("a time is ISO 8601 text or epoch milliseconds")
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("that time is out of range") from error


def parse_span(text: str) -> timedelta:
    """A span such as `30s`, `500ms`, `2h` or `1h30m`. Raises ValueError on anything else."""
    stripped = text.strip().lower()
    if not stripped or _SPAN.sub("", stripped):
        raise ValueError(f"{text!r} is not a span: write 30s, 5m, 2h or 3d")
    try:
        return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in _SPAN.findall(stripped)))
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long a span") from error


def show_span(span: timedelta) -> str:
    """`span` in the notation that `parse_span` reads, in its largest whole units."""
    left = round(span.total_seconds() * 1000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"

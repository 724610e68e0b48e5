"""The port's filters as SQL conditions; a set goes in as one JSON value, however large it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from doorlock.daemon.ports import CommandFilter, EventFilter, VisitorFilter
from doorlock.daemon.stores.rows import ms, to_json

Condition = tuple[str, tuple[Any, ...]]


def any_of(column: str, values: Iterable[str]) -> Condition:
    return f"{column} IN (SELECT value FROM json_each(?))", (to_json(sorted(values)),)


def event_condition(wanted: EventFilter) -> Condition:
    parts = list(_visible(wanted))
    fields = ("device_id", wanted.device), ("user_id", wanted.user), ("command_id", wanted.command)
    parts += [(f"{column} = ?", (value,)) for column, value in fields if value is not None]
    if wanted.types:
        parts.append(any_of("type", wanted.types))
    since, until = (at and ms(at) for at in (wanted.since, wanted.until))
    limits = ("seq >", wanted.after), ("seq <", wanted.before), ("at >=", since), ("at <", until)
    parts += [(f"{limit} ?", (value,)) for limit, value in limits if value is not None]
    return _all(parts)


def _visible(wanted: EventFilter) -> Iterable[Condition]:
    sets = ("device_id", wanted.devices), ("user_id", wanted.users)
    given = [any_of(column, values) for column, values in sets if values is not None]
    if given:
        texts, values = zip(*given, strict=True)
        yield f"({' OR '.join(texts)})", sum(values, ())


def command_condition(wanted: CommandFilter) -> Condition:
    parts: list[Condition] = []
    if wanted.devices is not None:
        parts.append(any_of("device_id", wanted.devices))
    if wanted.device is not None:
        parts.append(("device_id = ?", (wanted.device,)))
    if wanted.statuses:
        parts.append(any_of("status", wanted.statuses))
    return _all(parts)


def visitor_condition(wanted: VisitorFilter) -> Condition:
    parts: list[Condition] = []
    if wanted.devices is not None:
        parts.append(any_of("device_id", wanted.devices))
    if wanted.statuses:
        parts.append(any_of("status", wanted.statuses))
    limits = ("opened_at >=", wanted.since), ("opened_at <", wanted.until)
    parts += [(f"{limit} ?", (ms(at),)) for limit, at in limits if at is not None]
    return _all(parts)


def _all(parts: Iterable[Condition]) -> Condition:
    parts = list(parts)
    text = " AND ".join(part for part, _ in parts) or "true"
    return text, tuple(value for _, values in parts for value in values)

"""What the log says of an earlier time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain import history
from doorlock.daemon.domain.access import Permission, Share
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.services.views import terms_view

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DOOR = Device("front", "front", "ESP", "owner", NOON, NOON)
SHARE = Share("front", "ann", Permission.CONTROL, "owner", NOON)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def event(kind: EventType, minutes: float, **payload: Any) -> NewEvent:
    return NewEvent(kind, at(minutes), device_id="front", user_id="owner", payload=payload)


def granted(minutes: float, permission: str = "control", **more: Any) -> NewEvent:
    return event(EventType.SHARE_GRANTED, minutes, sharedWith="ann", permission=permission, **more)


def permission_at(events: list[NewEvent], minutes: float, current: Share | None) -> str | None:
    found = history.share_at(events, "front", "ann", current, at(minutes))
    return found.permission.value if found else None


def test_a_share_from_its_grant_to_its_end() -> None:
    changed = event(
        EventType.SHARE_CHANGED, 20, sharedWith="ann", permission="view",
        before={"permission": "control"},
    )  # fmt: skip
    revoked = event(EventType.SHARE_REVOKED, 30, sharedWith="ann", permission="view")
    story = [granted(10), changed, revoked]
    seen = [permission_at(story, minutes, None) for minutes in (9, 10, 19, 20, 29, 30, 99)]
    assert seen == [None, "control", "control", "view", "view", None, None]


def test_what_comes_after_says_what_was_before() -> None:
    changed = event(
        EventType.SHARE_CHANGED, 20, sharedWith="ann", permission="view",
        before={"permission": "admin"},
    )  # fmt: skip
    assert permission_at([changed], 10, SHARE) == "admin"
    revoked = event(EventType.SHARE_REVOKED, 20, sharedWith="ann", permission="view")
    assert permission_at([revoked], 10, None) == "view"
    assert permission_at([granted(20)], 10, SHARE) is None


def test_without_any_event_it_is_as_it_is_now_since_it_was_made() -> None:
    assert permission_at([], 1, SHARE) == "control"
    assert permission_at([], -1, SHARE) is None
    assert permission_at([], 1, None) is None


def test_the_events_of_others_do_not_count() -> None:
    others = [
        event(EventType.SHARE_REVOKED, 5, sharedWith="bob", permission="view"),
        event(EventType.SHARE_CHANGED, 6, what="invited", email="a@b.c", permission="view"),
        event(EventType.SETTINGS_UPDATED, 7, changes={"name": "x"}),
    ]
    assert permission_at([granted(1), *others], 10, None) == "control"


def test_all_terms_come_back() -> None:
    terms = {
        "startsAt": "2026-11-23T10:00:00.000Z",
        "expiresAt": "2026-11-24T10:00:00.000Z",
        "schedule": "daily 09:00-17:00",
        "grantedBy": "bob",
    }
    found = history.share_at([granted(1, **terms)], "front", "ann", None, at(2))
    assert found == Share(
        "front",
        "ann",
        Permission.CONTROL,
        "bob",
        at(1),
        datetime(2026, 11, 23, 10, tzinfo=UTC),
        datetime(2026, 11, 24, 10, tzinfo=UTC),
        "daily 09:00-17:00",
    )


def test_terms_that_cannot_be_read_give_nothing() -> None:
    assert permission_at([granted(1, "everything")], 2, None) is None
    assert permission_at([granted(1, startsAt="soon")], 2, None) is None


def test_the_owner_and_the_zone_of_then() -> None:
    moved = event(EventType.SHARE_CHANGED, 10, what="transferred", fromUser="first", toUser="owner")
    offered = event(EventType.SHARE_CHANGED, 5, what="transfer offered", toUser="owner")
    zoned = event(
        EventType.SETTINGS_UPDATED, 20, changes={"timezone": "UTC"},
        before={"timezone": "Europe/Berlin"},
    )  # fmt: skip
    story = [offered, moved, zoned]
    owners = [history.device_at(story, DOOR, at(n)).owner_id for n in (9, 10, 99)]
    assert owners == ["first", "owner", "owner"]
    zones = [history.device_at(story, DOOR, at(n)).timezone for n in (19, 20)]
    assert zones == ["Europe/Berlin", "UTC"]
    assert history.device_at([], DOOR, at(1)) == DOOR
    assert history.people_in([*story, granted(30)]) == {"first", "owner", "ann"}


@pytest.mark.parametrize(
    ("disabled", "minutes", "is_active", "expected"),
    [
        ([], 5, True, (True, True)),
        ([], 5, False, (False, False)),
        ([10], 5, False, (True, True)),
        ([10], 5, True, (True, True)),
        ([10], 15, False, (False, True)),
        ([10], 15, True, (False, False)),
        ([10, 20], 15, False, (False, False)),
    ],
)
def test_whether_a_user_was_active(
    disabled: list[float], minutes: float, is_active: bool, expected: tuple[bool, bool]
) -> None:
    events = [event(EventType.USER_DISABLED, n) for n in disabled]
    assert history.was_active(events, at(minutes), is_active) == expected


permissions = st.sampled_from(Permission)


@given(st.lists(st.none() | permissions, max_size=8), st.integers(0, 8), st.integers(-5, 95))
def test_whatever_part_of_the_log_is_left_tells_the_same(
    steps: list[Permission | None], forgotten: int, minutes: int
) -> None:
    """A share granted, changed and revoked as `steps` say, one every ten minutes; the oldest
    events are gone."""
    share: Share | None = None
    events, states = [], []
    for index, permission in enumerate(steps):
        when = 10 * index
        if permission is None and share is not None:
            events.append((when, EventType.SHARE_REVOKED, terms_view(share), None))
            share = None
        elif permission is not None:
            before = terms_view(share) if share else None
            made = share.created_at if share else at(when)
            kind = EventType.SHARE_CHANGED if share else EventType.SHARE_GRANTED
            share = Share("front", "ann", permission, "owner", made)
            events.append((when, kind, terms_view(share), before))
        states.append((when, permission))
    log = [
        event(kind, when, sharedWith="ann", **terms, **({"before": before} if before else {}))
        for when, kind, terms, before in events
    ]
    kept = log[forgotten:]
    gone = log[forgotten - 1].at if 0 < forgotten <= len(log) else None
    if forgotten and (gone is None or at(minutes) < gone):
        return
    expected = next((p for when, p in reversed(states) if at(when) <= at(minutes)), None)
    assert permission_at(kept, minutes, share) == (expected.value if expected else None)

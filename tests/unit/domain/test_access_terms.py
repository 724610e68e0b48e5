"""Who may do what, and what decides it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain.access import Invitation, Level, Permission, Share, Why, level, why
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Role, User

MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OWNER, ANN, BOB = (User(name, name, MONDAY_NOON) for name in ("owner", "ann", "bob"))
ROOT = User("root", "root", MONDAY_NOON, role=Role.SUPER_ADMIN)
DOOR = Device("front", "front", "ESP", "owner", MONDAY_NOON, MONDAY_NOON)
OFFICE = "Mon-Fri 09:00-17:00"


def share(**terms: Any) -> Share:
    given: dict[str, Any] = {"permission": Permission.CONTROL, **terms}
    return Share("front", "ann", granted_by="owner", created_at=MONDAY_NOON, **given)


@pytest.mark.parametrize(
    ("user", "terms", "expected", "reason"),
    [
        (OWNER, None, Level.OWNER, Why.OWNER),
        (ROOT, None, Level.OWNER, Why.OPERATOR),
        (replace(OWNER, is_active=False), None, Level.NONE, Why.DISABLED),
        (replace(ROOT, is_active=False), None, Level.NONE, Why.DISABLED),
        (ANN, None, Level.NONE, Why.NOT_SHARED),
        (BOB, {}, Level.NONE, Why.NOT_SHARED),
        (ANN, {}, Level.CONTROL, Why.SHARE),
        (ANN, {"permission": Permission.VIEW}, Level.VIEW, Why.SHARE),
        (ANN, {"permission": Permission.ADMIN}, Level.ADMIN, Why.SHARE),
        (replace(ANN, is_active=False), {}, Level.NONE, Why.DISABLED),
        (ANN, {"starts_at": MONDAY_NOON}, Level.CONTROL, Why.SHARE),
        (ANN, {"starts_at": MONDAY_NOON + HOUR}, Level.NONE, Why.NOT_BEGUN),
        (ANN, {"expires_at": MONDAY_NOON}, Level.NONE, Why.EXPIRED),
        (ANN, {"expires_at": MONDAY_NOON + HOUR}, Level.CONTROL, Why.SHARE),
        (ANN, {"schedule": OFFICE}, Level.CONTROL, Why.SHARE),
        (ANN, {"schedule": "Mon-Fri 13:00-17:00"}, Level.NONE, Why.OUTSIDE_SCHEDULE),
        (ANN, {"schedule": OFFICE, "expires_at": MONDAY_NOON}, Level.NONE, Why.EXPIRED),
        (ANN, {"schedule": "nonsense"}, Level.NONE, Why.OUTSIDE_SCHEDULE),
    ],
)
def test_the_rule(user: User, terms: dict[str, Any] | None, expected: Level, reason: Why) -> None:
    theirs = None if terms is None else share(**terms)
    assert why(user, DOOR, theirs, MONDAY_NOON) is reason
    assert level(user, DOOR, theirs, MONDAY_NOON) is expected


def test_view_is_limited_to_the_schedule_too() -> None:
    theirs = share(permission=Permission.VIEW, schedule="Tue 09:00-17:00")
    assert level(ANN, DOOR, theirs, MONDAY_NOON) is Level.NONE


def test_a_share_of_another_device_counts_for_nothing() -> None:
    assert level(ANN, replace(DOOR, id="back"), share(), MONDAY_NOON) is Level.NONE


def test_the_schedule_goes_by_the_doors_clock() -> None:
    theirs = share(schedule="Mon 12:00-13:00")
    assert level(ANN, DOOR, theirs, MONDAY_NOON) is Level.CONTROL
    berlin = replace(DOOR, timezone="Europe/Berlin")
    assert level(ANN, berlin, theirs, MONDAY_NOON) is Level.NONE
    assert level(ANN, berlin, theirs, MONDAY_NOON - HOUR) is Level.CONTROL


def test_a_zone_that_is_gone_opens_nothing() -> None:
    lost = replace(DOOR, timezone="Nowhere/Land")
    assert level(ANN, lost, share(schedule="daily 00:00-24:00"), MONDAY_NOON) is Level.NONE
    assert share(schedule=OFFICE).next_change(MONDAY_NOON, "Nowhere/Land") is None


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, None),
        ({"expires_at": MONDAY_NOON + HOUR}, HOUR),
        ({"expires_at": MONDAY_NOON}, None),
        ({"starts_at": MONDAY_NOON + HOUR}, HOUR),
        ({"starts_at": MONDAY_NOON + HOUR, "expires_at": MONDAY_NOON + 2 * HOUR}, HOUR),
        ({"schedule": OFFICE}, 5 * HOUR),
        ({"schedule": OFFICE, "expires_at": MONDAY_NOON + HOUR}, HOUR),
        ({"schedule": "Tue 12:00-13:00"}, DAY),
        ({"schedule": "Tue 12:00-13:00", "starts_at": MONDAY_NOON + HOUR}, DAY),
        ({"schedule": "Tue 12:00-13:00", "expires_at": MONDAY_NOON + HOUR}, None),
        ({"schedule": OFFICE, "starts_at": MONDAY_NOON + HOUR}, HOUR),
        ({"schedule": "Tue 12:00-13:00", "starts_at": MONDAY_NOON + DAY + HOUR / 2},
         DAY + HOUR / 2),
        ({"schedule": "Tue 12:00-13:00", "starts_at": MONDAY_NOON + DAY + HOUR}, 8 * DAY),
        ({"schedule": "nonsense", "expires_at": MONDAY_NOON + HOUR}, None),
    ],
)  # fmt: skip
def test_next_change(terms: dict[str, Any], expected: timedelta | None) -> None:
    change = share(**terms).next_change(MONDAY_NOON, "UTC")
    assert change == (None if expected is None else MONDAY_NOON + expected)


hours = st.none() | st.integers(-100, 100).map(lambda n: MONDAY_NOON + n * HOUR)


@given(hours, hours, st.sampled_from([None, OFFICE, "22:00-06:00", "Sat 10:00-12:00"]))
def test_a_share_keeps_running_or_not_until_its_next_change(
    starts_at: datetime | None, expires_at: datetime | None, schedule: str | None
) -> None:
    theirs = share(starts_at=starts_at, expires_at=expires_at, schedule=schedule)
    now = theirs.is_running(MONDAY_NOON, "UTC")
    change = theirs.next_change(MONDAY_NOON, "UTC")
    minutes = range(0, 200 * 60, 15)
    later = (MONDAY_NOON + timedelta(minutes=n) for n in minutes)
    differs = [m for m in later if theirs.is_running(m, "UTC") is not now]
    assert change == (differs[0] if differs else None)


def test_an_invitation_is_open_until_its_code_or_its_share_runs_out() -> None:
    base = Invitation(
        "i", "front", "a@b.c", Permission.VIEW, "owner", MONDAY_NOON, "hash", MONDAY_NOON + DAY
    )
    assert base.is_open(MONDAY_NOON)
    assert not base.is_open(MONDAY_NOON + DAY)
    assert not replace(base, expires_at=MONDAY_NOON).is_open(MONDAY_NOON)
    assert "hash" not in repr(base)


def test_a_device_is_offered_to_one_for_a_time() -> None:
    offered = replace(DOOR, transfer_to="ann", transfer_expires_at=MONDAY_NOON)
    assert offered.is_offered_to("ann", MONDAY_NOON - HOUR)
    assert not offered.is_offered_to("ann", MONDAY_NOON)
    assert not offered.is_offered_to("bob", MONDAY_NOON - HOUR)
    assert not DOOR.is_offered_to("ann", MONDAY_NOON)

"""Who may do what: the one rule, over everything that it depends on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain.access import Level, Permission, Share, level
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.users import Role, User

T0 = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OWNER, GUEST = "1" * 24, "2" * 24
DEVICE = Device("d" * 24, "front", "ESP-1", OWNER, T0, T0)
LEVELS = {
    Permission.VIEW: Level.VIEW,
    Permission.CONTROL: Level.CONTROL,
    Permission.ADMIN: Level.ADMIN,
}

moments = st.integers(-100, 100).map(lambda s: T0 + timedelta(seconds=s))
maybe = st.none() | moments


def user(user_id: str = GUEST, *, role: Role = Role.ADMIN, active: bool = True) -> User:
    return User(user_id, "name", T0, role=role, is_active=active)


def share(
    permission: Permission = Permission.CONTROL,
    starts_at: datetime | None = None,
    expires_at: datetime | None = None,
    *,
    device_id: str = DEVICE.id,
    user_id: str = GUEST,
) -> Share:
    return Share(device_id, user_id, permission, OWNER, T0, starts_at, expires_at)


@given(
    st.sampled_from([OWNER, GUEST]),
    st.sampled_from(list(Role)),
    st.none() | st.builds(share, st.sampled_from(list(Permission)), maybe, maybe),
    moments,
)
def test_a_disabled_user_may_do_nothing(
    user_id: str, role: Role, found: Share | None, now: datetime
) -> None:
    assert level(user(user_id, role=role, active=False), DEVICE, found, now) is Level.NONE


@given(st.sampled_from(list(Permission)), maybe, maybe, moments)
def test_a_share_gives_its_permission_exactly_while_it_runs(
    permission: Permission, starts: datetime | None, expires: datetime | None, now: datetime
) -> None:
    runs = (starts is None or now >= starts) and (expires is None or now < expires)
    found = level(user(), DEVICE, share(permission, starts, expires), now)
    assert found is (LEVELS[permission] if runs else Level.NONE)


@pytest.mark.parametrize("permission", list(Permission))
def test_a_share_ends_with_the_second_that_it_names(permission: Permission) -> None:
    ends = T0 + timedelta(seconds=60)
    found = share(permission, expires_at=ends)
    assert level(user(), DEVICE, found, ends - timedelta(microseconds=1)) is LEVELS[permission]
    assert level(user(), DEVICE, found, ends) is Level.NONE
    assert level(user(), DEVICE, found, ends + timedelta(microseconds=1)) is Level.NONE


def test_a_share_begins_with_the_second_that_it_names() -> None:
    begins = T0 + timedelta(seconds=60)
    found = share(starts_at=begins)
    assert level(user(), DEVICE, found, begins - timedelta(microseconds=1)) is Level.NONE
    assert level(user(), DEVICE, found, begins) is Level.CONTROL


@given(st.sampled_from(list(Permission)), st.booleans(), st.booleans(), moments)
def test_a_share_of_another_device_or_user_counts_for_nothing(
    permission: Permission, other_device: bool, other_user: bool, now: datetime
) -> None:
    found = share(
        permission,
        device_id="e" * 24 if other_device else DEVICE.id,
        user_id="3" * 24 if other_user else GUEST,
    )
    own = not other_device and not other_user
    assert level(user(), DEVICE, found, now) is (LEVELS[permission] if own else Level.NONE)


@pytest.mark.parametrize("role", [Role.USER, Role.ADMIN])
def test_an_account_called_admin_is_no_operator(role: Role) -> None:
    assert level(user(role=role), DEVICE, None, T0) is Level.NONE


def test_owners_and_operators_may_everything() -> None:
    expired = share(Permission.VIEW, expires_at=T0, user_id=OWNER)
    assert level(user(OWNER, role=Role.USER), DEVICE, None, T0) is Level.OWNER
    assert level(user(OWNER), DEVICE, expired, T0) is Level.OWNER
    assert level(user(role=Role.SUPER_ADMIN), DEVICE, None, T0) is Level.OWNER


def test_only_control_and_above_may_operate() -> None:
    assert Level.NONE < Level.VIEW < Level.CONTROL < Level.ADMIN < Level.OWNER

"""Each domain type through its table and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain.access import Invitation, Permission, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device, LockState
from doorlock.daemon.domain.events import GENESIS, EventType, NewEvent, chain
from doorlock.daemon.domain.users import AccessToken, Role, Scope, User
from doorlock.daemon.stores.migrations import MIGRATIONS, migrate
from doorlock.daemon.stores.rows import (
    ACCESS_TOKENS,
    COMMANDS,
    DEVICES,
    EVENTS,
    INVITATIONS,
    SHARES,
    USERS,
    Table,
    as_kept,
    moment,
    ms,
)
from doorlock.protocol import (
    CommandName,
    CommandStatus,
    DeviceType,
    LockOrigin,
    LockValue,
    Transport,
)
from doorlock.times import iso

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
maybe_text = st.none() | text
any_time = st.datetimes(
    datetime(1000, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC]),
)
times = any_time.map(lambda at: moment(ms(at)))
maybe_times = st.none() | times
int64 = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | int64 | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
json = st.dictionaries(text, json_values, max_size=3)

users = st.builds(
    User,
    id=text,
    username=text,
    created_at=times,
    name=text,
    email=maybe_text,
    role=st.sampled_from(Role),
    unix_uid=st.none() | int64,
    is_active=st.booleans(),
    password_hash=maybe_text,
    tokens_valid_from=maybe_times,
)
access_tokens = st.builds(
    AccessToken,
    id=text,
    user_id=text,
    name=text,
    token_hash=text,
    scope=st.sampled_from(Scope),
    created_at=times,
    expires_at=maybe_times,
)
devices = st.builds(
    Device,
    id=text,
    name=text,
    esp_id=text,
    owner_id=text,
    created_at=times,
    updated_at=times,
    device_type=st.sampled_from(DeviceType),
    room=text,
    location=text,
    firmware_version=maybe_text,
    metadata=json,
    settings=json,
    token_hash=maybe_text,
    is_active=st.booleans(),
    activated_at=maybe_times,
    maintenance=st.booleans(),
    lock_state=st.builds(
        LockState, st.sampled_from(LockValue), st.sampled_from(LockOrigin), maybe_times
    ),
    battery_level=st.none() | st.integers(0, 100),
    last_seen=maybe_times,
    timezone=text,
    transfer_to=maybe_text,
    transfer_expires_at=maybe_times,
)
shares = st.builds(
    Share,
    text,
    text,
    st.sampled_from(Permission),
    text,
    times,
    maybe_times,
    maybe_times,
    maybe_text,
)
invitations = st.builds(
    Invitation,
    text,
    text,
    text,
    st.sampled_from(Permission),
    text,
    times,
    text,
    times,
    maybe_times,
    maybe_times,
    maybe_text,
)
transports = st.sampled_from(Transport)
commands = st.builds(
    Command,
    id=text,
    device_id=text,
    name=st.sampled_from(CommandName),
    issued_by=text,
    issued_at=times,
    expires_at=times,
    wait=st.integers(0, 10**9).map(lambda n: timedelta(milliseconds=n)),
    payload=json,
    status=st.sampled_from(CommandStatus),
    via=st.none() | transports,
    tried=st.lists(transports, max_size=2).map(tuple),
    sent_at=maybe_times,
    acknowledged_at=maybe_times,
    finished_at=maybe_times,
    error_message=maybe_text,
    operator_id=maybe_text,
    correlation_id=maybe_text,
    idempotency_key=maybe_text,
    version=st.integers(0, 2**40),
)
new_events = st.builds(
    NewEvent,
    type=st.sampled_from(EventType),
    at=any_time,
    device_id=maybe_text,
    user_id=maybe_text,
    command_id=maybe_text,
    correlation_id=maybe_text,
    payload=json,
    metadata=json,
    id=text,
)


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        migrate(made, MIGRATIONS)
        yield made


def _there_and_back(db: sqlite3.Connection, table: Table[Any], thing: object) -> object:
    db.execute("BEGIN")
    try:
        db.execute(table.insert, table.encode(thing))
        (row,) = db.execute(table.select).fetchall()
    finally:
        db.execute("ROLLBACK")
    return table.decode(row)


def _types(thing: Any) -> list[type]:
    return [type(getattr(thing, one.name)) for one in fields(thing)]


@pytest.mark.parametrize(
    ("table", "things"),
    [
        (USERS, users),
        (ACCESS_TOKENS, access_tokens),
        (DEVICES, devices),
        (SHARES, shares),
        (INVITATIONS, invitations),
        (COMMANDS, commands),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_what_is_kept_comes_back(
    db: sqlite3.Connection, table: Table[Any], things: st.SearchStrategy[Any]
) -> None:
    @given(things)
    def check(thing: object) -> None:
        back = _there_and_back(db, table, thing)
        assert back == thing
        assert _types(back) == _types(thing)  # an enum equals its text, but is not its text

    check()


@given(new_events, st.integers(1, 2**60))
def test_an_event_comes_back_and_hashes_the_same(
    db: sqlite3.Connection, new: NewEvent, seq: int
) -> None:
    (kept,) = as_kept([new])
    event = chain(GENESIS, seq, kept)
    back = _there_and_back(db, EVENTS, event)
    assert back == event
    assert event.hash == chain(GENESIS, seq, new).hash
    assert chain(GENESIS, seq, back.new).hash == event.hash


@given(any_time)
def test_a_time_is_cut_to_the_millisecond_that_the_wire_shows(at: datetime) -> None:
    assert iso(moment(ms(at))) == iso(at)
    assert timedelta(0) <= at - moment(ms(at)) < timedelta(milliseconds=1)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        ms(datetime(2026, 1, 1))


def test_there_is_a_column_for_every_field(db: sqlite3.Connection) -> None:
    for table in (USERS, ACCESS_TOKENS, DEVICES, SHARES, INVITATIONS, COMMANDS, EVENTS):
        known = [row[1] for row in db.execute(f"PRAGMA table_info({table.name})")]
        assert sorted(set(known) - {"n"}) == sorted(table.columns)

"""Device tokens, ids, and the bucket that floods are measured by."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.ids import is_id, new_command_id, new_id
from doorlock.daemon.domain.rates import Bucket

T0 = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_token_is_64_hex_digits_and_new_each_time() -> None:
    made = {tokens.new_token() for _ in range(50)}
    assert len(made) == 50
    assert all(len(token) == 64 and int(token, 16) >= 0 for token in made)


def test_only_its_hash_is_kept_and_only_the_token_matches_it() -> None:
    token = tokens.new_token()
    kept = tokens.hashed(token)
    assert token not in kept
    assert kept == hashlib.sha256(token.encode()).hexdigest()
    assert tokens.matches(token, kept)
    assert not tokens.matches(token.upper() if token.upper() != token else token + "0", kept)
    assert not tokens.matches(tokens.new_token(), kept)
    assert not tokens.matches(kept, kept)


@pytest.mark.parametrize("token", ["", "anything"])
def test_nothing_matches_where_there_is_no_token(token: str) -> None:
    assert not tokens.matches(token, None)


@given(st.text())
def test_ids_are_told_from_names(text: str) -> None:
    assert is_id(text) == (len(text) == 24 and set(text) <= set("0123456789abcdef"))


def test_ids_are_new_each_time() -> None:
    assert is_id(new_id()) and new_id() != new_id()
    assert len(new_command_id()) == 36 and new_command_id() != new_command_id()


def test_a_bucket_gives_its_size_at_once_and_then_its_rate() -> None:
    bucket = Bucket(3, 2, T0)
    assert [bucket.take(T0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(T0 + timedelta(milliseconds=499))
    assert bucket.take(T0 + timedelta(milliseconds=500))
    assert not bucket.take(T0 + timedelta(milliseconds=999))


def test_a_full_bucket_holds_no_more() -> None:
    bucket = Bucket(2, 100, T0)
    later = T0 + timedelta(days=1)
    assert [bucket.take(later) for _ in range(3)] == [True, True, False]


def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    bucket = Bucket(1, 1, T0)
    assert bucket.take(T0)
    assert not bucket.take(T0 - timedelta(hours=1))
    assert bucket.take(T0 - timedelta(hours=1) + timedelta(seconds=1))


@given(st.lists(st.integers(0, 3000), max_size=60))
def test_never_more_than_the_size_and_the_rate_allow(gaps: list[int]) -> None:
    size, rate = 5, 2
    bucket, now, taken = Bucket(size, rate, T0), T0, 0
    for gap in gaps:
        now += timedelta(milliseconds=gap)
        taken += bucket.take(now)
    assert taken <= size + rate * (now - T0).total_seconds() + 1e-6

"""Who is one visitor, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from doorlock.daemon.domain.visitors import (
    Arrival,
    Refused,
    Verdict,
    Visitor,
    VisitorStatus,
    decide,
    expire,
    join,
    open_visitor,
    with_command,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEN = timedelta(minutes=10)
RING, ONE, TWO = Arrival(bell=True), Arrival(image="1" * 64), Arrival(image="2" * 64)
YES, NO = Verdict(True, "ada", note="come in"), Verdict(False, "grace")


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def visitor(arrival: Arrival = RING, **fields: object) -> Visitor:
    return replace(open_visitor("v", "camera", arrival, NOON, TEN), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "second"), [(RING, ONE), (ONE, RING)])
def test_a_ring_and_a_picture_within_a_minute_are_one(first: Arrival, second: Arrival) -> None:
    joined = join(visitor(first), second, after(60))
    assert joined == visitor(Arrival(True, ONE.image), version=1)


@pytest.mark.parametrize(
    ("there", "arrival", "seconds"),
    [
        (visitor(), ONE, 60.001),
        (visitor(ONE), TWO, 1),
        (visitor(status=VisitorStatus.GRANTED), ONE, 1),
        (visitor(status=VisitorStatus.EXPIRED), RING, 1),
        (visitor(expires_at=after(30)), ONE, 30),
    ],
    ids=["too late", "another picture", "let in", "expired", "as good as expired"],
)
def test_what_comes_is_somebody_else(there: Visitor, arrival: Arrival, seconds: float) -> None:
    assert join(there, arrival, after(seconds)) is None


@pytest.mark.parametrize(("first", "second"), [(RING, RING), (ONE, ONE)])
def test_the_same_again_changes_nothing(first: Arrival, second: Arrival) -> None:
    there = visitor(first)
    assert join(there, second, after(5)) is there


def test_the_first_message_counts() -> None:
    there = visitor(replace(RING, message="parcel"))
    joined = join(there, replace(ONE, message="other"), after(1))
    assert joined is not None and joined.message == "parcel"


@pytest.mark.parametrize("verdict", [YES, NO])
def test_a_decision_says_who_when_and_why(verdict: Verdict) -> None:
    decided = decide(visitor(ONE), verdict, after(5))
    assert isinstance(decided, Visitor)
    wanted = VisitorStatus.GRANTED if verdict.granted else VisitorStatus.DENIED
    assert (decided.status, decided.decided_by, decided.note) == (wanted, verdict.by, verdict.note)
    assert (decided.decided_at, decided.image, decided.version) == (after(5), ONE.image, 1)


@pytest.mark.parametrize("status", [s for s in VisitorStatus if s is not VisitorStatus.PENDING])
@pytest.mark.parametrize("verdict", [YES, NO])
def test_nobody_decides_twice(status: VisitorStatus, verdict: Verdict) -> None:
    assert isinstance(decide(visitor(status=status), verdict, after(1)), Refused)


def test_nobody_decides_too_late() -> None:
    assert isinstance(decide(visitor(), YES, after(600)), Refused)
    assert isinstance(decide(visitor(), YES, after(599)), Visitor)


def test_a_decision_counts_for_the_picture_that_was_shown() -> None:
    shown = replace(YES, any_image=False, image=ONE.image)
    assert isinstance(decide(visitor(ONE), shown, after(1)), Visitor)
    assert isinstance(decide(visitor(TWO), shown, after(1)), Refused)
    assert isinstance(decide(visitor(RING), shown, after(1)), Refused)
    none = replace(YES, any_image=False)
    assert isinstance(decide(visitor(ONE), none, after(1)), Refused)
    assert isinstance(decide(visitor(RING), none, after(1)), Visitor)


def test_who_waits_in_vain_expires_once() -> None:
    assert expire(visitor(), after(599)) is None
    expired = expire(visitor(), after(600))
    assert expired is not None and expired.status is VisitorStatus.EXPIRED
    assert expire(expired, after(700)) is None


@given(st.floats(-1000, 1000), st.sampled_from([RING, ONE, TWO]))
def test_a_clock_that_is_set_makes_no_two_of_one(seconds: float, arrival: Arrival) -> None:
    joined = join(visitor(), arrival, after(seconds))
    assert (joined is None) == (seconds > 60)


class Life(RuleBasedStateMachine):
    """Whatever comes in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.there = visitor()
        self.decisions = 0
        self.before = [self.there]

    def _becomes(self, new: Visitor) -> None:
        assert new.version == self.there.version + 1
        self.before.append(new)
        self.there = new

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(arrival=st.sampled_from([RING, ONE, TWO]))
    def arrive(self, arrival: Arrival) -> None:
        joined = join(self.there, arrival, self.now)
        if joined is not None and joined is not self.there:
            assert self.there.is_pending
            assert self.now - self.there.opened_at <= timedelta(minutes=1)
            self._becomes(joined)

    @rule(verdict=st.sampled_from([YES, NO, replace(YES, any_image=False, image=ONE.image)]))
    def judge(self, verdict: Verdict) -> None:
        decided = decide(self.there, verdict, self.now)
        if isinstance(decided, Visitor):
            assert self.now < self.there.expires_at
            assert decided.image == self.there.image
            self.decisions += 1
            self._becomes(decided)

    @rule()
    def tick(self) -> None:
        if (expired := expire(self.there, self.now)) is not None:
            self.decisions += 1
            self._becomes(expired)

    @rule()
    def unlock(self) -> None:
        if self.there.status is VisitorStatus.GRANTED and self.there.command_id is None:
            self._becomes(with_command(self.there, "c"))

    @invariant()
    def decided_once_and_on_one_picture(self) -> None:
        assert self.decisions == (not self.there.is_pending)
        shown = [one.image for one in self.before if one.image is not None]
        assert len(set(shown)) <= 1
        over = [one for one in self.before if not one.is_pending]
        fixed = {(one.status, one.image, one.decided_by, one.decided_at) for one in over}
        assert len(fixed) <= 1


TestLife = Life.TestCase

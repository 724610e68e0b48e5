"""Any sequence of inputs, in any order, with time moving forward: what must never happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from doorlock.daemon.domain.commands import (
    Ack,
    AckStatus,
    Cancel,
    Changed,
    Command,
    Ignored,
    Input,
    Send,
    Tick,
    Undelivered,
    decide,
)
from doorlock.protocol import FINISHED, INTERACTIVE, CommandName, CommandStatus, Transport

S = CommandStatus
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OWN, OTHER = "a" * 24, "b" * 24
LATE_ENDS = {S.EXECUTED_LATE, S.FAILED}
FIXED = (
    "id",
    "device_id",
    "name",
    "issued_by",
    "issued_at",
    "expires_at",
    "wait",
    "payload",
    "operator_id",
    "idempotency_key",
)
RANK = {S.QUEUED: 0, S.SENT: 1, S.RECEIVED: 2, S.EXECUTING: 3}
FROM = {
    S.QUEUED: {S.SENT},
    S.SENT: {S.QUEUED, S.SENT},
    S.RECEIVED: {S.SENT},
    S.EXECUTING: {S.SENT, S.RECEIVED},
    S.EXECUTED: {S.SENT, S.RECEIVED, S.EXECUTING},
    S.FAILED: {S.SENT, S.RECEIVED, S.EXECUTING, S.TIMED_OUT},
    S.TIMED_OUT: {S.SENT, S.RECEIVED, S.EXECUTING},
    S.EXPIRED: {S.QUEUED},
    S.CANCELLED: {S.QUEUED, S.SENT},
    S.EXECUTED_LATE: {S.SENT, S.RECEIVED, S.EXECUTING, S.TIMED_OUT},
}


class Life(RuleBasedStateMachine):
    """One command, and whatever may happen to it."""

    @initialize(
        name=st.sampled_from(list(CommandName)),
        life=st.integers(1, 60_000),
        wait=st.integers(0, 30_000),
    )
    def issued(self, name: CommandName, life: int, wait: int) -> None:
        self.now = START
        self.sends: list[tuple[datetime, Transport]] = []
        self.command = Command(
            id="c",
            device_id=OWN,
            name=name,
            issued_by="u" * 24,
            issued_at=START,
            expires_at=START + timedelta(milliseconds=life),
            wait=timedelta(milliseconds=wait),
        )

    @rule(span=st.one_of(st.just(0), st.integers(0, 2_000), st.integers(0, 100_000)))
    def time_passes(self, span: int) -> None:
        self.now += timedelta(milliseconds=span)

    @rule(by=st.sampled_from([-1, 0, 1]))
    def time_comes_to_the_expiry(self, by: int) -> None:
        self.now = max(self.now, self.command.expires_at + timedelta(milliseconds=by))

    @rule(by=st.sampled_from([-1, 0, 1]))
    def time_comes_to_what_is_due(self, by: int) -> None:
        self.now = max(self.now, self.command.due_at + timedelta(milliseconds=by))

    @rule(via=st.sampled_from(list(Transport)))
    def send(self, via: Transport) -> None:
        before = self.command
        if self.given(Send(via)):
            self.sends.append((self.now, via))
            assert before.status in (S.QUEUED, S.SENT)
            assert self.command.via is via

    @rule(
        device=st.sampled_from([OWN, OWN, OWN, OTHER]),
        status=st.sampled_from(list(AckStatus)),
        via=st.sampled_from(list(Transport)),
        times=st.integers(1, 2),
    )
    def ack(self, device: str, status: AckStatus, via: Transport, times: int) -> None:
        for _ in range(times):
            before = self.command
            if self.given(Ack(device, status, via)):
                assert device == OWN
                assert before.sent_at is not None
                assert self.command.via is via
                assert self.command.acknowledged_at is not None
            elif device == OTHER or before.sent_at is None:
                decision = decide(before, Ack(device, status, via), self.now)
                assert isinstance(decision, Ignored) and decision.suspicious

    @rule()
    def undelivered(self) -> None:
        before = self.command
        if self.given(Undelivered("gone")):
            assert before.status is S.SENT
            if self.command.status is S.QUEUED:  # nobody heard of it: it is as if never sent
                assert before.name not in INTERACTIVE and self.now < before.expires_at
                self.sends.clear()
            else:
                assert self.command.status is S.CANCELLED
                assert self.command.error_message == "gone"

    @rule()
    def cancel(self) -> None:
        before = self.command
        if self.given(Cancel("no")):
            assert before.sent_at is None and self.command.status is S.CANCELLED

    @rule()
    def tick(self) -> None:
        before = self.command
        if self.given(Tick()):
            assert self.now >= before.due_at
            never_sent = before.sent_at is None
            assert self.command.status is (S.EXPIRED if never_sent else S.TIMED_OUT)
        else:
            assert before.is_finished or self.now < before.due_at

    def given(self, given: Input) -> bool:
        """Let it happen, and check what holds for every input; whether anything changed."""
        before = self.command
        decision = decide(before, given, self.now)
        if isinstance(decision, Ignored):
            assert decision.reason
            return False
        assert isinstance(decision, Changed)
        after = decision.command
        assert after.version == before.version + 1
        assert decision.event.value == f"command_{after.status}"
        assert all(getattr(after, name) == getattr(before, name) for name in FIXED)
        assert before.status in FROM[after.status]
        if before.status in FINISHED:
            assert before.status is S.TIMED_OUT and after.status in LATE_ENDS
        if isinstance(given, Ack):
            late = before.status is S.TIMED_OUT or self.now >= before.due_at
            assert decision.detail.get("late", False) is late
            assert after.status is not S.EXECUTED or not late
        if after.status in (S.EXECUTED, S.EXECUTED_LATE):
            assert given == Ack(OWN, AckStatus.EXECUTED, after.via or Transport.MQTT)
        if (
            before.status in RANK
            and after.status in RANK
            and not isinstance(given, Send | Undelivered)
        ):
            assert RANK[after.status] > RANK[before.status]
        self.command = after
        return True

    @invariant()
    def never_sent_when_it_has_expired_and_once_over_each_transport(self) -> None:
        assert all(at < self.command.expires_at for at, _ in self.sends)
        used = [via for _, via in self.sends]
        assert len(used) == len(set(used))
        assert list(self.command.tried) == used
        assert (self.command.sent_at is None) == (not self.sends)

    @invariant()
    def its_slot_is_free_exactly_when_it_is_finished(self) -> None:
        command = self.command
        finished = command.status in FINISHED
        assert command.is_finished == finished == (command.finished_at is not None)
        busy = command.name in INTERACTIVE and not finished
        assert command.slot == (OWN if busy else None)

    @invariant()
    def what_was_never_sent_ends_as_nothing_happened(self) -> None:
        if not self.sends:
            assert self.command.status in (S.QUEUED, S.EXPIRED, S.CANCELLED)
            assert self.command.acknowledged_at is None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)

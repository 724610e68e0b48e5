"""Every state of a command is reached by the way that leads there, and no other input leaves it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from doorlock.daemon.domain.commands import (
    FIRMWARE_WAIT,
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
from doorlock.protocol import FINISHED, CommandName, CommandStatus, Transport

S = CommandStatus
WS, MQTT = Transport.WEBSOCKET, Transport.MQTT
T0 = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DEVICE = "d" * 24
RECEIVED, EXECUTING, EXECUTED, FAILED = (Ack(DEVICE, status, WS) for status in AckStatus)


def seconds(count: float) -> datetime:
    return T0 + timedelta(seconds=count)


def unlock() -> Command:
    return Command(
        id="c",
        device_id=DEVICE,
        name=CommandName.UNLOCK_DOOR,
        issued_by="u" * 24,
        issued_at=T0,
        expires_at=seconds(30),
        wait=timedelta(seconds=5),
        payload={"duration": 5000},
    )


def after(*story: tuple[float, Input], command: Command | None = None) -> Command:
    """`command` once each input has happened at its second; every one must change it."""
    found = command or unlock()
    for at, given in story:
        decision = decide(found, given, seconds(at))
        assert isinstance(decision, Changed), (given, decision)
        found = decision.command
    return found


SENT = (0, Send(WS))
TIMED_OUT = (SENT, (35, Tick()))

WAYS: dict[CommandStatus, tuple[tuple[float, Input], ...]] = {
    S.QUEUED: (),
    S.SENT: (SENT,),
    S.RECEIVED: (SENT, (1, RECEIVED)),
    S.EXECUTING: (SENT, (1, RECEIVED), (2, EXECUTING)),
    S.EXECUTED: (SENT, (1, RECEIVED), (2, EXECUTING), (3, EXECUTED)),
    S.FAILED: (SENT, (1, RECEIVED), (2, FAILED)),
    S.TIMED_OUT: TIMED_OUT,
    S.EXPIRED: ((30, Tick()),),
    S.CANCELLED: ((1, Cancel("changed my mind")),),
    S.EXECUTED_LATE: (*TIMED_OUT, (36, EXECUTED)),
}


@pytest.mark.parametrize("status", list(S))
def test_every_state_is_reached(status: CommandStatus) -> None:
    found = after(*WAYS[status])
    assert found.status is status
    assert found.version == len(WAYS[status])


@pytest.mark.parametrize("end", sorted(FINISHED))
def test_a_finished_command_hears_nothing_more(end: CommandStatus) -> None:
    command = after(*WAYS[end])
    given: list[Input] = [Send(WS), Send(MQTT), Cancel("x"), Undelivered("x"), Tick(), RECEIVED]
    if end is not S.TIMED_OUT:
        given += [EXECUTING, EXECUTED, FAILED]
    for one in given:
        assert isinstance(decide(command, one, seconds(100)), Ignored), one


def test_it_is_sent_until_just_before_it_expires() -> None:
    just_before = seconds(30) - timedelta(microseconds=1)
    assert isinstance(decide(unlock(), Send(WS), just_before), Changed)
    assert isinstance(decide(unlock(), Send(WS), seconds(30)), Ignored)


def test_the_failover_goes_over_the_other_transport_once_and_not_too_late() -> None:
    sent = after(SENT)
    assert isinstance(decide(sent, Send(WS), seconds(2)), Ignored)
    assert isinstance(decide(sent, Send(MQTT), seconds(30)), Ignored)
    decision = decide(sent, Send(MQTT), seconds(2))
    assert isinstance(decision, Changed)
    assert decision.detail == {"failover": True}
    assert decision.command.tried == (WS, MQTT)
    assert decision.command.sent_at == T0
    for via in Transport:
        assert isinstance(decide(decision.command, Send(via), seconds(3)), Ignored)


def test_what_the_device_has_received_is_not_sent_again() -> None:
    for status in (S.RECEIVED, S.EXECUTING, S.EXECUTED):
        assert isinstance(decide(after(*WAYS[status]), Send(MQTT), seconds(3)), Ignored)


def test_an_ack_of_another_device_moves_nothing_and_is_suspicious() -> None:
    for status in AckStatus:
        decision = decide(after(SENT), Ack("e" * 24, status, WS), seconds(1))
        assert isinstance(decision, Ignored) and decision.suspicious


def test_an_ack_of_what_was_never_sent_moves_nothing_and_is_suspicious() -> None:
    for end in (S.QUEUED, S.EXPIRED, S.CANCELLED):
        decision = decide(after(*WAYS[end]), EXECUTED, seconds(31))
        assert isinstance(decision, Ignored) and decision.suspicious


def test_acks_that_come_twice_or_out_of_order_are_no_news() -> None:
    executing = after(*WAYS[S.EXECUTING])
    for ack in (RECEIVED, EXECUTING):
        decision = decide(executing, ack, seconds(3))
        assert isinstance(decision, Ignored) and not decision.suspicious


@pytest.mark.parametrize(("end", "ack"), [(S.EXECUTED, FAILED), (S.FAILED, EXECUTED)])
def test_an_ack_that_contradicts_the_outcome_is_suspicious(end: CommandStatus, ack: Ack) -> None:
    decision = decide(after(*WAYS[end]), ack, seconds(4))
    assert isinstance(decision, Ignored) and decision.suspicious


def test_the_outcome_is_awaited_for_the_duration_beyond_the_expiry() -> None:
    sent = after(SENT)
    assert sent.due_at == seconds(35)
    just_before = seconds(35) - timedelta(microseconds=1)
    assert isinstance(decide(sent, Tick(), just_before), Ignored)
    timed_out = after(*TIMED_OUT)
    assert timed_out.finished_at == seconds(35)
    assert "may have happened or not" in (timed_out.error_message or "")


def test_a_late_failure_is_a_failure_and_says_that_it_is_late() -> None:
    decision = decide(after(*TIMED_OUT), replace(FAILED, error_message="jammed"), seconds(36))
    assert isinstance(decision, Changed)
    assert decision.command.status is S.FAILED
    assert decision.command.error_message == "jammed"
    assert decision.detail == {"late": True}


def test_a_late_word_that_is_no_outcome_changes_nothing() -> None:
    for ack in (RECEIVED, EXECUTING):
        assert isinstance(decide(after(*TIMED_OUT), ack, seconds(36)), Ignored)


def test_settings_are_awaited_from_when_they_were_sent() -> None:
    waiting = replace(
        unlock(),
        name=CommandName.UPDATE_SETTINGS,
        expires_at=T0 + timedelta(days=1),
        wait=timedelta(seconds=30),
    )
    assert waiting.due_at == T0 + timedelta(days=1)
    assert waiting.slot is None
    sent = after((3600, Send(WS)), command=waiting)
    assert sent.due_at == seconds(3630)


def test_a_firmware_update_is_awaited_for_ten_minutes() -> None:
    firmware = replace(unlock(), name=CommandName.FIRMWARE_UPDATE, wait=FIRMWARE_WAIT)
    sent = after((10, Send(WS)), command=firmware)
    assert sent.due_at == seconds(10) + timedelta(minutes=10)


def test_only_a_command_that_was_sent_can_be_undelivered() -> None:
    assert isinstance(decide(unlock(), Undelivered("x"), T0), Ignored)
    ended = after(SENT, (0, Undelivered("nobody there")))
    assert (ended.status, ended.error_message) == (S.CANCELLED, "nobody there")


def test_settings_that_reached_nobody_wait_again() -> None:
    settings = replace(unlock(), name=CommandName.UPDATE_SETTINGS)
    waiting = after(SENT, (0, Undelivered("nobody there")), command=settings)
    assert (waiting.status, waiting.tried, waiting.sent_at) == (S.QUEUED, (), None)
    assert after((1, Send(WS)), command=waiting).status is S.SENT


def test_an_ack_after_the_deadline_is_late_though_nobody_has_said_so_yet() -> None:
    sent = after(SENT)
    late = decide(sent, Ack(sent.device_id, AckStatus.EXECUTED, WS), sent.due_at)
    assert isinstance(late, Changed)
    assert late.command.status is S.EXECUTED_LATE


def test_a_failure_without_a_reason_says_so() -> None:
    assert after(*WAYS[S.FAILED]).error_message == "the device gave no reason"


def test_when_it_was_first_heard_of_is_kept() -> None:
    done = after(*WAYS[S.EXECUTED])
    assert done.acknowledged_at == seconds(1)
    assert done.finished_at == seconds(3)

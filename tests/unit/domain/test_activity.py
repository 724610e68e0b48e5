"""The event log in words."""

from __future__ import annotations

from typing import Any

import pytest

from doorlock.daemon.domain.activity import ACTIVITY, ALERTING, alert_of, line_of
from doorlock.daemon.domain.events import EventType, NewEvent
from tests.support.clock import START


def event(kind: EventType, **payload: Any) -> NewEvent:
    return NewEvent(kind, START, payload=payload)


@pytest.mark.parametrize("kind", EventType)
def test_every_event_can_be_told_even_where_nothing_is_known_of_it(kind: EventType) -> None:
    line = line_of(event(kind), None, None)
    assert line.icon.isalpha() and line.message
    assert "{" not in line.message and "None" not in line.message


@pytest.mark.parametrize("kind", EventType)
def test_only_what_is_said_to_alert_does(kind: EventType) -> None:
    found = [alert_of(event(kind, status=status), "front") for status in ("locked", "jammed")]
    assert any(found) is (kind in ALERTING)


@pytest.mark.parametrize(
    ("kind", "payload", "told"),
    [
        (EventType.COMMAND_QUEUED, {"command": "unlock_door"}, "ada asked to unlock front"),
        (EventType.COMMAND_EXECUTED, {"command": "unlock_door"}, "front was unlocked"),
        (
            EventType.COMMAND_FAILED,
            {"command": "lock_door", "errorMessage": "stuck"},
            "the attempt to lock front failed: stuck",
        ),
        (EventType.VISITOR_ARRIVED, {"bellPressed": True}, "somebody rang at front"),
        (EventType.VISITOR_GRANTED, {"decidedBy": "bob"}, "bob let a visitor in at front"),
        (EventType.SHARE_GRANTED, {"username": "bob"}, "ada shared front with bob"),
        (EventType.LOW_BATTERY, {"batteryLevel": 7}, "the battery of front is low (7%)"),
    ],
)
def test_a_line_names_who_and_what(kind: EventType, payload: dict[str, Any], told: str) -> None:
    assert line_of(event(kind, **payload), "front", "ada").message == told


def test_a_name_is_text_and_nothing_else() -> None:
    line = line_of(event(EventType.SHARE_GRANTED, username="{device.x}"), "{user}", "{0}")
    assert line.message == "{0} shared {user} with {device.x}"


@pytest.mark.parametrize(
    ("status", "level"), [("jammed", "critical"), ("error", "error"), ("unlocked", None)]
)
def test_a_door_alerts_when_it_is_in_trouble(status: str, level: str | None) -> None:
    alert = alert_of(event(EventType.STATUS_CHANGED, status=status), "front")
    assert (alert.level if alert else None) == level


def test_the_steps_of_a_command_are_no_activity() -> None:
    steps = {EventType.COMMAND_SENT, EventType.COMMAND_RECEIVED, EventType.COMMAND_EXECUTING}
    assert frozenset(EventType) - ACTIVITY == steps

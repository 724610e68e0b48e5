"""Sharing from the command line: schedules, invitations, transfers, and who may open a door."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doorlock.times import parse_time
from tests.support.fake_daemon import FakeDaemon, Reply, failure
from tests.unit.cli.conftest import DEVICE_ID, Runner, device

FRONT = "/api/device/front"
OFFICE = "Mon-Fri 09:00-17:00"
CODE = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX"
GRANTED = {"username": "ann", "permission": "control", "deviceName": "front"}
INVITED = {
    "id": "7" * 24,
    "email": "new@example.org",
    "permission": "control",
    "deviceName": "front",
    "codeExpiresAt": "2026-11-30T12:00:00.000Z",
    "open": True,
    "grantedByName": "ann",
}


def left(text: str) -> timedelta:
    return parse_time(text) - datetime.now(UTC)


def test_a_schedule_is_sent_as_it_was_written(daemon: FakeDaemon, runner: Runner) -> None:
    granted = {**GRANTED, "schedule": OFFICE, "timezone": "Europe/Berlin"}
    daemon.on("POST", f"{FRONT}/share", Reply(granted, status=201))
    result = runner("share", "front", "ann", "--permission", "control", "--schedule", OFFICE)
    assert result.out == f"ann has control of front, {OFFICE} (Europe/Berlin)\n"
    assert daemon.requests[0].body == {"user": "ann", "permission": "control", "schedule": OFFICE}


def test_a_schedule_that_cannot_be_read_says_why(daemon: FakeDaemon, runner: Runner) -> None:
    message = "the schedule cannot be read: 'noon' is neither a weekday nor a time"
    daemon.on("POST", f"{FRONT}/share", failure(400, "bad_input", message, hint="For example: x"))
    result = runner("share", "front", "ann", "--permission", "view", "--schedule", "noon")
    assert result.code == 2
    assert message in result.err and "For example: x" in result.err


def test_a_dry_run_says_what_would_change(daemon: FakeDaemon, runner: Runner) -> None:
    plan = {
        "dryRun": True,
        "invitation": False,
        "changes": {"permission": ["view", "control"], "schedule": [None, OFFICE]},
    }
    daemon.on("POST", f"{FRONT}/share", plan)
    arguments = ("share", "front", "ann", "--permission", "control", "--dry-run")
    result = runner(*arguments)
    assert result.out.splitlines() == ["permission: view -> control", f"schedule: - -> {OFFICE}"]
    assert daemon.requests[0].body["dryRun"] is True
    assert runner(*arguments, "-o", "json").json["data"] == plan
    daemon.on("POST", f"{FRONT}/share", {"changes": {}})
    assert "nothing would change" in runner(*arguments).out
    invitation = {"invitation": True, "changes": {"permission": [None, "control"]}}
    daemon.on("POST", f"{FRONT}/share", invitation)
    assert "has no account and would be invited" in runner(*arguments).out


def test_an_invitation_shows_its_code_once(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("POST", f"{FRONT}/share", Reply({**INVITED, "code": CODE}, status=201))
    arguments = ("share", "front", "new@example.org", "--permission", "control", "--invite")
    result = runner(*arguments, "--invite-until", "3d")
    assert result.out.splitlines() == [
        "invited new@example.org to control of front",
        f"code: {CODE}",
    ]
    assert "not shown again" in result.err
    body = daemon.requests[0].body
    assert body["invite"] is True
    assert abs(left(body["inviteExpiresAt"]) - timedelta(days=3)) < timedelta(minutes=1)
    assert runner(*arguments, "-q").out == f"{CODE}\n"
    assert runner(*arguments, "-o", "json").json["data"]["code"] == CODE


def test_invitations(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/invitations", [INVITED])
    daemon.on("DELETE", "/api/invitations/new@example.org", INVITED)
    assert "new@example.org" in runner("invitations", "ls").out
    result = runner("invitations", "revoke", "new@example.org")
    assert result.out == "new@example.org is no longer invited to front\n"
    daemon.on("GET", "/api/invitations", [])
    assert runner("invitations", "ls").err == "No invitations.\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_code_is_never_an_argument(daemon: FakeDaemon, runner: Runner, terminal: bool) -> None:
    daemon.on("POST", "/api/invitations/accept", Reply(GRANTED, status=201))
    runner.terminal, runner.answers = terminal, f"{CODE}\n"
    result = runner("invitations", "accept")
    assert result.out == "you have control of front\n"
    assert daemon.requests[0].body == {"code": CODE}
    assert runner("invitations", "accept", CODE).code == 2


def test_without_a_code_nothing_is_asked(daemon: FakeDaemon, runner: Runner) -> None:
    assert runner("invitations", "accept").code == 2
    runner.terminal = True
    assert runner("--no-input", "invitations", "accept").code == 2
    assert daemon.requests == []


def test_a_device_is_offered_and_accepted(daemon: FakeDaemon, runner: Runner) -> None:
    offer = {
        "deviceName": "front",
        "deviceId": DEVICE_ID,
        "owner": {"username": "ann"},
        "to": {"username": "bob"},
        "expiresAt": "2026-11-30T12:00:00.000Z",
    }
    daemon.on("POST", f"{FRONT}/transfer", Reply(offer, status=201))
    daemon.on("GET", "/api/transfers", [offer])
    mine = {"name": "front", "shares": [{"username": "eve"}]}
    daemon.on("POST", f"{FRONT}/transfer/accept", mine)
    daemon.on("DELETE", f"{FRONT}/transfer", {"name": "front"})
    assert runner("transfer", "offer", "front", "bob").code == 2
    assert daemon.requests == []
    assert runner("transfer", "offer", "front", "bob", "-y").code == 0
    assert daemon.requests[0].body == {"user": "bob"}
    assert "bob" in runner("transfer", "ls").out
    result = runner("transfer", "accept", "front", "--drop-shares")
    assert result.out == "front is yours\n"
    assert "eve" in result.err and "token rotate" in result.err
    assert daemon.seen("POST", f"{FRONT}/transfer/accept")[0].body == {"dropShares": True}
    assert runner("transfer", "cancel", "front").out == "front is offered no longer\n"


EXPLAINED: dict[str, Any] = {
    "deviceName": "front",
    "timezone": "Europe/Berlin",
    "at": "2026-11-23T12:00:00.000Z",
    "from": "log",
    "notes": ["the log begins later"],
    "people": [
        {"username": "ann", "mayOpen": True, "permission": "owner", "reason": "owns the device"},
        {
            "username": "bob\x1b[2J",
            "mayOpen": False,
            "permission": "none",
            "reason": "is disabled",
            "certain": False,
        },
    ],
}


def test_access_explain(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", f"{FRONT}/access", EXPLAINED)
    result = runner("access", "explain", "front", "--user", "bob", "--at", "-2h")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("front at ") and lines[0].endswith("by the log (Europe/Berlin)")
    assert lines[1] == "Note: the log begins later."
    assert "owns the device" in lines[3] and "yes" in lines[3]
    assert "not certain" in lines[4] and "\x1b" not in result.out
    query = daemon.requests[0].query
    assert query["user"] == "bob"
    assert abs(left(query["at"]) + timedelta(hours=2)) < timedelta(minutes=1)
    assert runner("access", "explain", "front", "-o", "json").json["data"] == EXPLAINED


@pytest.mark.parametrize(("at", "hours"), [("2h", 2), ("+2h", 2), ("-30m", -0.5)])
def test_a_time_from_now(daemon: FakeDaemon, runner: Runner, at: str, hours: float) -> None:
    daemon.on("GET", f"{FRONT}/access", EXPLAINED)
    runner("access", "explain", "front", f"--at={at}")
    assert abs(left(daemon.requests[0].query["at"]) - timedelta(hours=hours)) < timedelta(minutes=1)


def test_what_is_no_time_is_a_usage_error(daemon: FakeDaemon, runner: Runner) -> None:
    assert runner("access", "explain", "front", "--at", "noon").code == 2
    assert daemon.requests == []


def test_the_zone_of_a_door_is_set(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("PUT", FRONT, device())
    assert runner("set", "front", "--timezone", "Europe/Berlin").out == "front changed\n"
    assert runner("set", "front", "room=hall", "--timezone", "UTC").code == 0
    assert runner("set", "front", "timezone=UTC").code == 0
    assert [request.body for request in daemon.requests] == [
        {"timezone": "Europe/Berlin"},
        {"room": "hall", "timezone": "UTC"},
        {"timezone": "UTC"},
    ]
    assert runner("set", "front").code == 2
    assert len(daemon.requests) == 3


def test_shares_show_their_schedule(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", f"{FRONT}/shares", [{**GRANTED, "schedule": OFFICE, "grantedByName": "bea"}])
    out = runner("shares", "front").out
    assert OFFICE in out and "bea" in out

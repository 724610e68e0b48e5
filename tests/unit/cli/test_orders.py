"""Lock, unlock, snapshot, restart: what is sent, what is waited for, what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from doorlock.cli import orders
from tests.support.fake_daemon import HANG_UP, FakeDaemon, Reply, Stream, Turns, failure, frame
from tests.unit.cli.conftest import COMMAND_ID, DEVICE_ID, Runner, command, device, event, outcome

COMMAND = "/api/device/front/command"
STREAM = "/api/events/stream"


def test_an_unlock_is_confirmed(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    result = runner("unlock", "front", "--for", "5s", "--timeout", "10s")
    assert result.code == 0
    assert result.out.startswith("front: executed in 0.")
    assert result.out.endswith(" via websocket; door locked (sensor)\n")
    assert result.err == ""
    sent = daemon.seen("POST", COMMAND)[0]
    assert sent.body == {"command": "unlock_door", "payload": {"duration": 5000}, "timeout": 10.0}
    assert len(sent.headers["idempotency-key"]) == 32
    assert daemon.seen("GET", STREAM)[0].query == {"command": COMMAND_ID, "after": "7"}


def test_no_two_runs_share_a_key(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    runner("unlock", "front")
    runner("unlock", "front")
    keys = {request.headers["idempotency-key"] for request in daemon.seen("POST", COMMAND)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("verb", "name", "payload"),
    [
        ("lock", "lock_door", {}),
        ("unlock", "unlock_door", {}),
        ("snapshot", "request_snapshot", {"quality": "high"}),
        ("restart", "restart_device", {}),
    ],
)
def test_each_verb_has_its_command(
    daemon: FakeDaemon, runner: Runner, verb: str, name: str, payload: dict[str, Any]
) -> None:
    outcome(daemon, "executed")
    result = runner(verb, "-y", "front")
    assert (result.code, "executed" in result.out) == (0, True)
    assert daemon.seen("POST", COMMAND)[0].body == {"command": name, "payload": payload}


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("executed", 0, "executed"),
        ("executed_late", 0, "later than it should"),
        ("failed", 5, "the bolt is stuck"),
        ("timed_out", 3, "unknown"),
        ("expired", 9, "nothing happened"),
        ("cancelled", 9, "nothing happened"),
    ],
)
def test_every_end_has_its_exit(
    daemon: FakeDaemon, runner: Runner, status: str, code: int, said: str
) -> None:
    outcome(daemon, status, errorMessage="the bolt is stuck")
    result = runner("unlock", "front")
    assert result.code == code
    assert said in result.out + result.err
    assert bool(result.out) == (code == 0)


@pytest.mark.parametrize("status", ["executed", "failed"])
def test_a_jammed_door_is_never_a_success(daemon: FakeDaemon, runner: Runner, status: str) -> None:
    outcome(daemon, status, door=device(lockState="jammed"))
    result = runner("lock", "front", "-o", "json")
    assert result.code == 5
    assert result.json["error"]["code"] == "jammed"


@pytest.mark.parametrize(
    ("sensed_at", "code"), [("2026-11-23T18:00:02.000Z", 5), ("2026-11-23T17:00:00.000Z", 0)]
)
def test_a_sensor_that_contradicts_a_lock_counts_if_it_spoke_since(
    daemon: FakeDaemon, runner: Runner, sensed_at: str, code: int
) -> None:
    outcome(daemon, "executed", door=device(lockState="unlocked", lockStateAt=sensed_at))
    assert runner("lock", "front").code == code


@pytest.mark.parametrize(
    ("status", "code", "exits"),
    [
        (503, "device_offline", 7),
        (403, "not_allowed", 4),
        (401, "not_authenticated", 4),
        (404, "not_found", 10),
        (409, "conflict", 6),
        (400, "bad_input", 2),
    ],
)
def test_a_refusal_is_told_and_nothing_is_waited_for(
    daemon: FakeDaemon, runner: Runner, status: int, code: str, exits: int
) -> None:
    daemon.on("POST", COMMAND, failure(status, code, "no way", hint="another way"))
    result = runner("unlock", "front")
    assert (result.code, result.out) == (exits, "")
    assert result.err == "doorlock: no way\n  another way\n"
    assert len(daemon.requests) == 1


def test_a_stream_that_breaks_is_taken_up_where_it_was(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    first = Stream([event("command_sent", 8, status="sent", via="mqtt")])
    second = Stream([event("command_executed", 9, status="executed")])
    daemon.on("GET", STREAM, Turns(first, HANG_UP, second))
    assert runner("unlock", "front").code == 0
    assert [request.query["after"] for request in daemon.seen("GET", STREAM)] == ["7", "8", "8"]


def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_key(
    daemon: FakeDaemon, runner: Runner
) -> None:
    outcome(daemon, "executed")
    daemon.on("POST", COMMAND, Turns(HANG_UP, daemon.routes["POST", COMMAND]))
    assert runner("unlock", "front").code == 0
    keys = [request.headers["idempotency-key"] for request in daemon.seen("POST", COMMAND)]
    assert len(keys) == 2 and len(set(keys)) == 1


def test_a_daemon_that_goes_away_while_told_leaves_the_outcome_unknown(
    daemon: FakeDaemon, runner: Runner
) -> None:
    daemon.on("POST", COMMAND, HANG_UP)
    result = runner("unlock", "front", "-o", "json")
    assert result.code == 3
    assert "unknown" in result.json["error"]["message"]


def test_the_wait_ends_when_nothing_can_come_any_more(
    daemon: FakeDaemon, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "GRACE", 0.05)
    same = "2026-11-23T18:00:00.000Z"
    stuck = command("sent", issuedAt=same, expiresAt=same)
    daemon.on("POST", COMMAND, Reply(stuck, extra={"position": 7}))
    daemon.on("GET", STREAM, HANG_UP)
    daemon.on("GET", f"/api/command/{COMMAND_ID}", stuck)
    daemon.on("GET", f"/api/device/{DEVICE_ID}", device())
    result = runner("unlock", "front")
    assert (result.code, "unknown" in result.err) == (3, True)


def test_a_daemon_that_dies_while_waiting_leaves_the_outcome_unknown(
    daemon: FakeDaemon, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "GRACE", 0.05)
    same = "2026-11-23T18:00:00.000Z"
    daemon.on("POST", COMMAND, Reply(command("sent", issuedAt=same, expiresAt=same)))
    daemon.on("GET", STREAM, HANG_UP)
    daemon.on("GET", f"/api/command/{COMMAND_ID}", HANG_UP)
    result = runner("unlock", "front")
    assert (result.code, "unknown" in result.err) == (3, True)


def test_a_command_that_is_over_already_is_not_waited_for(
    daemon: FakeDaemon, runner: Runner
) -> None:
    outcome(daemon, "executed")
    daemon.on("POST", COMMAND, Reply(command("executed"), extra={"position": 7}))
    assert runner("unlock", "front").code == 0
    assert not daemon.seen("GET", STREAM)


def test_the_outcome_stands_when_the_device_may_no_longer_be_seen(
    daemon: FakeDaemon, runner: Runner
) -> None:
    outcome(daemon, "executed")
    daemon.on("GET", f"/api/device/{DEVICE_ID}", failure(404, "not_found"))
    result = runner("unlock", "front")
    assert (result.code, "executed" in result.out) == (0, True)


def test_without_waiting_nothing_is_claimed(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("POST", COMMAND, Reply(command("sent"), extra={"position": 7}))
    result = runner("unlock", "front", "--no-wait")
    assert result.code == 0
    assert COMMAND_ID in result.out and "executed" not in result.out
    assert len(daemon.requests) == 1


def test_a_dry_run_says_so_to_the_daemon(daemon: FakeDaemon, runner: Runner) -> None:
    data = {"allowed": True, "device": device(), "command": "unlock_door", "via": "mqtt"}
    daemon.on("POST", COMMAND, data)
    result = runner("unlock", "front", "--dry-run")
    assert (result.code, result.out) == (0, "front: unlock_door would be sent via mqtt\n")
    assert daemon.requests[0].body["dryRun"] is True
    assert len(daemon.requests) == 1


def test_json_carries_the_command_and_the_door(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    answer = runner("unlock", "front", "-o", "json").json
    assert (answer["schema"], answer["ok"]) == (1, True)
    assert answer["data"]["status"] == "executed"
    assert answer["data"]["commandId"] == COMMAND_ID
    assert answer["data"]["lockState"] == "locked"


def test_several_doors_are_all_told_before_any_is_waited_for(
    daemon: FakeDaemon, runner: Runner
) -> None:
    outcome(daemon, "executed")
    daemon.on("POST", "/api/device/back/command", daemon.routes["POST", COMMAND])
    result = runner("unlock", "front", "back", "front", "-o", "json")
    assert result.code == 0
    assert [each["device"] for each in result.json["data"]] == ["front", "back"]
    assert [request.method for request in daemon.requests[:3]] == ["POST", "POST", "GET"]


def test_some_of_several_is_partial_and_each_is_named(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    daemon.on("POST", "/api/device/back/command", failure(503, "device_offline", "back is off"))
    people = runner("unlock", "front", "back")
    assert people.code == 11
    assert "front: executed" in people.out and "back is off" in people.err
    scripts = runner("unlock", "front", "back", "-o", "json")
    assert scripts.code == 11
    assert scripts.json["error"]["code"] == "partial"
    assert [each["ok"] for each in scripts.json["data"]] == [True, False]
    assert scripts.json["data"][1]["error"]["code"] == "device_offline"


def test_none_of_several_for_one_reason_has_that_exit(daemon: FakeDaemon, runner: Runner) -> None:
    for name in ("front", "back"):
        daemon.on("POST", f"/api/device/{name}/command", failure(503, "device_offline"))
    assert runner("unlock", "front", "back").code == 7
    daemon.on("POST", "/api/device/back/command", failure(404, "not_found"))
    assert runner("unlock", "front", "back").code == 1


def test_an_interruption_stops_the_waiting_alone(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")

    def interrupt() -> bytes:
        # The stream sits in another thread; the main one is where a signal would land.
        import _thread

        _thread.interrupt_main()
        return b": ping\n\n"

    daemon.on("GET", STREAM, Stream([frame("hello", {}), interrupt, *[b": ping\n\n"] * 500]))
    result = runner("unlock", "front")
    assert result.code == 130
    assert "goes on" in result.err and COMMAND_ID in result.err
    assert not daemon.seen("POST", f"/api/command/{COMMAND_ID}/cancel")


def test_progress_is_for_a_terminal_and_leaves_nothing_behind(
    daemon: FakeDaemon, runner: Runner
) -> None:
    outcome(daemon, "executed")
    runner.terminal = True
    result = runner("unlock", "front")
    assert "front: sent via websocket…" in result.err
    assert result.err.endswith("\r\x1b[K")
    assert runner("unlock", "front", "-q").err == ""


def test_quiet_says_nothing_of_a_success(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    result = runner("-q", "unlock", "front")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_a_name_cannot_speak_to_the_terminal(daemon: FakeDaemon, runner: Runner) -> None:
    evil = "\x1b]0;x\x07\u202efront[/red]"
    outcome(daemon, "executed")
    daemon.on("POST", COMMAND, Reply(command(deviceName=evil), extra={"position": 7}))
    daemon.on("GET", f"/api/command/{COMMAND_ID}", command("executed", deviceName=evil))
    runner.terminal = True
    result = runner("unlock", "front", "--no-color")
    everything = (result.out + result.err).replace("\r\x1b[K", "")
    assert "\x1b" not in everything and "\u202e" not in everything
    assert "\\x1b]0;x\\x07\\u202efront[/red]: executed" in result.out

"""Every verb that is not an order to a door: what it asks the daemon, and what it prints."""

from __future__ import annotations

import base64
import getpass
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from doorlock import __version__
from doorlock.protocol import API_VERSION
from doorlock.times import parse_time
from tests.support.fake_daemon import HANG_UP, FakeDaemon, Reply, Stream, Turns, failure, frame
from tests.unit.cli.conftest import COMMAND_ID, DEVICE_ID, Runner, command, device, event

FRONT = "/api/device/front"
STREAM = "/api/events/stream"
TOKEN = "ab" * 32
MADE = {**device(), "deviceToken": TOKEN, "onboardingURL": "https://x/p?t=1", "qrCode": "data:,"}
ANN = {"id": "7", "username": "ann", "role": "user", "isActive": True}


def test_ls_shows_state_with_its_age_and_origin(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/device", [device(), device("gar\x1bden", lockStateSource="none")])
    result = runner("ls", "--status", "online")
    head, front, garden = result.out.splitlines()
    assert head.split() == ["NAME", "STATUS", "DOOR", "BATTERY", "ROOM", "SEEN", "ESP", "ID"]
    assert "locked (sensor, " in front and "88%" in front and "ESP32-001" in front
    assert garden.startswith("gar\\x1bden")
    assert daemon.requests[0].query["status"] == "online"


def test_ls_of_nothing_says_how_to_begin(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/device", [])
    result = runner("ls")
    assert (result.code, result.out) == (0, "")
    assert "doorlock register" in result.err
    assert runner("ls", "-q").err == ""


def test_a_list_as_ndjson_is_an_item_a_line(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/device", [{"id": "1"}, {"id": "2"}])
    assert runner("ls", "-o", "ndjson").out == '{"id": "1"}\n{"id": "2"}\n'


def test_show_tells_all_and_the_last_commands(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", FRONT, device(lastCommands=[command("executed")]))
    shown = runner("show", "front").out
    assert "locked (sensor, " in shown and "your permission  owner" in shown
    assert COMMAND_ID in shown


def test_register_shows_the_token_once(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("POST", "/api/device/register", Reply(MADE, status=201))
    result = runner("register", "front", "--esp-id", "ESP32-001", "--room", "hall")
    assert result.code == 0
    assert result.out == f"registered front\ntoken: {TOKEN}\n"
    assert "not shown again" in result.err
    assert daemon.requests[0].body == {
        "name": "front",
        "espId": "ESP32-001",
        "deviceType": "door-lock",
        "room": "hall",
    }
    assert runner("-q", "register", "front", "--esp-id", "E").out == f"{TOKEN}\n"


def test_register_draws_the_code_on_a_terminal(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("POST", "/api/device/register", Reply(MADE, status=201))
    runner.terminal = True
    assert "▄" in runner("register", "front", "--esp-id", "E").out


def test_a_token_file_is_private_and_the_only_copy(
    daemon: FakeDaemon, runner: Runner, tmp_path: Path
) -> None:
    daemon.on("POST", "/api/device/register", Reply(MADE, status=201))
    file = tmp_path / "token"
    result = runner("register", "front", "--esp-id", "E", "--token-file", str(file), "-o", "json")
    assert file.read_text() == TOKEN + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert TOKEN not in result.out and "onboardingURL" not in result.out


def test_a_token_file_that_cannot_be_made_registers_nothing(
    daemon: FakeDaemon, runner: Runner, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("another")
    result = runner("register", "front", "--esp-id", "E", "--token-file", str(file))
    assert result.code == 2
    assert not daemon.requests
    assert file.read_text() == "another"


def test_a_refused_registration_leaves_no_file(
    daemon: FakeDaemon, runner: Runner, tmp_path: Path
) -> None:
    daemon.on("POST", "/api/device/register", failure(409, "conflict"))
    file = tmp_path / "token"
    assert runner("register", "a", "--esp-id", "E", "--token-file", str(file)).code == 6
    assert not file.exists()


def test_rename_and_set_send_only_what_changes(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("PUT", FRONT, device("gate", command=command("queued")))
    assert runner("rename", "front", "gate").out == "front is now gate\n"
    result = runner(
        "set", "front", "room=back=yard", "active=no", "auto-lock-timeout=5s",
        "motion-sensitivity=40", "capture-mode=manual", "notifications=on",
    )  # fmt: skip
    assert result.out == "gate changed; telling the device: queued\n"
    assert [request.body for request in daemon.requests] == [
        {"name": "gate"},
        {
            "room": "back=yard",
            "isActive": False,
            "settings": {
                "autoLockTimeout": 5000,
                "motionSensitivity": 40,
                "captureMode": "manual",
                "enableNotifications": True,
            },
        },
    ]


def test_a_misspelt_key_is_answered_with_the_nearest(runner: Runner) -> None:
    assert "did you mean capture-mode?" in runner("set", "front", "capture=manual").err


ASKING = [
    (["rm", "front"], "DELETE", FRONT, None),
    (["token", "rotate", "front"], "POST", f"{FRONT}/token/rotate", MADE),
    (["token", "revoke", "front"], "POST", f"{FRONT}/token/revoke", None),
    (["user", "disable", "ann"], "POST", "/api/users/ann/disable", ANN),
]


@pytest.mark.parametrize(("arguments", "method", "path", "data"), ASKING, ids=lambda v: str(v)[:24])
def test_what_destroys_asks_first(
    daemon: FakeDaemon, runner: Runner, arguments: list[str], method: str, path: str, data: Any
) -> None:
    daemon.on(method, path, Reply(data))
    result = runner(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "-y" in result.err
    assert runner(*arguments, "-o", "json").json["error"]["code"] == "confirmation_needed"
    runner.terminal = True
    runner.answers = "y\n"
    assert runner(*arguments, "--no-input").code == 2
    runner.answers = "n\n"
    assert runner(*arguments).code == 9
    runner.answers = ""
    assert runner(*arguments).code == 9
    assert not daemon.requests
    runner.answers = "yes\n"
    assert runner(*arguments).code == 0
    runner.terminal = False
    assert runner(*arguments, "-y").code == 0
    assert len(daemon.seen(method, path)) == 2


def test_qr_prints_the_address_and_writes_the_picture(
    daemon: FakeDaemon, runner: Runner, tmp_path: Path
) -> None:
    picture = "data:image/png;base64," + base64.b64encode(b"PNG").decode()
    code = {"onboardingURL": "https://x/p", "qrCode": picture, "expiresAt": None}
    daemon.on("GET", f"{FRONT}/qr", code)
    assert runner("qr", "front").out == "https://x/p\n"
    file = tmp_path / "code.png"
    assert "https" not in runner("qr", "front", "--png", str(file)).out
    assert file.read_bytes() == b"PNG"
    assert runner("qr", "front", "--png", str(tmp_path / "no" / "x.png")).code == 2


def test_share_takes_spans_and_times(daemon: FakeDaemon, runner: Runner) -> None:
    granted = {"username": "ann", "permission": "view", "deviceName": "front"}
    daemon.on("POST", f"{FRONT}/share", granted)
    result = runner(
        "share", "front", "ann", "--permission", "view",
        "--from", "2026-12-01T18:00:00+02:00", "--until", "3d",
    )  # fmt: skip
    assert result.out == "ann has view of front\n"
    body = daemon.requests[0].body
    assert body["user"] == "ann" and body["permission"] == "view"
    assert body["startsAt"] == "2026-12-01T16:00:00.000Z"
    left = parse_time(body["expiresAt"]) - datetime.now(UTC)
    assert abs(left - timedelta(days=3)) < timedelta(minutes=1)


def test_a_time_without_a_zone_is_the_persons_own(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("POST", f"{FRONT}/share", {})
    runner("share", "front", "ann", "--permission", "view", "--until", "2026-12-01T18:00")
    local = datetime.fromisoformat("2026-12-01T18:00").astimezone()
    assert parse_time(daemon.requests[0].body["expiresAt"]) == local


def test_unshare_and_shares(daemon: FakeDaemon, runner: Runner) -> None:
    each = {"deviceName": "front", "username": "ann", "permission": "control", "active": True}
    daemon.on("DELETE", f"{FRONT}/share/ann", Reply(None))
    daemon.on("GET", f"{FRONT}/shares", [each])
    daemon.on("GET", "/api/shares", [])
    assert runner("unshare", "front", "ann").code == 0
    assert "control" in runner("shares", "front").out
    result = runner("shares")
    assert (result.code, result.out, result.err) == (0, "", "No shares.\n")


def test_users(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("POST", "/api/users", Reply(ANN, status=201))
    daemon.on("GET", "/api/users", [ANN])
    daemon.on("GET", "/api/users/ann", ANN)
    daemon.on("GET", "/api/auth/me", ANN)
    daemon.on("POST", "/api/users/ann/enable", ANN)
    daemon.on("POST", "/api/users/ann/link", ANN)
    assert runner("user", "add", "ann", "--email", "a@x").out == "added ann (7)\n"
    assert daemon.requests[0].body == {"username": "ann", "email": "a@x", "role": "user"}
    assert "ann" in runner("user", "ls").out
    assert "ann" in runner("user", "show", "ann").out
    assert "ann" in runner("whoami").out
    assert runner("user", "enable", "ann").code == 0
    assert runner("user", "link", "ann", getpass.getuser()).code == 0
    assert runner("user", "link", "ann", "4242").code == 0
    linked = [request.body["uid"] for request in daemon.seen("POST", "/api/users/ann/link")]
    assert linked == [os.getuid(), 4242]


def test_commands(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", FRONT, device())
    daemon.on("GET", "/api/command/history", {"history": [command("failed")], "pagination": {}})
    daemon.on("GET", f"/api/command/{COMMAND_ID}", command("sent"))
    daemon.on("POST", f"/api/command/{COMMAND_ID}/cancel", command("cancelled"))
    assert "failed" in runner("command", "ls", "--device", "front").out
    assert daemon.requests[-1].query == {"limit": "20", "device": DEVICE_ID}
    assert "sent" in runner("command", "show", COMMAND_ID).out
    assert runner("command", "cancel", COMMAND_ID).out == f"{COMMAND_ID}: cancelled\n"


def log_of(total: int) -> Any:
    """A log of `total` events that answers as the daemon does."""

    def answer(request: Any) -> Reply:
        before = int(request.query.get("before", total + 1))
        newest_first = range(min(before - 1, total), 0, -1)
        chosen = list(newest_first)[: int(request.query["limit"])]
        rows = [{"seq": n, "eventType": "motion_detected", "payload": {"n": n}} for n in chosen]
        return Reply(rows, extra={"position": total})

    return answer


def test_events_are_the_last_in_order(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/logs", log_of(9))
    daemon.on("GET", FRONT, device())
    result = runner(
        "events", "-n", "3", "--since", "1h", "--device", "front", "--user", "ann",
        "--type", "command_sent", "--type", "command_failed",
    )  # fmt: skip
    assert [line.split()[-1] for line in result.out.splitlines()[1:]] == ["n=7", "n=8", "n=9"]
    query = daemon.requests[-1].query
    assert query["device"] == DEVICE_ID and query["user"] == "ann"
    assert query["type"] == "command_sent,command_failed"
    back = datetime.now(UTC) - parse_time(query["since"])
    assert abs(back - timedelta(hours=1)) < timedelta(minutes=1)


def test_more_events_than_a_page_are_all_there(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/logs", log_of(2500))
    data = runner("events", "-n", "2200", "-o", "json").json["data"]
    assert [each["seq"] for each in data] == list(range(301, 2501))


def test_following_events_misses_nothing_across_a_break(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/logs", log_of(2))
    first = [frame("hello", {"position": 2}), event("command_sent", 3, n=3)]
    second = [frame("hello", {}), frame("gap", {"requested": 3, "firstAvailable": 5})]
    last = [event("command_sent", 5, n=5)]
    turns = Turns(Stream(first), HANG_UP, Stream([*second, *last]), failure(403, "not_allowed"))
    daemon.on("GET", STREAM, turns)
    result = runner("events", "--follow", "-o", "json")
    assert result.code == 4
    lines = result.out.splitlines()
    assert len(lines) == 5
    assert all(f'"n": {n}' in line for n, line in zip([1, 2, 3, 5], lines[:4], strict=True))
    assert '"ok": false' in lines[4] and "not_allowed" in lines[4]
    afters = [request.query["after"] for request in daemon.seen("GET", STREAM)]
    assert afters == ["2", "3", "3", "5"]
    assert "trying again" in result.err and "pruned" in result.err


def test_the_log_is_verified_and_exported(daemon: FakeDaemon, runner: Runner) -> None:
    sound = {"ok": True, "checked": 9, "fromSeq": 1, "toSeq": 9}
    daemon.on("GET", "/api/events/verify", Turns(sound, {**sound, "ok": False, "brokenAt": 4}))
    assert runner("events", "verify").out == "unbroken: 9 checked, events 1 to 9\n"
    broken = runner("events", "verify", "-o", "json")
    assert (broken.code, broken.json["data"]["brokenAt"]) == (1, 4)
    daemon.on("GET", "/api/events/export", Stream([b'{"seq": 1}\n{"se', b'q": 2}\n'], cut=False))
    result = runner("events", "export", "--type", "a", "--until", "2d")
    assert result.out == '{"seq": 1}\n{"seq": 2}\n'
    assert daemon.requests[-1].query.keys() == {"type", "until"}


@pytest.mark.parametrize(
    ("until", "now"),
    [
        ("online", {}),
        ("offline", {"online": False}),
        ("locked", {}),
        ("unlocked", {"lockState": "unlocked"}),
    ],
)
def test_wait_returns_at_once_when_it_is_so(
    daemon: FakeDaemon, runner: Runner, until: str, now: dict[str, Any]
) -> None:
    daemon.on("GET", FRONT, device(**now))
    result = runner("wait", "front", "--until", until)
    assert (result.code, result.out) == (0, f"front: {until}\n")
    assert len(daemon.requests) == 1


def test_wait_hears_of_the_change(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", FRONT, Reply(device(online=False), extra={"position": 4}))
    later = Turns(device(online=False), HANG_UP, device(online=False), device())
    daemon.on("GET", f"/api/device/{DEVICE_ID}", later)
    frames = [frame("hello", {}), *(event("device_connected", n) for n in (5, 6, 7))]
    daemon.on("GET", STREAM, Stream(frames))
    assert runner("wait", "front", "--until", "online").code == 0
    assert daemon.seen("GET", STREAM)[0].query == {"device": DEVICE_ID, "after": "4"}


def test_wait_takes_a_moment_that_has_passed_for_seen(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", FRONT, device())
    daemon.on("GET", f"/api/device/{DEVICE_ID}", device())
    daemon.on("GET", STREAM, Stream([event("status_changed", 5, status="unlocked")]))
    assert runner("wait", "front", "--until", "unlocked").code == 0


def test_wait_gives_up_after_its_time(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", FRONT, device())
    daemon.on("GET", f"/api/device/{DEVICE_ID}", device())
    daemon.on("GET", STREAM, HANG_UP)
    result = runner("wait", "front", "--until", "offline", "--timeout", "100ms", "-o", "json")
    assert (result.code, result.json["error"]["code"]) == (3, "timed_out")


def test_watch_shows_the_state_and_then_the_changes(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", FRONT, Reply(device(), extra={"position": 4}))
    other = frame("command_sent", {"deviceId": "9", "eventType": "other"}, 5)
    frames = Stream([other, event("status_changed", 6, status="unlocked")])
    daemon.on("GET", STREAM, Turns(frames, failure(403, "not_allowed")))
    result = runner("watch", "front")
    assert result.code == 4
    state, change = result.out.splitlines()
    assert state.startswith("front") and "locked (sensor" in state
    assert "status_changed" in change and "status=unlocked" in change
    assert daemon.seen("GET", STREAM)[0].query == {"after": "4"}


HEALTH = {
    "status": "ok",
    "version": __version__,
    "uptime": 3700,
    "services": {
        "store": "ok",
        "mqtt": {"status": "off", "message": "no mosquitto", "sessions": 0},
    },
    "devices": {"total": 2, "online": 1},
    "checks": [
        {"name": "store", "status": "ok", "message": "writes"},
        {"name": "mqtt", "status": "warning", "message": "off", "hint": "apt install mosquitto"},
    ],
}
VERSION = {"version": __version__, "api": API_VERSION, "url": "http://127.0.0.1:3000"}


def test_status(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/health/detailed", HEALTH)
    for words in (["status"], ["daemon", "status"]):
        shown = runner(*words).out
        assert "1h1m40s" in shown and "off: no mosquitto\n" in shown
        assert "sessions 0" in runner(*words, "-v").out
        assert "total 2, online 1" in shown


def test_doctor_prints_each_check_with_its_mend(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/version", VERSION)
    daemon.on("GET", "/api/health/detailed", HEALTH)
    result = runner("doctor")
    assert result.code == 0
    assert "warning  mqtt: off\n         apt install mosquitto\n" in result.out
    assert f"ok       socket: the daemon answers at {daemon.socket}" in result.out


@pytest.mark.parametrize("wrong", [{"api": API_VERSION + 1}, {"version": "0.0.1"}])
def test_doctor_compares_the_versions(
    daemon: FakeDaemon, runner: Runner, wrong: dict[str, Any]
) -> None:
    daemon.on("GET", "/api/version", {**VERSION, **wrong})
    daemon.on("GET", "/api/health/detailed", HEALTH)
    result = runner("doctor", "-o", "json")
    check = next(each for each in result.json["data"] if each["name"] == "version")
    assert (check["status"], result.code) == (("error", 1) if "api" in wrong else ("warning", 0))


def test_doctor_without_a_daemon_says_how_to_start_it(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.stop()
    result = runner("doctor")
    assert result.code == 8
    assert "error    socket: " in result.out and "doorlock daemon run" in result.out


def test_doctor_of_a_stranger_says_so(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/version", VERSION)
    refusal = failure(403, "not_allowed", "uid 7 is nobody", hint="doorlock user link")
    daemon.on("GET", "/api/health/detailed", refusal)
    result = runner("doctor")
    assert result.code == 1
    assert "uid 7 is nobody" in result.out and "doorlock user link" in result.out


def test_version_names_both(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/version", VERSION)
    assert runner("version").out.splitlines() == [
        f"doorlock {__version__}",
        f"daemon {__version__} at http://127.0.0.1:3000",
    ]


def test_config_show_is_flat(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/config", {"listen": {"port": 3000, "cors_origins": []}})
    assert runner("config", "show").out == "listen.port          3000\nlisten.cors_origins  -\n"


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["daemon", "run"], []),
        (["daemon", "run", "--config", "f", "--set", "a.b=c"], ["--config", "f", "--set", "a.b=c"]),
        (["daemon", "run", "--help"], ["--help"]),
        (["config", "validate"], ["--check-config"]),
        (["config", "validate", "f.toml"], ["--check-config", "--config", "f.toml"]),
        (["config", "path"], ["--print-config-path"]),
        (["broker", "mosquitto-conf", "-x"], ["--print-mosquitto-conf", "-x"]),
        (["--socket", "/s", "daemon", "run"], ["--socket", "/s"]),
        (["daemon", "run", "--socket", "/s"], ["--socket", "/s"]),
    ],
    ids=str,
)  # fmt: skip
def test_the_daemons_own_verbs_become_its_program(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, words: list[str], arguments: list[str]
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, command: became.append(command))
    assert runner(*words).code == 0
    assert became[0][1:] == ["-m", "doorlock.daemon", *arguments]


def test_the_manual_is_shown(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, command: became.append(command))
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == "man" else None)
    runner("man")
    assert became[0][:2] == ["/bin/man", "-l"] and became[0][2].endswith("/doorlock.1")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert ".Dt DOORLOCK 1" in runner("man", "doorlock.1").out
    missing = runner("man", "nonsense")
    assert (missing.code, "doorlock.1" in missing.err) == (10, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(runner: Runner, shell: str) -> None:
    assert "_DOORLOCK_COMPLETE" in runner("completion", shell).out


def complete(runner: Runner, capsys: pytest.CaptureFixture[str], line: str) -> list[str]:
    words = line.split(" ")
    runner.env |= {"_DOORLOCK_COMPLETE": "complete_bash"}
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = line, str(len(words) - 1)
    try:
        assert runner().code == 0
    finally:
        del os.environ["COMP_WORDS"], os.environ["COMP_CWORD"]
    return capsys.readouterr().out.split()


def test_completion_knows_verbs_names_and_permissions(
    daemon: FakeDaemon, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = ["fr$(rm -rf)", "fr`id`", "fr\nont", 'fr"', "fr ont", "fr*"]
    daemon.on("GET", "/api/device", [device(name) for name in ["front", "garden", *evil]])
    daemon.on("GET", "/api/users", [ANN])
    assert complete(runner, capsys, "doorlock unl") == ["unlock"]
    assert complete(runner, capsys, "doorlock token r") == ["rotate", "revoke"]
    assert complete(runner, capsys, "doorlock unlock fr") == ["front"]
    assert complete(runner, capsys, "doorlock share front a") == ["ann"]
    assert complete(runner, capsys, "doorlock share front ann --permission c") == ["control"]
    assert complete(runner, capsys, "doorlock wait front --until o") == ["online", "offline"]
    assert "--follow" in complete(runner, capsys, "doorlock events --f")


def test_completion_without_a_daemon_is_silent(
    daemon: FakeDaemon, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.stop()
    assert complete(runner, capsys, "doorlock unlock fr") == []

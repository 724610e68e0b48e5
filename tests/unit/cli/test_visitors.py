"""The verbs of visitors: what they ask the daemon, and what they print."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from doorlock.cli.pictures import drawing
from tests.support.fake_daemon import FakeDaemon, Raw, Reply, Stream, failure, frame
from tests.support.pictures import JPEG_1PX, png
from tests.unit.cli.conftest import COMMAND_ID, DEVICE_ID, Runner, command, outcome

VISITOR_ID, OTHER_ID, IMAGE = "a" * 24, "b" * 24, "c" * 64
LOGS, PENDING = "/api/door/logs", "/api/door/logs/pending"
ONE = f"{LOGS}/{VISITOR_ID}"
OPEN, DENY = "/api/command/open", "/api/command/deny"


def visitor(status: str = "pending", **changes: Any) -> dict[str, Any]:
    return {
        "id": VISITOR_ID,
        "deviceId": DEVICE_ID,
        "deviceName": "front",
        "timestamp": "2026-11-23T18:00:00.000Z",
        "expiresAt": "2026-11-23T18:10:00.000Z",
        "status": status,
        "image": IMAGE,
        "bellPressed": True,
        "message": "a parcel",
        "note": "",
        "decidedBy": None,
        **changes,
    }


def decided(**unlock: Any) -> Reply:
    body = visitor("granted", decision="granted", unlock=unlock or None)
    return Reply(body, extra={"position": 7})


def picture(daemon: FakeDaemon, content: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    daemon.on("GET", f"/api/door/picture/{DEVICE_ID}/{IMAGE}", Raw(head + content))


def test_ls_lists_who_came(daemon: FakeDaemon, runner: Runner) -> None:
    gone = visitor("denied", image=None, decidedByName="an\x1bn", note="no")
    daemon.on("GET", LOGS, [visitor(), gone])
    result = runner("visitors", "ls", "--status", "pending", "--device", "front", "-n", "5")
    head, first, second = result.out.splitlines()
    assert head.split()[:4] == ["TIME", "DEVICE", "STATUS", "RANG"]
    assert "front" in first and "pending" in first and VISITOR_ID in first
    assert "an\\x1bn" in second
    query = daemon.requests[0].query
    assert query == {"status": "pending", "device": "front", "limit": "5"}


def test_ls_of_nobody(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", LOGS, [])
    result = runner("visitors", "ls")
    assert (result.code, result.out, result.err) == (0, "", "No visitors.\n")
    assert runner("visitors", "ls", "--status", "odd").code == 2


def test_show_by_id_and_by_device(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", ONE, visitor())
    daemon.on("GET", LOGS, [visitor()])
    for ref in (VISITOR_ID, "front"):
        result = runner("visitors", "show", ref)
        assert result.code == 0
        assert "a parcel" in result.out and "pending" in result.out
    assert daemon.requests[1].query == {"device": "front", "limit": "1"}
    assert runner("visitors", "show", VISITOR_ID, "-o", "json").json["data"]["image"] == IMAGE


def test_show_writes_the_picture(daemon: FakeDaemon, runner: Runner, tmp_path: Path) -> None:
    daemon.on("GET", ONE, visitor())
    picture(daemon, JPEG_1PX)
    file = tmp_path / "who.jpg"
    result = runner("visitors", "show", VISITOR_ID, "--out", str(file))
    assert (result.code, file.read_bytes()) == (0, JPEG_1PX)
    assert file.stat().st_mode & 0o777 == 0o600
    assert runner("visitors", "show", VISITOR_ID, "--out", str(tmp_path / "no" / "way")).code == 2


def test_show_without_a_picture_writes_none(
    daemon: FakeDaemon, runner: Runner, tmp_path: Path
) -> None:
    daemon.on("GET", ONE, visitor(image=None))
    assert runner("visitors", "show", VISITOR_ID).code == 0
    file = tmp_path / "who.jpg"
    assert runner("visitors", "show", VISITOR_ID, "--out", str(file)).code == 10
    assert not file.exists()


def test_show_draws_on_a_terminal_that_can(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", ONE, visitor())
    picture(daemon, png())
    runner.terminal = True
    runner.env["TERM"] = "xterm-kitty"
    assert "\x1b_Gf=100,a=T,m=0;" in runner("visitors", "show", VISITOR_ID).out
    runner.env["TERM"] = "dumb"
    result = runner("visitors", "show", VISITOR_ID)
    assert "\x1b_G" not in result.out and "--out FILE" in result.err


def test_approve_sees_the_unlock_through(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    daemon.on("GET", ONE, visitor())
    daemon.on("POST", OPEN, decided(sent=True, joined=False, command=command()))
    result = runner("visitors", "approve", VISITOR_ID, "--note", "come in")
    assert result.code == 0, result.err
    assert "let in" in result.err and "executed" in result.out
    assert daemon.seen("POST", OPEN)[0].body == {
        "visitorLogId": VISITOR_ID,
        "notes": "come in",
        "image": IMAGE,
    }


def test_approve_as_json_is_one_object(daemon: FakeDaemon, runner: Runner) -> None:
    outcome(daemon, "executed")
    daemon.on("GET", ONE, visitor())
    daemon.on("POST", OPEN, decided(sent=True, joined=False, command=command()))
    data = runner("visitors", "approve", VISITOR_ID, "-o", "json").json["data"]
    assert (data["status"], data["unlock"]["command"]["status"]) == ("granted", "executed")


def test_approve_need_not_wait(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", ONE, visitor())
    daemon.on("POST", OPEN, decided(sent=True, joined=False, command=command()))
    result = runner("visitors", "approve", VISITOR_ID, "--no-wait")
    assert result.code == 0 and COMMAND_ID in result.out
    assert not daemon.seen("GET", "/api/events/stream")


def test_a_door_that_fails_says_that_the_decision_stands(
    daemon: FakeDaemon, runner: Runner
) -> None:
    outcome(daemon, "failed", errorMessage="stuck")
    daemon.on("GET", ONE, visitor())
    daemon.on("POST", OPEN, decided(sent=True, joined=False, command=command()))
    result = runner("visitors", "approve", VISITOR_ID)
    assert result.code == 5
    assert "was let in, but" in result.err and "stuck" in result.err


def test_a_door_that_is_offline_says_that_the_decision_stands(
    daemon: FakeDaemon, runner: Runner
) -> None:
    daemon.on("GET", ONE, visitor())
    away = {"code": "device_offline", "message": "'front' is offline", "hint": "later"}
    daemon.on("POST", OPEN, decided(sent=False, **away))
    result = runner("visitors", "approve", VISITOR_ID)
    assert result.code == 7
    assert "was let in, but the door was not unlocked: 'front' is offline" in result.err
    failed = runner("visitors", "approve", VISITOR_ID, "-o", "json").json
    assert failed["error"]["code"] == "device_offline"
    assert failed["data"]["status"] == "granted"


def test_a_device_stands_for_the_one_who_waits_there(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", PENDING, [visitor(image=None)])
    daemon.on("POST", DENY, visitor("denied"))
    result = runner("visitors", "deny", "front", "--note", "no")
    assert (result.code, result.out) == (0, "the visitor at front was turned away\n")
    assert daemon.seen("GET", PENDING)[0].query == {"device": "front"}
    assert daemon.seen("POST", DENY)[0].body["image"] is None


@pytest.mark.parametrize(
    ("waiting", "code"), [([], 10), ([visitor(), visitor(id=OTHER_ID)], 2)], ids=["none", "two"]
)
def test_a_device_where_not_one_waits_decides_nothing(
    daemon: FakeDaemon, runner: Runner, waiting: list[Any], code: int
) -> None:
    daemon.on("GET", PENDING, waiting)
    assert runner("visitors", "approve", "front").code == code
    assert not daemon.seen("POST", OPEN)


def test_who_comes_second_hears_of_it(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", ONE, visitor())
    daemon.on("POST", DENY, failure(409, "conflict", "the visitor was let in already"))
    result = runner("visitors", "deny", VISITOR_ID)
    assert result.code == 6
    assert "let in already" in result.err


def test_watch_begins_with_who_waits(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", PENDING, Reply([visitor()], extra={"position": 7}))
    body = {
        "seq": 8,
        "eventType": "visitor_denied",
        "deviceName": "front",
        "payload": {"visitorId": VISITOR_ID},
        "timestamp": "2026-11-23T18:00:00.000Z",
    }

    def interrupt() -> bytes:
        daemon.on("GET", "/api/events/stream", failure(403, "not_allowed"))
        return frame("visitor_denied", body, 8)

    daemon.on("GET", "/api/events/stream", Stream([frame("hello", {"position": 7}), interrupt]))
    result = runner("visitors", "watch")
    assert result.code == 4
    assert VISITOR_ID in result.out.splitlines()[1]
    assert "visitor_denied" in result.out
    query = daemon.seen("GET", "/api/events/stream")[0].query
    assert query["after"] == "7" and query["type"].startswith("visitor_arrived,")


# drawing


def test_terminals_with_a_protocol_get_the_picture_itself() -> None:
    drawn = drawing(JPEG_1PX, {"TERM_PROGRAM": "iTerm.app"}, 80)
    assert drawn is not None and drawn.startswith("\x1b]1337;File=inline=1;")
    large = png([]) + b"\0" * 9000
    pieces = (drawing(large, {"KITTY_WINDOW_ID": "1"}, 80) or "").split("\x1b\\")
    assert [piece.partition(";")[0] for piece in pieces[:-1]] == [
        "\x1b_Gf=100,a=T,m=1",
        "\x1b_Gm=1",
        "\x1b_Gm=0",
    ]


def test_other_terminals_get_half_blocks() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow: it decodes the picture")
    out = io.BytesIO()
    image.new("RGB", (10, 8), (250, 0, 0)).save(out, "PNG")
    drawn = drawing(out.getvalue(), {"TERM": "xterm"}, 6) or ""
    lines = drawn.splitlines()
    assert len(lines) == 2 and all(line.count("▀") == 6 for line in lines)
    assert "\x1b[38;2;250;0;0;48;2;250;0;0m▀" in drawn
    kitty = drawing(JPEG_1PX, {"TERM": "xterm-kitty"}, 80) or ""
    assert kitty.startswith("\x1b_Gf=100,a=T,m=0;iVBOR")


@pytest.mark.parametrize("env", [{}, {"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_a_terminal_that_cannot_gets_nothing(env: dict[str, str]) -> None:
    assert drawing(png(), env, 80) is None


def test_what_cannot_be_decoded_is_not_drawn() -> None:
    assert drawing(b"\x89PNG and no more", {"TERM": "xterm"}, 80) is None

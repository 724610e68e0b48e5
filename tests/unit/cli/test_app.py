"""The error boundary, the global options, the help of every verb, and what a verb imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from doorlock import __version__
from doorlock.cli.exit_codes import BY_CODE, ExitCode
from doorlock.cli.registry import ENTRIES, Entry
from doorlock.errors import all_errors
from tests.support.fake_daemon import HANG_UP, FakeDaemon, Raw, failure
from tests.unit.cli.conftest import Runner, device, outcome


def paths(entries: tuple[Entry, ...] = ENTRIES, before: tuple[str, ...] = ()) -> Iterator[tuple]:
    for entry in entries:
        if entry.target:
            yield entry, (*before, entry.name)
        yield from paths(entry.below, (*before, entry.name))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb_with_its_line(
    runner: Runner, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = runner(*arguments)
    assert result.code == 0
    shown = (result.out + capsys.readouterr().out).splitlines()
    for entry in ENTRIES:
        assert any(line.split()[:1] == [entry.name] and entry.help in line for line in shown)


@pytest.mark.parametrize("noun", [entry for entry in ENTRIES if entry.below], ids=lambda e: e.name)
def test_help_of_a_noun_lists_its_verbs(
    runner: Runner, noun: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner(noun.name, "--help").code == 0
    shown = capsys.readouterr().out
    for entry in noun.below:
        assert f"  {entry.name} " in shown


@pytest.mark.parametrize(
    "words", [words for entry, words in paths() if not entry.raw], ids=" ".join
)
def test_every_verb_has_help(
    runner: Runner, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner(*words, "--help").code == 0
    assert capsys.readouterr().out.startswith(f"Usage: doorlock {' '.join(words)}")


def test_a_noun_alone_is_wrong_usage(runner: Runner) -> None:
    result = runner("token")
    assert (result.code, result.out) == (2, "")
    assert "rotate" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "json", "ls"],
        ["ls", "-o", "json"],
        ["ls", "-ojson"],
        ["--output=json", "ls"],
    ],
)
def test_global_options_go_before_and_after_the_verb(
    daemon: FakeDaemon, runner: Runner, arguments: list[str]
) -> None:
    daemon.on("GET", "/api/device", [device()])
    assert runner(*arguments).json == {"schema": 1, "ok": True, "data": [device()]}


@pytest.mark.parametrize("before", [True, False])
def test_the_socket_and_the_user_are_taken_in_both_places(
    daemon: FakeDaemon, runner: Runner, before: bool
) -> None:
    daemon.on("GET", "/api/device", [])
    chosen = ["--socket", str(daemon.socket), "--as", "ann"]
    runner.env = {"HOME": "/nonexistent"}
    arguments = [*chosen, "ls"] if before else ["ls", *chosen]
    assert runner(*arguments).code == 0
    assert daemon.requests[0].headers["x-doorlock-as"] == "ann"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["unlock"],
        ["ls", "--nonsense"],
        ["ls", "-o", "yaml"],
        ["unlock", "front", "--for", "soon"],
        ["wait", "front"],
        ["wait", "front", "--until", "open"],
        ["share", "front", "ann", "--permission", "everything"],
        ["share", "front", "ann", "--permission", "view", "--until", "whenever"],
        ["set", "front", "colour=red"],
        ["set", "front", "room"],
        ["set", "front", "notifications=maybe"],
        ["user", "link", "ann", "no-such-account"],
    ],
)
def test_wrong_usage_exits_2_and_asks_the_daemon_nothing(
    daemon: FakeDaemon, runner: Runner, arguments: list[str]
) -> None:
    result = runner(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("doorlock: ")
    assert "Traceback" not in result.err
    assert not daemon.requests
    scripted = runner("-o", "json", *arguments)
    assert scripted.code == 2
    assert scripted.json["error"]["code"] in {"usage", "bad_input"}


def test_wrong_usage_is_json_even_where_the_format_comes_later(runner: Runner) -> None:
    result = runner("nonsense", "-o", "json")
    assert (result.code, result.json["ok"]) == (2, False)


def test_a_typo_is_answered_with_the_nearest_verb(runner: Runner) -> None:
    assert "'unlock'" in runner("unlokc", "front").err


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.code)
def test_every_error_has_an_exit_and_two_lines(
    daemon: FakeDaemon, runner: Runner, kind: type
) -> None:
    daemon.on("GET", "/api/device", failure(400, kind.code, "what", hint="how"))
    result = runner("ls")
    assert result.code == BY_CODE[kind.code]
    assert (result.out, result.err) == ("", "doorlock: what\n  how\n")
    scripted = runner("ls", "-o", "json")
    assert scripted.json == {
        "schema": 1,
        "ok": False,
        "error": {"code": kind.code, "message": "what", "hint": "how"},
    }
    assert scripted.err == ""


def test_the_exits_are_those_of_the_manual() -> None:
    assert {code.value for code in BY_CODE.values()} | {0} == {*range(12), 78, 130}
    assert ExitCode.BROKEN_PIPE not in BY_CODE.values()


def test_an_ambiguous_name_lists_its_matches(daemon: FakeDaemon, runner: Runner) -> None:
    matches = [{"id": "1", "name": "front", "espId": "A"}, {"id": "2", "name": "x", "espId": "B"}]
    refusal = failure(409, "ambiguous", "two of them", details={"matches": matches})
    daemon.on("GET", "/api/device/front", refusal)
    assert runner("show", "front").err == "doorlock: two of them\n  front: A, 1\n  x: B, 2\n"
    assert runner("show", "front", "-o", "json").json["error"]["details"]["matches"] == matches


def test_no_daemon_is_one_sentence_with_the_way_to_start_it(
    daemon: FakeDaemon, runner: Runner
) -> None:
    daemon.stop()
    result = runner("ls")
    assert result.code == 8
    assert result.err == (
        f"doorlock: the doorlock daemon is not running: nobody answers at {daemon.socket}\n"
        f"  start it with: doorlock daemon run --socket {daemon.socket}\n"
    )
    assert runner("ls", "-o", "json").json["error"]["code"] == "daemon_unreachable"


def test_a_daemon_that_hangs_up_is_told(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/device", HANG_UP)
    assert runner("ls").code == 8


def test_the_unexpected_is_one_line_unless_more_is_asked(
    daemon: FakeDaemon, runner: Runner
) -> None:
    daemon.on("GET", "/api/device", [1])
    result = runner("ls")
    assert result.code == 1
    assert result.err.splitlines()[1] == "  run it again with -v for the whole story"
    assert "Traceback" not in result.err
    with pytest.raises(AttributeError):
        runner("ls", "-v")


def test_nonsense_from_the_socket_is_no_crash(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/device", Raw(b"SSH-2.0-OpenSSH\r\n\r\n"))
    result = runner("ls")
    assert (result.code, len(result.err.splitlines())) == (1, 2)


def test_an_error_cannot_speak_to_the_terminal(daemon: FakeDaemon, runner: Runner) -> None:
    daemon.on("GET", "/api/device", failure(404, "not_found", "\x1b[2Jgone\nx", hint="\x07"))
    assert runner("ls").err == "doorlock: \\x1b[2Jgone\\nx\n  \\x07\n"


@pytest.mark.parametrize(
    ("env", "arguments", "coloured"),
    [
        ({}, [], True),
        ({"NO_COLOR": "1"}, [], False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, [], False),
        ({"TERM": "dumb"}, [], False),
        ({}, ["--no-color"], False),
    ],
)
def test_colour_on_a_terminal(
    daemon: FakeDaemon, runner: Runner, env: dict[str, str], arguments: list[str], coloured: bool
) -> None:
    daemon.on("GET", "/api/device", [device()])
    runner.terminal = True
    runner.env |= env
    assert ("\x1b[" in runner("ls", *arguments).out) is coloured


@pytest.mark.parametrize("forced", [True, False])
def test_colour_in_a_pipe_only_when_forced(
    daemon: FakeDaemon, runner: Runner, forced: bool
) -> None:
    daemon.on("GET", "/api/device", [device()])
    runner.env |= {"FORCE_COLOR": "1"} if forced else {}
    assert ("\x1b[" in runner("ls").out) is forced


def process(daemon: FakeDaemon, *arguments: str, **options: object) -> subprocess.Popen[str]:
    env = {**os.environ, "DOORLOCK_DAEMON__SOCKET": str(daemon.socket)}
    command = [sys.executable, "-m", "doorlock.cli.app", *arguments]
    return subprocess.Popen(command, env=env, text=True, **options)  # type: ignore[call-overload]


def test_a_closed_pipe_is_quiet(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/device", [device(f"door-{n}") for n in range(5000)])
    verb = process(daemon, "ls", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert verb.stdout is not None and verb.stderr is not None
    verb.stdout.readline()
    verb.stdout.close()
    assert verb.stderr.read() == ""
    assert verb.wait(20) == ExitCode.BROKEN_PIPE
    verb.stderr.close()


SLOW = {
    "asyncio",
    "concurrent.futures",
    "email",
    "http.client",
    "pydantic",
    "rich",
    "secrets",
    "segno",
    "socketio",
    "ssl",
    "textual",
    "doorlock.client_async",
    "doorlock.daemon",
    "doorlock.device",
    "doorlock.tui",
}
PROBE = """
import json, sys
from doorlock.cli.boundary import run
from doorlock.cli.session import session_from_process
code = run(sys.argv[1:], session_from_process())
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["unlock", "front"], ["lock", "front"], ["ls"], ["show", "front"], ["status"]],
    ids=" ".join,
)
def test_a_quick_verb_imports_nothing_slow(daemon: FakeDaemon, arguments: list[str]) -> None:
    outcome(daemon, "executed")
    daemon.on("GET", "/api/device", [device()])
    daemon.on("GET", "/api/device/front", device())
    daemon.on("GET", "/api/health/detailed", {"status": "ok"})
    env = {**os.environ, "DOORLOCK_DAEMON__SOCKET": str(daemon.socket)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        env=env, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    code, modules = json.loads(done.stderr)
    assert code == 0
    assert not SLOW & set(modules)
    own = {name for name in modules if name.startswith("doorlock.cli.commands.")}
    assert len(own) == 1


def test_the_program_answers_as_a_process(daemon: FakeDaemon) -> None:
    daemon.stop()
    verb = process(daemon, "version", stdout=subprocess.PIPE)
    out, _ = verb.communicate(timeout=30)
    assert (verb.returncode, out) == (0, f"doorlock {__version__}\ndaemon not running\n")

"""Signing in on the command line: what is asked, kept, sent and forgotten."""

from __future__ import annotations

import getpass
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from doorlock.times import parse_time, utc_now
from tests.support.fake_daemon import FakeDaemon, Reply, failure
from tests.unit.cli.conftest import Runner

ADA = {"id": "7", "username": "ada", "name": "Ada", "email": None, "role": "admin"}
ME = {**ADA, "isActive": True, "hasPassword": True}
PASSWORD = "correct horse"
TOKEN = "aaa.bbb.ccc"
SECRET = "doorlock_" + "ab" * 32
MADE = {"id": "1", "name": "ci", "scope": "view", "active": True, "token": SECRET}


@pytest.fixture
def kept(runner: Runner, tmp_path: Path) -> Path:
    """The file that sign-ins are kept in."""
    runner.env["XDG_STATE_HOME"] = str(tmp_path)
    return tmp_path / "doorlock" / "logins.json"


@pytest.fixture
def typed(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the person types where nothing is echoed; the questions take its place."""
    answers: list[str] = []
    runner.terminal = True
    monkeypatch.setattr(getpass, "getpass", lambda question: answers.pop(0))
    return answers


def sign_in(daemon: FakeDaemon, runner: Runner, *more: str) -> Any:
    daemon.on("POST", "/api/auth/login", {"user": ADA, "token": TOKEN})
    daemon.on("GET", "/api/auth/me", ME)
    runner.answers = PASSWORD + "\n"
    return runner("login", "ada", "--password-stdin", *more)


def test_a_sign_in_is_kept_for_its_person_and_sent_from_then_on(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    result = sign_in(daemon, runner)
    assert (result.code, result.out) == (0, "signed in as ada\n")
    assert daemon.requests[0].body == {"username": "ada", "password": PASSWORD}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert runner("whoami").code == 0
    assert daemon.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("shape", ["table", "json", "ndjson"])
def test_nothing_that_is_printed_holds_a_secret(
    daemon: FakeDaemon, runner: Runner, kept: Path, shape: str
) -> None:
    result = sign_in(daemon, runner, "-o", shape)
    for secret in (TOKEN, PASSWORD):
        assert secret not in result.out + result.err
    assert PASSWORD not in kept.read_text()


def test_a_password_is_typed_unseen(
    daemon: FakeDaemon, runner: Runner, kept: Path, typed: list[str]
) -> None:
    daemon.on("POST", "/api/auth/login", {"user": ADA, "token": TOKEN})
    typed.append(PASSWORD)
    result = runner("login", "ada@example.org")
    assert result.code == 0
    assert daemon.requests[0].body == {"username": "ada@example.org", "password": PASSWORD}
    assert PASSWORD not in result.out + result.err


@pytest.mark.parametrize("arguments", [["login", "ada"], ["--no-input", "login", "ada"]])
def test_without_a_terminal_stdin_is_named(
    daemon: FakeDaemon, runner: Runner, kept: Path, arguments: list[str]
) -> None:
    result = runner(*arguments)
    assert result.code == 2
    assert "--password-stdin" in result.err
    assert not daemon.requests


def test_a_refused_sign_in_keeps_nothing(daemon: FakeDaemon, runner: Runner, kept: Path) -> None:
    refused = failure(401, "not_authenticated", "Invalid credentials")
    daemon.on("POST", "/api/auth/login", refused)
    runner.answers = "wrong\n"
    assert runner("login", "ada", "--password-stdin").code == 4
    assert not kept.exists()
    runner.answers = ""
    assert runner("login", "ada", "--password-stdin").code == 2


def test_a_token_goes_to_its_own_daemon_alone(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    sign_in(daemon, runner)
    with FakeDaemon() as other:
        other.on("GET", "/api/auth/me", ME)
        assert runner("whoami", "--socket", str(other.socket)).code == 0
        assert "authorization" not in other.requests[0].headers
        other.on("POST", "/api/auth/login", {"user": ADA, "token": "x.y.z"})
        socket = ["--socket", str(other.socket)]
        assert runner("login", "ada", "--password-stdin", *socket).code == 0
        runner("whoami", *socket)
        assert other.requests[-1].headers["authorization"] == "Bearer x.y.z"
    runner("whoami")
    assert daemon.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_sign_out_ends_the_token_and_forgets_it(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    sign_in(daemon, runner)
    daemon.on("POST", "/api/auth/logout", Reply())
    assert runner("logout").out == "signed out ada\n"
    assert daemon.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in kept.read_text()
    runner("whoami")
    assert "authorization" not in daemon.requests[-1].headers
    assert runner("logout").out == "you were not signed in\n"


def test_a_sign_out_that_nobody_heard_is_not_one(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    sign_in(daemon, runner)
    daemon.stop()
    assert runner("logout").code == 8
    assert TOKEN in kept.read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"/s": {}}', '{"/s": {"token": 1}}'])
def test_a_file_that_cannot_be_read_makes_nobody_somebody_else(
    daemon: FakeDaemon, runner: Runner, kept: Path, content: str
) -> None:
    kept.parent.mkdir(parents=True)
    kept.write_text(content)
    result = runner("whoami")
    assert result.code == 2
    assert str(kept) in result.err
    assert not daemon.requests


def test_a_password_is_changed_with_the_present_one(
    daemon: FakeDaemon, runner: Runner, kept: Path, typed: list[str]
) -> None:
    daemon.on("GET", "/api/auth/me", ME)
    daemon.on("PUT", "/api/auth/password", {"user": ADA, "token": "n.e.w"})
    typed += [PASSWORD, "battery staple", "battery staple"]
    result = runner("user", "passwd")
    assert (result.code, result.out) == (0, "your password is changed\n")
    assert daemon.requests[-1].body == {
        "currentPassword": PASSWORD,
        "newPassword": "battery staple",
    }
    assert not kept.exists()  # who did not sign in is not signed in by this
    typed += [PASSWORD, "one", "another"]
    assert runner("user", "passwd").code == 2
    assert len(daemon.seen("PUT", "/api/auth/password")) == 1


def test_a_changed_password_keeps_its_person_signed_in(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    sign_in(daemon, runner)
    daemon.on("PUT", "/api/auth/password", {"user": ADA, "token": "n.e.w"})
    runner.answers = f"{PASSWORD}\nbattery staple\n"
    assert runner("user", "passwd", "--password-stdin").code == 0
    runner("whoami")
    assert daemon.requests[-1].headers["authorization"] == "Bearer n.e.w"


def test_a_first_password_needs_no_present_one(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    daemon.on("GET", "/api/auth/me", {**ME, "hasPassword": False})
    daemon.on("PUT", "/api/auth/password", {"user": ADA, "token": "n.e.w"})
    runner.answers = "battery staple\n"
    assert runner("user", "passwd", "ada", "--password-stdin").code == 0
    assert daemon.requests[-1].body == {"newPassword": "battery staple"}


def test_an_operator_sets_the_password_of_another(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    daemon.on("GET", "/api/auth/me", {**ME, "role": "super_admin"})
    for user in ("bob", "ada"):
        daemon.on("POST", f"/api/users/{user}/password", ME)
        runner.answers = "battery staple\n"
        result = runner("user", "passwd", user, "--password-stdin")
        assert result.out == f"{user} has a new password\n"
        assert daemon.requests[-1].body == {"newPassword": "battery staple"}


def test_a_user_is_added_with_a_password(daemon: FakeDaemon, runner: Runner, kept: Path) -> None:
    daemon.on("POST", "/api/users", Reply(ME, status=201))
    runner.answers = PASSWORD + "\n"
    assert runner("user", "add", "ada", "--password-stdin").code == 0
    assert daemon.requests[-1].body == {"username": "ada", "role": "user", "password": PASSWORD}


def test_the_signing_key_is_rotated_after_a_question(
    daemon: FakeDaemon, runner: Runner, kept: Path
) -> None:
    daemon.on("POST", "/api/auth/rotate-key", {"oldKeyVerifiesUntil": "2026-11-30T12:00:00.000Z"})
    assert runner("auth", "rotate-key").code == 2
    assert not daemon.requests
    assert "2026-1" in runner("auth", "rotate-key", "-y").out


# named tokens


def test_a_token_is_made_and_shown_once(daemon: FakeDaemon, runner: Runner, kept: Path) -> None:
    daemon.on("POST", "/api/auth/tokens", Reply(MADE, status=201))
    result = runner("token", "create", "ci", "--scope", "control", "--expires", "30d")
    assert result.out == f"made the token ci, for view\ntoken: {SECRET}\n"
    body = daemon.requests[0].body
    assert (body["name"], body["scope"]) == ("ci", "control")
    assert 29.9 < (parse_time(body["expiresAt"]) - utc_now()).total_seconds() / 86400 < 30.1
    assert runner("-q", "token", "create", "ci").out == f"{SECRET}\n"
    assert daemon.requests[1].body["expiresAt"] is None
    assert json.loads(runner("token", "create", "ci", "-o", "json").out)["data"]["token"] == SECRET
    assert runner("token", "create", "ci", "--scope", "owner").code == 2


@pytest.mark.parametrize("more", [[], ["-q"], ["-o", "json"]])
def test_a_token_in_a_file_is_nowhere_else(
    daemon: FakeDaemon, runner: Runner, kept: Path, tmp_path: Path, more: list[str]
) -> None:
    daemon.on("POST", "/api/auth/tokens", Reply(MADE, status=201))
    file = tmp_path / "token"
    result = runner("token", "create", "ci", "--token-file", str(file), *more)
    assert result.code == 0
    assert file.read_text() == SECRET + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SECRET not in result.out + result.err


def test_tokens_are_listed(daemon: FakeDaemon, runner: Runner, kept: Path) -> None:
    listed = {key: value for key, value in MADE.items() if key != "token"}
    daemon.on("GET", "/api/auth/tokens", [listed, {**listed, "name": "o\x1bld", "active": False}])
    head, first, second = runner("token", "ls").out.splitlines()
    assert head.split()[:2] == ["NAME", "SCOPE"]
    assert first.split()[:3] == ["ci", "view", "yes"]
    assert second.startswith("o\\x1bld")


def test_what_is_revoked_is_named(daemon: FakeDaemon, runner: Runner, kept: Path) -> None:
    daemon.on("DELETE", "/api/auth/tokens/c i", {"id": "1", "name": "c i"})
    daemon.on("POST", "/api/device/front/token/revoke", {"id": "2", "name": "front"})
    assert runner("token", "revoke", "--named", "c i").code == 2  # it asks
    assert runner("token", "revoke", "--named", "c i", "-y").out == "the token c i is revoked\n"
    assert runner("token", "revoke", "front", "-y").code == 0
    assert [request.method for request in daemon.requests] == ["DELETE", "POST"]


def test_revoking_takes_one_of_the_two(daemon: FakeDaemon, runner: Runner, kept: Path) -> None:
    assert runner("token", "revoke", "-y").code == 2
    assert runner("token", "revoke", "front", "--named", "ci", "-y").code == 2
    assert not daemon.requests
    missing = runner("token", "revoke", "ci", "-y")
    assert missing.code == 10
    assert "--named ci" in missing.err

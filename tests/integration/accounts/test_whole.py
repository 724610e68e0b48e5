"""A real daemon: signing in from the shell, a new key, a restart, and nothing secret left about."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from tests.support.daemon import Daemon

PASSWORD = "correct horse battery"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon(mqtt=False)
    try:
        yield made.start()
    finally:
        made.close()


async def test_a_sign_in_outlives_a_new_key_and_a_restart(daemon: Daemon) -> None:
    async def cli(*words: str, stdin: str = "") -> str:
        done = await daemon.cli(*words, stdin=stdin)
        assert done.code == 0, done.err
        return done.out

    daemon.secrets.append(PASSWORD)
    await cli("user", "add", "ada", "--role", "admin", "--password-stdin", stdin=PASSWORD + "\n")
    assert "role" in await cli("whoami")
    await cli("login", "ada", "--password-stdin", stdin=PASSWORD + "\n")
    assert "ada" in await cli("whoami")
    assert (await daemon.cli("auth", "rotate-key", "-y")).code == 4  # ada is no operator
    token = (await cli("-q", "token", "create", "script")).strip()
    daemon.secrets.append(token)
    await daemon.client().post("/api/auth/rotate-key")
    assert "ada" in await cli("whoami")
    daemon.stop()
    for name in ("jwt.key", "jwt.key.old"):
        file = daemon.state_dir / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        daemon.secrets.append(file.read_bytes().hex())
    daemon.start()
    assert "ada" in await cli("whoami")
    listed = await cli("token", "ls")
    assert "script" in listed
    assert token not in listed
    assert "signed out ada" in await cli("logout")
    assert (await daemon.cli("token", "ls", "-o", "json")).json["data"] == []  # it is root again
    events = repr(await daemon.events())
    assert "login_succeeded" in events
    for secret in (PASSWORD, token, "argon2"):
        assert secret not in events
    exported = await cli("events", "export")
    assert PASSWORD not in exported
    assert token not in exported
    daemon.check_log()
    assert "argon2" not in daemon.log_text

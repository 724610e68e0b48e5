"""Settings: each layer over the one below, and a clear refusal of whatever is not known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.daemon.config import Config, load, shown
from doorlock.errors import BadConfig

NOBODY = 12345


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def read(
    home: Mapping[str, str],
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    file = None
    if text is not None:
        file = Path(home["HOME"]) / "doorlock.toml"
        file.write_text(text)
    return load(file, {**home, **(env or {})}, flags or {}, NOBODY)


def refused(*layers: Any) -> BadConfig:
    with pytest.raises(BadConfig) as error:
        read(*layers)
    assert error.value.hint
    return error.value


def test_there_is_a_working_default_for_everything(home: dict[str, str]) -> None:
    config = read(home)
    state = Path(home["HOME"]) / ".local/state/doorlock"
    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 3000)
    assert config.commands.timeout == timedelta(seconds=30)
    assert config.commands.failover_after == timedelta(seconds=2)
    assert (config.presence.heartbeat, config.presence.missed) == (timedelta(seconds=30), 3)
    assert config.events.retention == timedelta(days=90)
    assert config.auth.jwt_expiration == timedelta(days=7)
    assert (config.mqtt.url, config.mqtt.embedded, config.mqtt.legacy_topics) == (
        None,
        "auto",
        False,
    )
    assert config.daemon.state_dir == state
    assert config.daemon.socket == state / "doorlock.sock"
    assert config.auth.jwt_secret_file == state / "jwt.key"
    assert config.store.url == f"sqlite:///{state}/doorlock.db"


FILE = """
[listen]
port = 4001
host = "0.0.0.0"
cors_origins = ["https://a", "https://b"]
[commands]
timeout = "10s"
"""


def test_the_file_then_the_environment_then_the_flags(home: dict[str, str]) -> None:
    assert read(home, FILE).listen.port == 4001
    env = {"DOORLOCK_LISTEN__PORT": "4002", "DOORLOCK_COMMANDS__TIMEOUT": "5s"}
    both = read(home, FILE, env)
    assert (both.listen.port, both.listen.host) == (4002, "0.0.0.0")
    assert both.commands.timeout == timedelta(seconds=5)
    every = read(home, FILE, env, {"listen": {"port": 4003}})
    assert (every.listen.port, every.commands.timeout) == (4003, timedelta(seconds=5))
    assert every.listen.cors_origins == ["https://a", "https://b"]


def test_the_default_file_is_read_where_there_is_one(home: dict[str, str]) -> None:
    folder = Path(home["HOME"]) / ".config/doorlock"
    folder.mkdir(parents=True)
    (folder / "doorlock.toml").write_text("[listen]\nport = 4444\n")
    assert read(home).listen.port == 4444


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("LISTEN__CORS_ORIGINS", "https://a, https://b,", ["https://a", "https://b"]),
        ("MQTT__LEGACY_TOPICS", "true", True),
        ("PRESENCE__MISSED", "5", 5),
        ("EVENTS__RETENTION", "1w", timedelta(weeks=1)),
        ("DAEMON__LOG_LEVEL", "debug", "debug"),
    ],
)
def test_the_environment_speaks_text(
    home: dict[str, str], name: str, value: str, found: object
) -> None:
    config = read(home, env={f"DOORLOCK_{name}": value})
    section, key = name.lower().split("__")
    assert getattr(getattr(config, section), key) == found


@pytest.mark.parametrize("name", ["DOORLOCK_SOCKET", "PATH", "XDOORLOCK_LISTEN__PORT"])
def test_what_is_not_a_setting_of_the_daemon_is_left_alone(home: dict[str, str], name: str) -> None:
    assert read(home, env={name: "/x"}) == read(home)


def test_an_unknown_key_is_refused_with_the_nearest_in_every_layer(home: dict[str, str]) -> None:
    for layers, where in (
        ((home, "[listen]\nprot = 1\n"), "doorlock.toml"),
        ((home, None, {"DOORLOCK_LISTEN__PROT": "1"}), "environment"),
        ((home, None, {}, {"listen": {"prot": 1}}), "flags"),
    ):
        error = refused(*layers)
        assert "listen.prot" in error.message and where in error.message
        assert error.hint == "Did you mean port?"


def test_an_unknown_section_is_refused_with_the_nearest_in_every_layer(
    home: dict[str, str],
) -> None:
    for layers in (
        (home, "[lisen]\nport = 1\n"),
        (home, None, {"DOORLOCK_LISEN__PORT": "1"}),
        (home, None, {}, {"lisen": {"port": 1}}),
    ):
        error = refused(*layers)
        assert "lisen" in error.message and error.hint == "Did you mean listen?"


def test_what_is_near_to_nothing_gets_the_whole_list(home: dict[str, str]) -> None:
    error = refused(home, "[events]\nzzzzzz = 1\n")
    assert error.hint == "Known are: retention."


def test_a_variable_without_a_section_is_refused(home: dict[str, str]) -> None:
    error = refused(home, None, {"DOORLOCK_LISTEN_PORT": "1"})
    assert "DOORLOCK_LISTEN_PORT" in error.message
    assert "DOORLOCK_LISTEN__PORT" in (error.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "[listen]\nport = 65536\n",
        "[listen]\nport = -1\n",
        '[listen]\nport = "many"\n',
        '[daemon]\nlog_level = "loud"\n',
        '[commands]\ntimeout = "soon"\n',
        '[commands]\ntimeout = "0s"\n',
        "[commands]\ntimeout = -5\n",
        "[commands]\ntimeout = nan\n",
        '[events]\nretention = "999999999999d"\n',
        "[presence]\nmissed = 0\n",
        '[mqtt]\nembedded = "maybe"\n',
        '[mqtt]\nurl = "http://broker"\n',
        '[store]\nurl = "postgres://db"\n',
        '[listen]\ntls_cert = "/x"\n',
        '[listen]\ntls_key = "/x"\n',
        "listen = 3\n",
        "listen",
        "[listen]\nport = 1\nport = 2\n",
    ],
)
def test_a_value_that_cannot_be_used_is_refused(home: dict[str, str], text: str) -> None:
    refused(home, text)


@pytest.mark.parametrize(
    "text",
    [
        "[commands]\ntimeout = true\n",
        "[commands]\ntimeout = inf\n",
        "[commands]\ntimeout = 1e300\n",
        '[events]\nretention = "1000000d"\n',  # before the year 1, counted from now
        '[mqtt]\nurl = "mqtt://[broken"\n',
    ],
)
def test_a_value_that_cannot_be_used_later_is_refused_now(home: dict[str, str], text: str) -> None:
    refused(home, text)


def test_a_refused_value_is_named_and_a_secret_in_it_is_not_repeated(home: dict[str, str]) -> None:
    error = refused(home, '[listen]\nport = "hunter2"\n')
    assert "listen.port" in error.message
    assert "hunter2" not in error.message
    error = refused(home, '[mqtt]\nurl = "amqp://u:hunter2@h"\n')
    assert "hunter2" not in f"{error.message}{error.hint}"


def test_a_file_that_is_named_must_be_there(home: dict[str, str]) -> None:
    with pytest.raises(BadConfig) as error:
        load(Path(home["HOME"]) / "missing.toml", home, {}, NOBODY)
    assert "missing.toml" in error.value.message


def test_a_file_that_is_no_text_is_refused(home: dict[str, str]) -> None:
    file = Path(home["HOME"]) / "doorlock.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig):
        load(file, home, {}, NOBODY)


@given(st.dictionaries(st.text(max_size=8).map("DOORLOCK_".__add__), st.text(max_size=8)))
def test_whatever_the_environment_holds_is_settings_or_a_refusal(env: dict[str, str]) -> None:
    try:
        load(None, {"HOME": "/nonexistent", **env}, {}, NOBODY)
    except BadConfig as error:
        assert error.hint


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("mqtt://user:hunter2@broker:1883", "mqtt://user:***@broker:1883"),
        ("mqtts://user:hun%40ter2@broker", "mqtts://user:***@broker"),
        ("mqtt://user:user@broker", "mqtt://user:***@broker"),
        ("mqtt://broker", "mqtt://broker"),
        ("mqtt://user@broker", "mqtt://user@broker"),
    ],
)
def test_a_password_is_blanked_where_the_settings_are_shown(
    home: dict[str, str], url: str, safe: str
) -> None:
    plain = shown(read(home, f'[mqtt]\nurl = "{url}"\n'))
    assert plain["mqtt"]["url"] == safe
    assert "hunter2" not in str(plain) and "hun%40ter2" not in str(plain)
    assert plain["listen"]["port"] == 3000


def test_settings_do_not_change_once_read(home: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        read(home).listen.port = 1


def test_a_tilde_is_somebodys_home(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home["HOME"])
    config = read(home, '[daemon]\nstate_dir = "~/s"\nsocket = "~/d.sock"\n')
    assert config.daemon.state_dir == Path(home["HOME"]) / "s"
    assert config.daemon.socket == Path(home["HOME"]) / "d.sock"

"""Where the socket, the configuration and the state lie, for a person and for the system.

Pure functions of the environment and the uid, so that the daemon and its clients agree without
asking each other. Standard library only: the command line imports this on its quick path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SYSTEM_SOCKET = Path("/run/doorlock/doorlock.sock")
SYSTEM_CONFIG = Path("/etc/doorlock/doorlock.toml")
SYSTEM_STATE = Path("/var/lib/doorlock")
SOCKET_VARIABLE = "DOORLOCK_DAEMON__SOCKET"
CLIENT_SOCKET_VARIABLE = "DOORLOCK_SOCKET"


def socket_path(env: Mapping[str, str], uid: int) -> Path:
    """Where the daemon of this uid listens, unless its configuration says otherwise."""
    if chosen := env.get(SOCKET_VARIABLE):
        return Path(chosen).expanduser()
    return _default_socket(env, uid)


def client_socket_candidates(env: Mapping[str, str], uid: int) -> list[Path]:
    """Where a client looks, in this order; a socket that was chosen is the only one.

    A person's own daemon comes before the system's.
    """
    if chosen := env.get(CLIENT_SOCKET_VARIABLE):
        return [Path(chosen).expanduser()]
    if env.get(SOCKET_VARIABLE):
        return [socket_path(env, uid)]
    return list(dict.fromkeys([_default_socket(env, uid), SYSTEM_SOCKET]))


def config_path(env: Mapping[str, str], uid: int) -> Path:
    """The configuration file that is read when none is named; it need not exist."""
    if uid == 0:
        return SYSTEM_CONFIG
    return _base(env, uid, "XDG_CONFIG_HOME", ".config") / "doorlock" / "doorlock.toml"


def state_dir(env: Mapping[str, str], uid: int) -> Path:
    """Where the daemon keeps what must outlive it."""
    if uid == 0:
        return SYSTEM_STATE
    return _base(env, uid, "XDG_STATE_HOME", ".local/state") / "doorlock"


def login_file(env: Mapping[str, str], uid: int) -> Path:
    """Where a person's command line keeps whom it has signed in as: a person's, for root too."""
    return _base(env, uid, "XDG_STATE_HOME", ".local/state") / "doorlock" / "logins.json"


def _default_socket(env: Mapping[str, str], uid: int) -> Path:
    if uid == 0:
        return SYSTEM_SOCKET
    runtime = _absolute(env.get("XDG_RUNTIME_DIR"))
    return (runtime / "doorlock" if runtime else state_dir(env, uid)) / "doorlock.sock"


def _base(env: Mapping[str, str], uid: int, variable: str, below_home: str) -> Path:
    return _absolute(env.get(variable)) or _home(env, uid) / below_home


def _absolute(value: str | None) -> Path | None:
    # The XDG specification has a relative path ignored.
    return Path(value) if value and os.path.isabs(value) else None  # noqa: PTH117


def _home(env: Mapping[str, str], uid: int) -> Path:
    if home := _absolute(env.get("HOME")):
        return home
    import pwd

    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        return Path("/")

"""The dynamic security plugin's file, for a broker of ours that is not running.

Mosquitto reads it when it starts and writes it at every change; nothing here may touch it in
between.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

import orjson
import structlog

from doorlock.daemon.gateways.codec import LEGACY_CONTROL, LEGACY_RESPONSE, LEGACY_STATUS
from doorlock.daemon.gateways.dynsec import (
    CONTROL_TOPIC,
    LEGACY_ROLE,
    RESPONSE_TOPIC,
    Json,
    acl,
    device_acls,
    device_client,
    legacy_acls,
    role_of,
)

log = structlog.get_logger("doorlock.mqtt")

DAEMON_NAME = "doorlockd"
ITERATIONS = 101
"""As many as Mosquitto 2.0 uses itself; what protects a password here is its 256 random bits."""

_CLOSED = {
    "publishClientSend": False,
    "publishClientReceive": False,
    "subscribe": False,
    "unsubscribe": True,
}


def daemon_acls() -> list[Json]:
    """What the daemon may on the broker."""
    heard = ("iot/responses/+", "iot/status/+", "iot/events/+")
    said = ("iot/commands/+", "iot/status/+", LEGACY_CONTROL, CONTROL_TOPIC)
    older = (LEGACY_RESPONSE, LEGACY_STATUS, RESPONSE_TOPIC)
    return [
        *(acl("publishClientSend", topic) for topic in said),
        *(acl("publishClientReceive", topic) for topic in (*heard, *older)),
        *(acl("subscribePattern", topic) for topic in (*heard, *older)),
    ]


def hashed(password: str, salt: bytes) -> Json:
    """A password as the plugin keeps it: PBKDF2 with SHA-512."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return {
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": ITERATIONS,
    }


def with_daemon(document: Json, password: str, salt: bytes, *, legacy: bool) -> Json:
    """`document` with what the daemon needs: its own client, the shared role, closed defaults."""
    client = {"username": DAEMON_NAME, **hashed(password, salt)}
    client["roles"] = [{"rolename": DAEMON_NAME}]
    added = _with(document, client, {"rolename": DAEMON_NAME, "acls": daemon_acls()})
    added = _with(added, None, {"rolename": LEGACY_ROLE, "acls": legacy_acls(enabled=legacy)})
    return {**added, "defaultACLAccess": dict(_CLOSED)}


def with_device(document: Json, device_id: str, token: str, salt: bytes) -> Json:
    client = {**device_client(device_id, token), **hashed(token, salt)}
    return _with(document, client, {"rolename": role_of(device_id), "acls": device_acls(device_id)})


def without_device(document: Json, device_id: str) -> Json:
    return {
        **document,
        "clients": [c for c in document.get("clients", []) if c.get("username") != device_id],
        "roles": [r for r in document.get("roles", []) if r.get("rolename") != role_of(device_id)],
    }


def _with(document: Json, client: Json | None, role: Json) -> Json:
    clients, roles = document.get("clients", []), document.get("roles", [])
    if client is not None:
        clients = [c for c in clients if c.get("username") != client["username"]] + [client]
    roles = [r for r in roles if r.get("rolename") != role["rolename"]] + [role]
    return {**document, "clients": clients, "roles": roles}


class DynsecFile:
    """`Credentials` for the embedded broker while it is off: devices that were registered before
    Mosquitto was installed can use MQTT as soon as it is, and a revoked token never works again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def grant(self, device_id: str, token: str) -> None:
        self._write(with_device(self._read(), device_id, token, secrets.token_bytes(12)))

    async def withdraw(self, device_id: str) -> None:
        self._write(without_device(self._read(), device_id))

    def admit_daemon(self, password: str, *, legacy: bool) -> None:
        """Give the daemon this password and no other, before the broker starts."""
        salt = secrets.token_bytes(12)
        self._write(with_daemon(self._read(), password, salt, legacy=legacy))

    def _read(self) -> Json:
        try:
            document = orjson.loads(self._path.read_bytes())
            if isinstance(document, dict):
                return document
        except FileNotFoundError:
            return {}
        except ValueError:
            pass
        broken = self._path.with_suffix(".broken")
        self._path.replace(broken)
        log.error("the broker's users could not be read: rotate the devices' tokens", kept=broken)
        return {}

    def _write(self, document: Json) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".fresh")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

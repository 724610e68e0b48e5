from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from doorlock.daemon.gateways import dynsec as module
from doorlock.daemon.gateways.dynsec import (
    CONTROL_TOPIC,
    Dynsec,
    DynsecFailed,
    device_acls,
    mark_of,
)
from doorlock.daemon.gateways.dynsec_file import (
    DAEMON_NAME,
    hashed,
    with_daemon,
    with_device,
    without_device,
)
from doorlock.errors import Unavailable

ONE, TWO, THREE = "1" * 24, "2" * 24, "3" * 24
SALT = b"twelve bytes"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Plugin:
    """Answers as the dynamic security plugin does, from a table of clients."""

    def __init__(self) -> None:
        self.clients: dict[str, dict[str, Any]] = {}
        self.roles: set[str] = set()
        self.batches: list[list[dict[str, Any]]] = []
        self.broken: str | None = None
        self.silent = False
        self.asked = asyncio.Event()
        self.dynsec = Dynsec(self.publish, legacy=False)

    def publish(self, topic: str, payload: bytes) -> None:
        assert topic == CONTROL_TOPIC
        commands = json.loads(payload)["commands"]
        self.batches.append(commands)
        self.asked.set()
        if self.silent:
            return
        answer = json.dumps({"responses": [self.answer(command) for command in commands]})
        asyncio.get_running_loop().call_soon(self.dynsec.hear, answer.encode())

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        name = command["command"]
        reply = {"command": name, "correlationData": command["correlationData"]}
        user = command.get("username", "")
        if self.broken == name:
            return {**reply, "error": "Internal error"}
        if name == "createRole" and command["rolename"] in self.roles:
            return {**reply, "error": "Role already exists"}
        if name == "createRole":
            self.roles.add(command["rolename"])
        if name == "createClient":
            if not {role["rolename"] for role in command["roles"]} <= self.roles:
                return {**reply, "error": "Role not found"}
            self.clients[user] = command
        if name == "deleteClient" and self.clients.pop(user, None) is None:
            return {**reply, "error": "Client not found"}
        if name == "deleteRole":
            self.roles.discard(command["rolename"])
        if name == "listClients":
            return {**reply, "data": {"clients": list(self.clients.values())}}
        return reply


async def nobody() -> Mapping[str, str | None]:
    return {}


async def test_granting_is_one_batch_that_removes_the_old_first() -> None:
    plugin = Plugin()
    await plugin.dynsec.grant(ONE, "a")
    await plugin.dynsec.grant(ONE, "b")
    assert [c["command"] for c in plugin.batches[1]] == [
        "createRole",
        "deleteClient",
        "deleteRole",
        "createRole",
        "createClient",
    ]
    assert plugin.clients[ONE]["password"] == "b"
    assert plugin.batches[1][3]["acls"] == device_acls(ONE)


async def test_a_client_that_could_not_be_made_is_no_grant() -> None:
    plugin = Plugin()
    plugin.roles = _Forgetful()
    with pytest.raises(Unavailable):
        await plugin.dynsec.grant(ONE, "a")


class _Forgetful(set[str]):
    def add(self, _: str) -> None:
        pass


async def test_withdrawing_twice_is_harmless() -> None:
    plugin = Plugin()
    await plugin.dynsec.grant(ONE, "a")
    await plugin.dynsec.withdraw(ONE)
    await plugin.dynsec.withdraw(ONE)
    assert plugin.clients == {}


async def test_an_error_is_not_success() -> None:
    plugin = Plugin()
    plugin.broken = "createClient"
    with pytest.raises(DynsecFailed):
        await plugin.dynsec.grant(ONE, "a")
    plugin.broken = "deleteClient"
    with pytest.raises(DynsecFailed):
        await plugin.dynsec.withdraw(ONE)


async def test_silence_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    plugin = Plugin()
    assert await plugin.dynsec.answers()
    plugin.silent = True
    monkeypatch.setattr(plugin.dynsec, "_ask", _quickly(plugin.dynsec))
    assert not await plugin.dynsec.answers()
    with pytest.raises(Unavailable):
        await plugin.dynsec.withdraw(ONE)


def _quickly(dynsec: Dynsec) -> Any:
    ask = dynsec._ask

    async def quick(commands: Any, seconds: float = 0, **more: Any) -> Any:
        return await ask(commands, 0.01, **more)

    return quick


async def test_a_lost_connection_ends_the_waiting_at_once() -> None:
    plugin = Plugin()
    plugin.silent = True
    asking = asyncio.create_task(plugin.dynsec.withdraw(ONE))
    await plugin.asked.wait()
    plugin.dynsec.lost()
    with pytest.raises(Unavailable):
        await asking


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"responses": []}',
        b'{"responses": [{}]}',
        b'{"responses": 3}',
        b'{"responses": [[]]}',
        b'{"responses": [{"correlationData": []}]}',
        b'{"responses": [{"correlationData": "somebody else"}]}',
    ],
)
async def test_answers_that_are_not_for_us_are_passed_over(noise: bytes) -> None:
    plugin = Plugin()
    plugin.silent = True
    asking = asyncio.create_task(plugin.dynsec.withdraw(ONE))
    await plugin.asked.wait()
    plugin.dynsec.hear(noise)
    plugin.dynsec.hear(json.dumps({"responses": [plugin.answer(plugin.batches[0][0])]}).encode())
    await asking


async def test_preparing_twice_is_harmless() -> None:
    plugin = Plugin()
    await plugin.dynsec.prepare()
    await plugin.dynsec.prepare()
    assert plugin.batches[-1][0]["acls"] == []


async def test_reconciling_leaves_current_tokens_and_nothing_else() -> None:
    plugin = Plugin()
    for device_id, token in ((ONE, "current"), (TWO, "replaced"), (THREE, "revoked")):
        await plugin.dynsec.grant(device_id, token)
    plugin.clients["admin"] = {"username": "admin", "textdescription": ""}
    plugin.clients["4" * 24] = {"username": "4" * 24, "textdescription": "somebody's own"}
    later = Dynsec(plugin.publish, legacy=False)  # a daemon that granted nothing itself
    plugin.dynsec = later

    async def tokens() -> Mapping[str, str | None]:
        return {ONE: digest("current"), TWO: digest("new"), THREE: None, "5" * 24: digest("five")}

    assert await later.reconcile(tokens) == {TWO, "5" * 24}
    assert set(plugin.clients) == {ONE, "admin", "4" * 24}


async def test_reconciling_spares_a_device_that_is_just_being_registered() -> None:
    plugin = Plugin()
    await plugin.dynsec.grant(ONE, "fresh")
    await plugin.dynsec.reconcile(nobody)
    assert set(plugin.clients) == {ONE}
    await plugin.dynsec.grant(TWO, "t")
    await plugin.dynsec.withdraw(TWO)
    plugin.clients[TWO] = {"username": TWO, "textdescription": mark_of(digest("t"))}
    await plugin.dynsec.reconcile(nobody)
    assert set(plugin.clients) == {ONE}


def test_a_device_may_use_its_own_four_topics_alone() -> None:
    rules = {(rule["acltype"], rule["topic"]) for rule in device_acls(ONE)}
    assert rules == {
        ("publishClientSend", f"iot/responses/{ONE}"),
        ("publishClientSend", f"iot/status/{ONE}"),
        ("publishClientSend", f"iot/events/{ONE}"),
        ("subscribeLiteral", f"iot/commands/{ONE}"),
        ("publishClientReceive", f"iot/commands/{ONE}"),
    }


def test_a_password_is_kept_as_a_hash() -> None:
    kept = hashed("secret", SALT)
    assert kept["iterations"] >= 101
    assert len(kept["password"]) == 88  # 64 bytes in base64
    assert "secret" not in json.dumps(kept)
    assert hashed("other", SALT)["password"] != kept["password"]
    assert hashed("secret", b"another salt")["password"] != kept["password"]


def test_the_file_is_changed_in_place_and_never_twice() -> None:
    document = with_daemon({}, "pw", SALT, legacy=False)
    document = with_device(document, ONE, "a", SALT)
    again = with_daemon(with_device(document, ONE, "b", SALT), "new", SALT, legacy=False)
    names = sorted(client["username"] for client in again["clients"])
    assert names == [ONE, DAEMON_NAME]
    assert len({role["rolename"] for role in again["roles"]}) == len(again["roles"])
    by_name = {client["username"]: client for client in again["clients"]}
    assert by_name[ONE]["password"] == hashed("b", SALT)["password"]
    assert by_name[DAEMON_NAME]["password"] == hashed("new", SALT)["password"]
    assert not any(
        again["defaultACLAccess"][k] for k in again["defaultACLAccess"] if k != "unsubscribe"
    )
    gone = without_device(again, ONE)
    assert ONE not in json.dumps(gone)
    assert without_device({}, ONE) == {"clients": [], "roles": []}

"""Who may be on the broker: Mosquitto's dynamic security plugin, spoken to over MQTT.

A device is a client of the broker whose user name is the device id and whose password is its
token, with a role that opens its own topics and nothing else. The client's description holds the
beginning of the token's SHA-256, so that a client whose token was replaced while nobody could tell
the broker is found again.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
import structlog

from doorlock.daemon.domain.ids import is_id
from doorlock.daemon.gateways.codec import LEGACY_CONTROL, LEGACY_RESPONSE, LEGACY_STATUS
from doorlock.errors import Unavailable
from doorlock.protocol import command_topic, event_topic, response_topic, status_topic

log = structlog.get_logger("doorlock.mqtt")

CONTROL_TOPIC = "$CONTROL/dynamic-security/v1"
RESPONSE_TOPIC = f"{CONTROL_TOPIC}/response"
LEGACY_ROLE = "doorlock-legacy"
ANSWER_SECONDS = 5.0
PROBE_SECONDS = 2.0

Json = dict[str, Any]
Tokens = Callable[[], Awaitable[Mapping[str, str | None]]]

_MARK = "doorlock "
_MISSING = frozenset({"Client not found", "Role not found"})


class DynsecFailed(Unavailable):
    """The plugin answered with an error."""


def mark_of(token_hash: str | None) -> str:
    """What a client's description holds of its token; `token_hash` is the SHA-256 in hex. Without
    a token it is what no client has."""
    return f"{_MARK}{token_hash[:16]}" if token_hash else "revoked"


def _is_ours(client: Json) -> bool:
    return bool(client.get("textdescription", "").startswith(_MARK))


def acl(kind: str, topic: str) -> Json:
    return {"acltype": kind, "topic": topic, "priority": 0, "allow": True}


def role_of(device_id: str) -> str:
    return f"device-{device_id}"


def device_acls(device_id: str) -> list[Json]:
    """What a device may: speak on its three topics, and hear its commands."""
    said = (response_topic(device_id), status_topic(device_id), event_topic(device_id))
    heard = command_topic(device_id)
    return [
        *(acl("publishClientSend", topic) for topic in said),
        acl("subscribeLiteral", heard),
        acl("publishClientReceive", heard),
    ]


def legacy_acls(*, enabled: bool) -> list[Json]:
    """What every device may beside that, where the older topics are allowed."""
    if not enabled:
        return []
    return [
        acl("publishClientSend", LEGACY_RESPONSE),
        acl("publishClientSend", LEGACY_STATUS),
        acl("subscribeLiteral", LEGACY_CONTROL),
        acl("publishClientReceive", LEGACY_CONTROL),
    ]


def device_client(device_id: str, token: str) -> Json:
    """The client of a device, without its password."""
    return {
        "username": device_id,
        "textdescription": mark_of(hashlib.sha256(token.encode()).hexdigest()),
        "roles": [{"rolename": role_of(device_id)}, {"rolename": LEGACY_ROLE}],
    }


class Dynsec:
    """`Credentials` on a broker with the plugin.

    Every call raises Unavailable when the broker cannot be reached or does not answer; whether it
    was done is unknown then, and doing it again is harmless.
    """

    def __init__(self, publish: Callable[[str, bytes], None], *, legacy: bool) -> None:
        """`publish` hands a message to the broker at once, or raises Unavailable."""
        self._publish, self._legacy = publish, legacy
        self._mine = uuid.uuid4().hex
        self._count = 0
        self._asked: dict[str, asyncio.Future[list[Json]]] = {}
        self._granted: dict[str, str] = {}

    async def grant(self, device_id: str, token: str) -> None:
        """One batch, handled by the broker in one go: no moment in which both tokens work."""
        role = {"rolename": role_of(device_id), "acls": device_acls(device_id)}
        client = {**device_client(device_id, token), "password": token}
        self._granted[device_id] = client["textdescription"]
        await self._ask(
            [
                # the broker may have been connected a moment ago, and not be prepared yet
                {"command": "createRole", "rolename": LEGACY_ROLE},
                *_removal(device_id),
                {"command": "createRole", **role},
                {"command": "createClient", **client},
            ],
            may_exist=True,
        )

    async def withdraw(self, device_id: str) -> None:
        self._granted.pop(device_id, None)
        await self._ask(_removal(device_id))

    async def kick(self, device_id: str) -> None:
        """End the device's session; it may come back."""
        both = ({"command": name, "username": device_id} for name in _KICK)
        await self._ask(list(both))

    async def known(self) -> Mapping[str, str]:
        """The devices that the broker lets in, each with its description."""
        (answer,) = await self._ask([{"command": "listClients", "verbose": True, "count": -1}])
        clients = answer.get("data", {}).get("clients", [])
        return {
            client["username"]: client["textdescription"]
            for client in clients
            if is_id(client.get("username", "")) and _is_ours(client)
        }

    async def reconcile(self, tokens: Tokens) -> frozenset[str]:
        """Make the broker let in nobody but devices with their current token.

        `tokens` gives every device with the hash of its token. Returns those that have a token
        which the broker does not know: it takes the token itself to grant it.
        """
        known = await self.known()
        wanted = await tokens()
        current = {
            device_id
            for device_id, mark in known.items()
            if mark in (mark_of(wanted.get(device_id)), self._granted.get(device_id))
        }
        for device_id in known.keys() - current:
            log.info("took a device off the broker whose token is no longer valid", id=device_id)
            await self.withdraw(device_id)
        return frozenset(name for name, digest in wanted.items() if digest) - current

    async def answers(self) -> bool:
        """Whether there is a plugin that listens to us; never raises."""
        try:
            await self._ask([{"command": "getDefaultACLAccess"}], PROBE_SECONDS)
        except Unavailable:
            return False
        return True

    async def prepare(self) -> None:
        """Bring what all devices share up to date: the older topics, open or not."""
        acls = legacy_acls(enabled=self._legacy)
        await self._ask([{"command": "createRole", "rolename": LEGACY_ROLE}], may_exist=True)
        await self._ask([{"command": "modifyRole", "rolename": LEGACY_ROLE, "acls": acls}])

    # the conversation

    def hear(self, payload: bytes) -> None:
        """An answer of the plugin's, which may be somebody else's."""
        try:
            responses = orjson.loads(payload)["responses"]
            asked = self._asked.get(responses[0]["correlationData"])
        except (ValueError, LookupError, TypeError):
            return
        if asked is not None and not asked.done():
            asked.set_result(responses)

    def lost(self) -> None:
        """The connection is gone: nobody will answer."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(Unavailable("the connection to the MQTT broker was lost"))

    async def _ask(
        self, commands: Sequence[Json], seconds: float = ANSWER_SECONDS, *, may_exist: bool = False
    ) -> list[Json]:
        self._count += 1
        key = f"{self._mine}.{self._count}"
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        body = {"commands": [{**command, "correlationData": key} for command in commands]}
        try:
            self._publish(CONTROL_TOPIC, orjson.dumps(body))
            async with asyncio.timeout(seconds):
                responses: list[Json] = await asked
        except TimeoutError as error:
            raise Unavailable(
                "the MQTT broker does not answer",
                hint="It needs Mosquitto's dynamic security plugin; see mqtt.provision.",
            ) from error
        finally:
            del self._asked[key]
        _check(responses, may_exist=may_exist)
        return responses


_KICK = ("disableClient", "enableClient")
_HARMLESS_TWICE = frozenset({"deleteClient", "deleteRole", *_KICK})


def _removal(device_id: str) -> list[Json]:
    return [
        {"command": "deleteClient", "username": device_id},
        {"command": "deleteRole", "rolename": role_of(device_id)},
    ]


def _check(responses: Iterable[Json], *, may_exist: bool) -> None:
    for response in responses:
        error = response.get("error")
        gone = error in _MISSING and response.get("command") in _HARMLESS_TWICE
        if error is None or gone or (may_exist and error == "Role already exists"):
            continue
        log.warning("the broker refused a change", command=response.get("command"), error=error)
        raise DynsecFailed("the MQTT broker refused the change")

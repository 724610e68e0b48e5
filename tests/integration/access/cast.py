"""Who asks in the tables of this folder, and a door with something behind every id."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from doorlock.daemon.domain.access import Permission, Terms
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.reports import LowBattery
from doorlock.daemon.domain.users import Caller, Role, Scope, User
from doorlock.daemon.domain.visitors import Arrival, Visitor
from doorlock.daemon.services.pictures import Reader
from doorlock.protocol import CommandName, DeviceType
from tests.support.house import House
from tests.support.pictures import jpeg

WHO = (
    "nobody",
    "stranger",
    "view",
    "control",
    "admin",
    "owner",
    "operator",
    "device",
    "other",
    "expired",
    "disabled",
)
DEVICES = ("device", "other")
WAYS = {"nobody": 2, "device": 3, "other": 3}
"""How many ways somebody has to say who they are; one for whom it does not say."""
PASSWORD = "open, please"
_SHARES = {"view", "control", "admin"}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Visit:
    visitor: Visitor
    image: str


class Cast:
    """A door with an owner of its own; who else is there says `build`. What stands behind the ids
    is made when somebody asks for it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.number = next(_numbers)
        self.invited = f"invited-{self.number:04}@example.org"
        self.users: dict[str, User] = {}
        self._visit: Visit | None = None
        self.made: set[str] = set()
        self.door: Device
        self.other: Device

    @classmethod
    async def build(cls, house: House, whom: Iterable[str] = WHO) -> Cast:
        self = cls(house)
        for who in {"owner", "neighbour", "guest", *whom} - {"nobody", *DEVICES}:
            await self._join(who)
        self.door = await self._device("owner", "gate")
        self.other = await self._device("neighbour", "barn")
        for who in {"guest", *whom} & {"guest", "expired", *_SHARES}:
            await self._share(who)
        return self

    async def _join(self, who: str) -> None:
        user = User(
            new_id(),
            f"{who}-{self.number:04}",
            self.house.clock.now(),
            email=f"{who}-{self.number:04}@example.org",
            role=Role.SUPER_ADMIN if who == "operator" else Role.ADMIN,
            is_active=who != "disabled",
            password_hash=self.house.hasher.hash(PASSWORD),
        )
        await self.house.store.add_user(user)
        self.users[who] = user

    async def _device(self, owner: str, name: str) -> Device:
        return await self.house.door(
            self.caller(owner),
            f"{name}-{self.number:04}",
            device_type=DeviceType.CAMERA,
            activated_at=self.house.clock.now(),
        )

    async def _share(self, who: str) -> None:
        permission = Permission(who) if who in _SHARES else Permission.CONTROL
        now = self.house.clock.now()
        ends = now - timedelta(seconds=1) if who == "expired" else None
        await self.house.share(self.door, self.caller(who), permission, None, ends)

    # who

    def caller(self, who: str) -> Caller:
        return Caller(self.users[who])

    def reader(self, who: str) -> Reader | None:
        """Whom a link of theirs speaks for."""
        if who in DEVICES:
            return self.machine(who)
        return self.caller(who) if who in self.users else None

    def machine(self, who: str) -> Device:
        return self.door if who == "device" else self.other

    def device_token(self, who: str) -> str:
        return f"token-of-{self.machine(who).name}"

    def token(self, who: str) -> str:
        """What a client of theirs has kept, a JWT for devices too; nobody has made one up."""
        if who in DEVICES:
            return self.house.sessions.token_for_device(self.machine(who))
        if who == "nobody":
            return "a.b.c"
        return self.house.sessions.token_for(self.users[who])

    def headers(self, who: str) -> list[dict[str, str]]:
        """Every way in which they say who they are."""
        bearer = {"authorization": f"Bearer {self.token(who)}"}
        if who == "nobody":
            return [{}, bearer]
        if who not in DEVICES:
            return [bearer]
        device_id = {"x-device-id": self.machine(who).id}
        token = self.device_token(who)
        return [
            {**device_id, "x-device-token": token},
            {**device_id, "authorization": f"Bearer {token}"},
            bearer,
        ]

    @property
    def marks(self) -> set[str]:
        """By which an answer tells of the door."""
        owner, door = self.users["owner"], self.door
        known = {door.id, door.name, door.esp_id, owner.id, owner.username, self.invited}
        visit = self._visit
        return known | ({visit.visitor.id, visit.visitor.message, visit.image} if visit else set())

    async def state(self) -> Sequence[Any]:
        """What nobody changes who is refused."""
        store, gateway = self.house.store, self.house.websocket
        moved = [one.command.id for one in gateway.handed if one.command.device_id == self.door.id]
        return (
            moved,
            await store.get_device(self.door.id),
            await store.shares_of_device(self.door.id),
            await store.invitations_of_device(self.door.id),
            await store.pending_visitors(self.door.id),
            await store.unfinished_commands(self.door.id),
            [await store.get_user(user.id) for user in self.users.values()],
            [await store.access_tokens_of(user.id) for user in self.users.values()],
        )

    # what stands behind the ids

    async def visit(self) -> Visit:
        """One for the whole cast."""
        self._visit = self._visit or await self._visited()
        return self._visit

    async def _visited(self) -> Visit:
        where = {"source": "http"}
        picture = await self.house.pictures.keep(
            self.door.id, jpeg(mark=f"{self.number}".encode()), where, {}
        )
        arrival = Arrival(True, picture.image, f"parcel {self.number:04} for you")
        visitor = await self.house.visitors.arrived(self.door.id, arrival, where)
        self.made |= {visitor.id, picture.image}
        return Visit(visitor, picture.image)

    async def queued_command(self) -> str:
        """One that waits for the door, which is away."""
        settings = {"settings": {"motionSensitivity": 50}}
        submitted = await self.house.ask(
            self.caller("owner"), self.door, CommandName.UPDATE_SETTINGS, settings
        )
        self.made.add(submitted.command.id)
        return submitted.command.id

    async def invitation(self) -> tuple[str, str]:
        """Its id and its code."""
        made: Any = await self.house.sharing.share(
            self.caller("owner"), self.door.id, self.invited, Terms(Permission.VIEW)
        )
        self.made |= {made.invitation.id, made.code}
        return made.invitation.id, made.code

    async def offer(self, to: str) -> None:
        await self.house.transfers.offer(
            self.caller("owner"), self.door.id, self.users[to].username
        )

    async def low_battery(self) -> None:
        session = await self.house.connect(self.door)
        await self.house.says(session, LowBattery(battery_level=5))

    async def access_token(self, who: str) -> str:
        made = await self.house.access_tokens.create(self.caller(who), "script", Scope.VIEW, None)
        self.made.add(made.token.id)
        return made.token.id

    def link(self, who: str, place: str) -> str:
        """As if they had been given one while they saw the door."""
        reader = self.reader(who)
        if reader is None:
            return "0.u.0"
        live = place == "stream"
        path = (
            self.house.live_view.path(reader, self.door.id)
            if live
            else self.house.pictures.path(reader, self.door.id, place)
        )
        return path.partition("link=")[2]

"""The daemon's services on a real SQLite file, with a clock and gateways that a test drives.

Joined as `doorlock.daemon.app` joins them; what is faked stands at the edges alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from doorlock.daemon.config import CommandsSection
from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.access import Permission, Share
from doorlock.daemon.domain.commands import AckStatus, Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.reports import CommandAck, Heartbeat, Report
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.users import Caller, Role, User
from doorlock.daemon.gateways.dashboards import Dashboards
from doorlock.daemon.ports import EventFilter, NotConnected, Outgoing
from doorlock.daemon.services.access_tokens import AccessTokens
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.clearing import Clearing
from doorlock.daemon.services.clock import Agenda
from doorlock.daemon.services.desk import Desk
from doorlock.daemon.services.dispatch import Dispatch
from doorlock.daemon.services.explain import Explain
from doorlock.daemon.services.feed import Feed
from doorlock.daemon.services.figures import Figures
from doorlock.daemon.services.frames import Frames
from doorlock.daemon.services.guard import Guard
from doorlock.daemon.services.health import Health
from doorlock.daemon.services.ingest import Ingest
from doorlock.daemon.services.keys import Keys
from doorlock.daemon.services.lifecycle import Lifecycle
from doorlock.daemon.services.links import Links
from doorlock.daemon.services.live import LiveView
from doorlock.daemon.services.metrics import Metrics
from doorlock.daemon.services.notices import Notices
from doorlock.daemon.services.overview import Overview
from doorlock.daemon.services.passwords import Passwords
from doorlock.daemon.services.pictures import Pictures
from doorlock.daemon.services.presence import Presence
from doorlock.daemon.services.queries import Queries
from doorlock.daemon.services.recovery import recover
from doorlock.daemon.services.registry import Registry
from doorlock.daemon.services.retention import Retention
from doorlock.daemon.services.sessions import Sessions
from doorlock.daemon.services.sharing import Sharing
from doorlock.daemon.services.sight import Sight
from doorlock.daemon.services.signin import SignIn
from doorlock.daemon.services.submit import Asked, Submit, Submitted
from doorlock.daemon.services.telling import Telling
from doorlock.daemon.services.transfers import Transfers
from doorlock.daemon.services.visitor_log import VisitorLog
from doorlock.daemon.services.visitors import Visitors
from doorlock.daemon.stores.snapshots import FileSnapshots
from doorlock.daemon.stores.sqlite import SqliteStore
from doorlock.errors import Unavailable
from doorlock.protocol import CommandName, Transport
from tests.support.clock import FakeClock
from tests.support.passwords import CountingHasher

T = TypeVar("T")

OPERATOR_UID = 4_000_001
"""Stands for the daemon's own account: no account of the machine has it."""

WHERE: Mapping[str, Any] = {"source": "websocket"}


class WatchedStore(SqliteStore):
    """The real store; it tells when its threads are at rest, and fails when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self._busy: set[asyncio.Future[Any]] = set()
        self.broken = False
        self.before_update: Callable[[Command], Awaitable[None]] | None = None
        self.after_update: Callable[[Command], Awaitable[None]] | None = None

    async def open(self) -> None:
        await super().open()
        assert self._running is not None
        # what survives a power cut is the matter of the store's own tests
        self._running.files.write.execute("PRAGMA synchronous = OFF")

    async def rest(self) -> None:
        """Until nothing is under way, nor begun by what has just ended."""
        while self._busy:
            await asyncio.wait(self._busy)
            for _ in range(15):
                await asyncio.sleep(0)

    async def update_command(self, command: Command, events: Any = ()) -> Sequence[Event] | None:
        if self.before_update:
            await self.before_update(command)
        written = await super().update_command(command, events)
        if self.after_update:
            await self.after_update(command)
        return written

    def _write(self, *work: Any) -> Any:
        if self.broken:
            raise Unavailable("the store could not be written")
        return self._watched(super()._write(*work))

    async def _far(self, query: str, values: Sequence[Any], take: Callable[[Any], T]) -> T:
        return await self._watched(asyncio.ensure_future(super()._far(query, values, take)))

    def _watched(self, future: Any) -> Any:
        self._busy.add(future)
        future.add_done_callback(self._busy.discard)
        return future


@dataclass
class Handed:
    """A command as a gateway was given it, and what the store held at that very moment."""

    command: Command
    at: datetime
    stored: Command | None
    events: Sequence[EventType]


class FakeGateway:
    """`DeviceGateway` that keeps what it is given; `reachable` False finds nobody there."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.handed: list[Handed] = []
        self.told: list[Outgoing] = []
        self.dropped: list[tuple[str, str]] = []
        self.reachable = True
        self.failing: Exception | None = None
        self.meanwhile: Callable[[], None] | None = None
        self.house: House | None = None

    @property
    def transport(self) -> Transport:
        return self._transport

    @property
    def ids(self) -> list[str]:
        return [one.command.id for one in self.handed]

    async def send_command(self, command: Command, device: Device, now: datetime) -> None:
        if not self.reachable:
            raise NotConnected
        if self.failing is not None:
            raise self.failing
        if self.meanwhile is not None:
            self.meanwhile()
        assert self.house is not None and command.device_id == device.id
        store = self.house.store
        events = await store.list_events(EventFilter(command=command.id), limit=100)
        stored = await store.get_command(command.id)
        self.handed.append(Handed(command, now, stored, [event.new.type for event in events]))

    async def tell(self, message: Outgoing) -> None:
        self.told.append(message)

    async def drop(self, device_id: str, reason: str) -> None:
        assert self.house is not None
        self.dropped.append((device_id, reason))
        for session in self.house.presence.sessions(device_id):
            if session.transport is self._transport:
                await self.house.ingest.disconnected(session, reason)


@dataclass
class FakeBroker:
    """`Credentials` that keeps who may connect with what; `away` does not answer."""

    known: dict[str, str] = field(default_factory=dict)
    away: bool = False

    async def grant(self, device_id: str, token: str) -> None:
        if self.away:
            raise Unavailable("the broker does not answer")
        self.known[device_id] = token

    async def withdraw(self, device_id: str) -> None:
        if self.away:
            raise Unavailable("the broker does not answer")
        self.known.pop(device_id, None)


class House:
    """Every service, built and joined. `async with house(path) as it` runs it."""

    def __init__(
        self,
        store: WatchedStore,
        clock: FakeClock,
        broker: FakeBroker | None,
        settings: CommandsSection,
        heartbeat: timedelta,
    ) -> None:
        self.store, self.clock, self.broker = store, clock, broker
        self.settings = settings
        self.websocket = FakeGateway(Transport.WEBSOCKET)
        self.mqtt = FakeGateway(Transport.MQTT)
        self.agenda = Agenda(clock)
        self.feed = Feed(store)
        self.guard = Guard(store, clock)
        self.presence = Presence(store, clock, heartbeat, 3)
        self.lifecycle = Lifecycle(store, clock, self.agenda)
        self.dispatch = Dispatch(
            store,
            clock,
            self.agenda,
            self.guard,
            self.presence,
            self.lifecycle,
            settings.failover_after,
        )
        self.sessions = Sessions(store, clock, Keys(b"k" * 64), timedelta(days=7))
        self.hasher = CountingHasher()
        passwords = Passwords(self.hasher)
        self.accounts = Accounts(store, clock, self.sessions, passwords, frozenset({OPERATOR_UID}))
        self.signin = SignIn(store, clock, self.sessions, passwords, signup=True)
        self.access_tokens = AccessTokens(store, clock, self.sessions)
        self.registry = Registry(store, clock, self.guard)
        self.submit = Submit(
            store,
            clock,
            settings,
            self.guard,
            self.presence,
            self.lifecycle,
            self.dispatch,
            self.feed,
        )
        self.telling = Telling()
        self.links = Links(clock)
        self.sessions.on_ended(self.links.ended)
        self.frames = Frames(clock, self.telling)
        self.snapshots = FileSnapshots(store.path.with_name("snapshots"))
        self.pictures = Pictures(
            store, self.snapshots, clock, self.guard, self.links, timedelta(days=90)
        )
        self.live_view = LiveView(self.frames, self.pictures, self.links)
        self.visitors = Visitors(
            store,
            clock,
            self.agenda,
            self.guard,
            self.submit,
            self.telling,
            timedelta(minutes=10),
            settings.timeout,
        )
        self.visitor_log = VisitorLog(
            store, clock, self.guard, self.pictures, lambda: "http://doors.test"
        )
        self.ingest = Ingest(
            store,
            clock,
            self.presence,
            self.lifecycle,
            self.dispatch,
            self.visitors,
            self.pictures,
            self.frames,
            managed_broker=lambda: self.broker is not None,
            token_seen=self.registry.token_seen,
            drop=self.drop,
        )
        self.queries = Queries(store, clock, self.guard, self.presence, self.feed)
        self.retention = Retention(store, clock, timedelta(days=90))
        self.sharing = Sharing(store, clock, self.guard, self.accounts)
        self.transfers = Transfers(store, clock, self.guard, self.accounts)
        self.explain = Explain(store, clock, self.guard, self.accounts)
        self.health = Health(clock, self.presence, self.feed, ())
        self.sight = Sight(store, clock)
        self.notices = Notices(
            store,
            clock,
            self.feed,
            self.presence,
            self.sight,
            lambda *told: "/".join(map(str, told[1:])),
        )
        self.desk = Desk(
            clock, self.guard, self.sight, self.submit, self.visitors, self.frames, self.notices
        )
        self.ingest.on_quiet_change(self.notices.changed)
        self.overview = Overview(
            store, clock, self.guard, self.presence, self.queries, self.visitor_log
        )
        self.clearing = Clearing(store, clock, self.feed)
        self.dashboards = Dashboards(self.sessions, self.desk, self.agenda, clock)
        self.metrics = Metrics(
            store,
            clock,
            Figures(store, self.lifecycle),
            self.presence,
            self.health,
            self.feed,
            lambda: len(self.dashboards),
            lambda: self.ingest.rejected_count + self.dashboards.rejected_count,
        )
        for gateway in (self.websocket, self.mqtt):
            gateway.house = self
        ways = (self.websocket, self.mqtt)
        self.dispatch.connect({gateway.transport: gateway for gateway in ways})
        self.telling.connect(ways)
        self.registry.connect(broker, ways)

    async def drop(self, device_id: str, reason: str) -> None:
        for gateway in (self.websocket, self.mqtt):
            await gateway.drop(device_id, reason)

    async def end_stale(self, session: Session) -> None:
        await self.ingest.disconnected(session, "heartbeat missed")

    # what a test sets up

    async def person(
        self, username: str, role: Role = Role.ADMIN, *, active: bool = True, uid: int | None = None
    ) -> Caller:
        """A new user, as one who calls."""
        user = User(
            new_id(), username, self.clock.now(), username, None, role, uid, is_active=active
        )
        await self.store.add_user(user)
        return Caller(user)

    async def door(self, owner: Caller, name: str = "front", **fields: Any) -> Device:
        """A device of `owner` with the token `token-of-NAME`."""
        now = self.clock.now()
        device = Device(
            new_id(),
            name,
            fields.pop("esp_id", f"ESP-{name}"),
            owner.user.id,
            now,
            now,
            token_hash=tokens.hashed(f"token-of-{name}"),
            activated_at=fields.pop("activated_at", now),
            **fields,
        )
        await self.store.add_device(device)
        return device

    async def share(
        self,
        device: Device,
        guest: Caller,
        permission: Permission = Permission.CONTROL,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
    ) -> Share:
        share = Share(
            device.id,
            guest.user.id,
            permission,
            device.owner_id,
            self.clock.now(),
            starts_at,
            expires_at,
        )
        await self.store.put_share(share)
        return share

    async def connect(
        self, device: Device, transport: Transport = Transport.WEBSOCKET, name: str = "one"
    ) -> Session:
        """A new session of `device`."""
        session = Session(f"{transport}:{device.id}:{name}", device.id, transport)
        await self.ingest.connected(session)
        await self.clock.settle()
        return session

    async def unlock(self, caller: Caller, device: Device, **options: Any) -> Submitted:
        return await self.ask(caller, device, CommandName.UNLOCK_DOOR, **options)

    async def ask(
        self,
        caller: Caller,
        device: Device,
        command: str,
        payload: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Submitted:
        """Submit, and let it be sent."""
        submitted = await self.submit.submit(
            caller, Asked(device.id, command, payload or {}, **options)
        )
        await self.clock.settle()
        return submitted

    async def says(self, session: Session, report: Report) -> None:
        await self.ingest.report(session, report)
        await self.clock.settle()

    async def ack(self, session: Session, command_id: str, status: str, **fields: Any) -> None:
        ack = CommandAck(command_id=command_id, status=AckStatus(status), **fields)
        await self.says(session, ack)

    async def beat(self, session: Session, status: Any = "online", **fields: Any) -> None:
        await self.says(session, Heartbeat(status=status, **fields))

    # what a test looks at

    async def command(self, command_id: str) -> Command:
        found = await self.store.get_command(command_id)
        assert found is not None
        return found

    async def device(self, device_id: str) -> Device:
        found = await self.store.get_device(device_id)
        assert found is not None
        return found

    async def log(self, *types: EventType, **wanted: Any) -> Sequence[Event]:
        """The events of `types` (all without any), oldest first."""
        return await self.store.list_events(
            EventFilter(types=frozenset(types), **wanted), limit=10_000
        )

    async def story(self, command_id: str) -> list[str]:
        """What became of a command, as the log says it, without the prefix of every entry."""
        events = await self.log(command=command_id)
        types = [event.new.type.value for event in events]
        return [name.removeprefix("command_") for name in types if name.startswith("command_")]


@asynccontextmanager
async def house(
    folder: Path,
    clock: FakeClock | None = None,
    broker: FakeBroker | None = None,
    settings: CommandsSection | None = None,
    heartbeat: timedelta = timedelta(seconds=30),
    watching: bool = False,
) -> AsyncIterator[House]:
    """The services, running on the file in `folder`; entered again, they take up what is there.

    `watching` ends stale sessions: it wakes every second, which makes long spans slow.
    """
    store = WatchedStore(folder / "doorlock.db")
    await store.open()
    clock = clock or FakeClock()
    clock.other_work = store.rest
    it = House(store, clock, broker, settings or CommandsSection(), heartbeat)
    running: list[asyncio.Task[None]] = []
    try:
        await it.feed.start()
        await recover(store, it.lifecycle)
        await it.visitors.recover()
        running = [asyncio.create_task(it.agenda.run()), asyncio.create_task(it.notices.run())]
        if watching:
            running.append(asyncio.create_task(it.presence.run(it.end_stale)))
        await clock.settle()
        yield it
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await it.visitors.stop()
        await it.dispatch.stop()
        await it.registry.stop()
        await store.close()

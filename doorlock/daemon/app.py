"""The composition root: builds every object, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from doorlock.daemon import systemd
from doorlock.daemon.api import app as http
from doorlock.daemon.api.server import HttpServer, tcp_listener, unix_listener
from doorlock.daemon.api.state import Services
from doorlock.daemon.config import Config, shown
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.gateways.codec import MAX_MESSAGE_BYTES
from doorlock.daemon.gateways.dashboards import Dashboards
from doorlock.daemon.gateways.mqtt_part import Mqtt
from doorlock.daemon.gateways.socketio import SocketIoGateway
from doorlock.daemon.ports import Clock, DeviceGateway, PartHealth, Store
from doorlock.daemon.services.access_tokens import AccessTokens
from doorlock.daemon.services.accounts import Accounts
from doorlock.daemon.services.clearing import Clearing
from doorlock.daemon.services.clock import Agenda, SystemClock
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
from doorlock.daemon.services.submit import Submit
from doorlock.daemon.services.telling import Telling
from doorlock.daemon.services.transfers import Transfers
from doorlock.daemon.services.visitor_log import VisitorLog
from doorlock.daemon.services.visitors import Visitors
from doorlock.daemon.stores.snapshots import FileSnapshots, folder_of
from doorlock.daemon.stores.sqlite import SqliteStore, path_of

log = structlog.get_logger("doorlock.daemon")

_FREEZE_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """What is known once the daemon runs."""

    socket: Path
    url: str
    failed: asyncio.Future[None]


def store_of(config: Config) -> Store:
    """The store that `store.url` names."""
    assert config.store.url is not None
    return SqliteStore(path_of(config.store.url))


async def run(config: Config) -> None:
    """Run until SIGTERM or SIGINT, or until a part that must not end has ended.

    Raises BadConfig or Unavailable when it cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config, store_of(config), SystemClock()) as daemon:
        systemd.notify("READY=1")
        log.info("ready", socket=str(daemon.socket), url=daemon.url)
        asked = asyncio.ensure_future(stop.wait())
        ends: set[asyncio.Future[Any]] = {asked, daemon.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        systemd.notify("STOPPING=1")
        log.info("stopping")
        if daemon.failed.done():
            daemon.failed.result()


@asynccontextmanager
async def running(config: Config, store: Store, clock: Clock) -> AsyncIterator[Running]:
    """The daemon, started; leaving stops it. A start that fails unwinds itself."""
    assert config.daemon.socket is not None
    assert config.daemon.state_dir is not None
    config.daemon.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        side_tasks = _SideTasks()
        stack.push_async_callback(store.close)
        await store.open()
        house = _House(config, store, clock)
        await house.feed.start()
        unfinished = await recover(store, house.lifecycle)
        if unfinished:
            log.info("took up what the last run left unfinished", commands=unfinished)
        await house.visitors.recover()
        stack.push_async_callback(house.presence.flush)
        stack.push_async_callback(side_tasks.stop)
        side_tasks.start(house.agenda.run(), "deadlines")
        side_tasks.start(house.presence.run(house.end_stale), "presence")
        side_tasks.start(house.retention.run(), "retention")
        side_tasks.start(house.pictures.run(), "pictures")
        side_tasks.start(house.socketio.run(), "pings")
        side_tasks.start(house.notices.run(), "notices")
        side_tasks.start(_keep_frozen(house.presence), "memory")
        stack.push_async_callback(house.registry.stop)
        stack.push_async_callback(house.dispatch.stop)
        stack.push_async_callback(house.visitors.stop)
        stack.push_async_callback(house.mqtt.stop)
        await house.mqtt.start(house.ingest, house.token_hashes)
        await _listen(stack, house, config)
        gc.freeze()
        yield Running(config.daemon.socket, house.url, side_tasks.failed)


async def _listen(stack: AsyncExitStack, house: _House, config: Config) -> None:
    """TCP first, the Unix socket last: who can ask for a command finds the devices' door open."""
    listen, socket = config.listen, config.daemon.socket
    assert socket is not None
    local = unix_listener(
        socket, config.daemon.socket_group
    )  # first of all: it tells whether another daemon runs
    stack.callback(_unlink, socket)
    stack.callback(local.close)
    network = tcp_listener(listen.host, listen.port)
    house.address = network.getsockname()[:2]
    tls = (listen.tls_cert, listen.tls_key) if listen.tls_cert and listen.tls_key else None
    routes = http.build(house.services())
    server = HttpServer(
        house.socketio.app(http.for_tcp(routes, listen.cors_origins)),
        network,
        tls=tls,
        max_message=MAX_MESSAGE_BYTES,
    )
    stack.push_async_callback(server.stop)
    await server.start()
    local_server = HttpServer(http.for_socket(routes), local)
    stack.push_async_callback(local_server.stop)
    await local_server.start()


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


class _House:
    """Every object of the daemon, built and joined; nothing runs yet."""

    def __init__(self, config: Config, store: Store, clock: Clock) -> None:
        self._config, self._clock = config, clock
        key_file = config.auth.jwt_secret_file
        assert key_file is not None
        assert config.daemon.state_dir is not None
        self.address: tuple[str, int] = (config.listen.host, config.listen.port)
        self.agenda = Agenda(clock)
        self.feed = Feed(store)
        self.guard = Guard(store, clock)
        self.presence = Presence(store, clock, config.presence.heartbeat, config.presence.missed)
        self.lifecycle = Lifecycle(store, clock, self.agenda)
        self.dispatch = Dispatch(
            store,
            clock,
            self.agenda,
            self.guard,
            self.presence,
            self.lifecycle,
            config.commands.failover_after,
        )
        self.sessions = Sessions(store, clock, Keys.load(key_file), config.auth.jwt_expiration)
        passwords = Passwords()
        self.accounts = Accounts(
            store, clock, self.sessions, passwords, frozenset({0, os.geteuid()})
        )
        self.signin = SignIn(store, clock, self.sessions, passwords, config.auth.signup)
        self.access_tokens = AccessTokens(store, clock, self.sessions)
        self.registry = Registry(store, clock, self.guard)
        self.mqtt = Mqtt(
            config.mqtt, config.daemon.state_dir, config.listen.host, os.environ.get("PATH")
        )
        self.submit = Submit(
            store,
            clock,
            config.commands,
            self.guard,
            self.presence,
            self.lifecycle,
            self.dispatch,
            self.feed,
        )
        assert config.snapshots.url is not None
        self.telling = Telling()
        self.links = Links(clock)
        self.sessions.on_ended(self.links.ended)
        self.frames = Frames(clock, self.telling)
        self.pictures = Pictures(
            store,
            FileSnapshots(folder_of(config.snapshots.url)),
            clock,
            self.guard,
            self.links,
            config.events.retention,
        )
        self.live_view = LiveView(self.frames, self.pictures, self.links)
        self.visitors = Visitors(
            store,
            clock,
            self.agenda,
            self.guard,
            self.submit,
            self.telling,
            config.visitors.expire_after,
            config.commands.timeout,
        )
        self.visitor_log = VisitorLog(store, clock, self.guard, self.pictures, self.public_url)
        self.ingest = Ingest(
            store,
            clock,
            self.presence,
            self.lifecycle,
            self.dispatch,
            self.visitors,
            self.pictures,
            self.frames,
            managed_broker=lambda: self.mqtt.managed,
            token_seen=self.registry.token_seen,
            drop=self.drop,
        )
        self.sight = Sight(store, clock)
        self.notices = Notices(store, clock, self.feed, self.presence, self.sight, self._image_url)
        self.desk = Desk(
            clock,
            self.guard,
            self.sight,
            self.submit,
            self.visitors,
            self.frames,
            self.notices,
        )
        self.ingest.on_quiet_change(self.notices.changed)
        self.dashboards = Dashboards(self.sessions, self.desk, self.agenda, clock)
        self.socketio = SocketIoGateway(self.ingest, config.listen.cors_origins, self.dashboards)
        self.gateways: tuple[DeviceGateway, ...] = (self.socketio, self.mqtt.gateway)
        self.dispatch.connect({gateway.transport: gateway for gateway in self.gateways})
        self.telling.connect(self.gateways)
        self.registry.connect(self.mqtt.credentials, self.gateways, lambda: self.mqtt.unprovisioned)
        self.queries = Queries(store, clock, self.guard, self.presence, self.feed)
        self.retention = Retention(store, clock, config.events.retention)
        self.sharing = Sharing(store, clock, self.guard, self.accounts)
        self.transfers = Transfers(store, clock, self.guard, self.accounts)
        self.explain = Explain(store, clock, self.guard, self.accounts)
        self.health = Health(
            clock,
            self.presence,
            self.feed,
            (self._store_health, self.mqtt.health, self.socketio.health),
        )
        self.overview = Overview(
            store, clock, self.guard, self.presence, self.queries, self.visitor_log
        )
        self.clearing = Clearing(store, clock, self.feed)
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
        self._store = store

    @property
    def url(self) -> str:
        """Where the TCP listener answers; a name for what listens everywhere is not made up."""
        host, port = self.address
        scheme = "https" if self._config.listen.tls_cert else "http"
        shown_host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        return f"{scheme}://{f'[{shown_host}]' if ':' in shown_host else shown_host}:{port}"

    def public_url(self) -> str:
        """What a web page or a device elsewhere reaches the daemon by."""
        return (self._config.listen.public_url or self.url).rstrip("/")

    def services(self) -> Services:
        return Services(
            clock=self._clock,
            accounts=self.accounts,
            sessions=self.sessions,
            signin=self.signin,
            access_tokens=self.access_tokens,
            guard=self.guard,
            registry=self.registry,
            sharing=self.sharing,
            transfers=self.transfers,
            explain=self.explain,
            submit=self.submit,
            lifecycle=self.lifecycle,
            queries=self.queries,
            ingest=self.ingest,
            visitors=self.visitors,
            visitor_log=self.visitor_log,
            pictures=self.pictures,
            live_view=self.live_view,
            health=self.health,
            overview=self.overview,
            clearing=self.clearing,
            metrics=self.metrics,
            settings=lambda: shown(self._config),
            public_url=lambda: self._config.listen.public_url or self.url,
            listen_url=lambda: self.url,
            mqtt_url=lambda: self.mqtt.url,
        )

    def _image_url(self, caller: Caller, device_id: str, image: str) -> str:
        return self.public_url() + self.pictures.path(caller, device_id, image)

    async def token_hashes(self) -> dict[str, str | None]:
        """Of every device that may connect: what the broker's users are held against."""
        devices = await self._store.list_devices()
        return {device.id: device.token_hash for device in devices if device.is_active}

    async def drop(self, device_id: str, reason: str) -> None:
        for gateway in self.gateways:
            await gateway.drop(device_id, reason)

    async def end_stale(self, session: Session) -> None:
        """A session on which nothing was heard for too long."""
        await self.ingest.disconnected(session, "heartbeat missed")
        if session.transport is self.socketio.transport:
            await self.socketio.drop(session.device_id, "heartbeat missed")

    def _store_health(self) -> PartHealth:
        kind = type(self._store).__name__.removesuffix("Store").lower()
        return PartHealth("store", "ok", kind)


class _SideTasks:
    """Tasks that run as long as the daemon; one that ends takes the daemon with it."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed.done():
            return
        error = task.exception() or RuntimeError(f"{task.get_name()} ended")
        log.error("a part of the daemon died", part=task.get_name(), exc_info=error)
        self.failed.set_exception(error)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.failed.cancel()


async def _keep_frozen(presence: Presence) -> None:
    """Take a fleet that has grown out of the garbage collector's sight: a full collection would
    hold everything up for as long as there are devices."""
    frozen = 0
    while True:
        await asyncio.sleep(_FREEZE_EVERY)
        sessions = len(presence.sessions())
        if sessions > frozen * 1.2 + 50:
            gc.freeze()
            frozen = sessions


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each device takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tune_interpreter() -> None:
    """Settings of the interpreter for a process that mostly waits; once, at start."""
    gc.set_threshold(50_000, 50, 100)
    # on a busy loop the store's writer thread would wait for its turn, each time, for this long
    sys.setswitchinterval(0.0002)

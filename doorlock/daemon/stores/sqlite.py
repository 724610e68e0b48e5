"""The store in one SQLite file: a thread that writes, another for long reads.

Single rows are read on the event loop itself: that takes a few microseconds, and a thread's turn
takes fifty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from doorlock.daemon.domain.access import Invitation, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, NewEvent
from doorlock.daemon.domain.pictures import Picture
from doorlock.daemon.domain.users import AccessToken, User
from doorlock.daemon.domain.visitors import Visitor, VisitorStatus
from doorlock.daemon.ports import (
    CommandFilter,
    EventFilter,
    EventListener,
    LogBounds,
    Pruned,
    VisitorFilter,
)
from doorlock.daemon.stores import changes as do
from doorlock.daemon.stores.faults import translated
from doorlock.daemon.stores.files import Files
from doorlock.daemon.stores.filters import (
    any_of,
    command_condition,
    event_condition,
    visitor_condition,
)
from doorlock.daemon.stores.migrations import MIGRATIONS, Migration
from doorlock.daemon.stores.recent import Recent
from doorlock.daemon.stores.rows import (
    ACCESS_TOKENS,
    COMMANDS,
    DEVICES,
    EVENTS,
    INVITATIONS,
    PICTURES,
    SHARES,
    USERS,
    VISITORS,
    Row,
    Table,
    as_kept,
    key,
    moment,
)
from doorlock.daemon.stores.writer import Transaction, Writer
from doorlock.errors import Unavailable

T = TypeVar("T")

_UNREADABLE = "the store could not be read"
_RECENT = 1000


def path_of(url: str) -> Path:
    """The file that `sqlite:///path` names; the path is absolute, with any number of slashes."""
    return Path("/" + unquote(url.removeprefix("sqlite://")).lstrip("/"))


class _Running:
    """What there is between open and close."""

    def __init__(self, files: Files, listeners: Sequence[EventListener]) -> None:
        self.files = files
        self.reader = ThreadPoolExecutor(1, "store-reader")
        self.writer = Writer(files.write, files.head, listeners)
        self.users: Recent[User] = Recent(_RECENT)
        self.devices: Recent[Device] = Recent(_RECENT)

    def close(self) -> None:
        self.writer.stop()
        self.reader.shutdown()
        self.files.close()


class SqliteStore:
    """`ports.Store` in the file at `path`, whose folder must be there."""

    def __init__(self, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self._path = path
        self._migrations = migrations
        self._listeners: list[EventListener] = []
        self._running: _Running | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        async with self._turn:
            if self._running is None:
                try:
                    await _to_the_end(self._open())
                except asyncio.CancelledError:
                    await _to_the_end(self._close())
                    raise

    async def close(self) -> None:
        async with self._turn:
            await _to_the_end(self._close())

    async def _open(self) -> None:
        files = await asyncio.to_thread(Files, self._path, self._migrations)
        self._running = _Running(files, self._listeners)

    async def _close(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await asyncio.to_thread(running.close)

    def listen(self, listener: EventListener) -> None:
        self._listeners.append(listener)

    # people
    async def add_user(self, user: User, events: Iterable[NewEvent] = ()) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.add_user(tx, user, new))

    async def get_user(self, user_id: str) -> User | None:
        read = partial(self._one, USERS, "id = ?", user_id)
        return self._opened().users.get(user_id, read)

    async def find_user(self, ref: str) -> User | None:
        return (
            self._one(USERS, "id = ?", ref)
            or self._one(USERS, "username_key = ?", key(ref))
            or self._one(USERS, "email_key = ?", key(ref))
        )

    async def user_by_uid(self, unix_uid: int) -> User | None:
        read = partial(self._one, USERS, "unix_uid = ?", unix_uid)
        return self._opened().users.get(unix_uid, read)

    async def list_users(self) -> Sequence[User]:
        return await self._many(USERS, "true ORDER BY username")

    async def update_user(
        self,
        user_id: str,
        changes: Mapping[str, Any],
        events: Iterable[NewEvent] = (),
        *,
        expect: Mapping[str, Any] | None = None,
    ) -> User | None:
        new = as_kept(events)
        return await self._write(
            lambda tx: do.update_user(tx, user_id, changes, new, expect),
            self._opened().users.forget_all,
        )

    # what speaks for people
    async def revoke_token(
        self,
        jti: str,
        expires_at: datetime,
        forget_before: datetime,
        events: Iterable[NewEvent] = (),
    ) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(
            lambda tx: do.revoke_token(tx, jti, expires_at, forget_before, new)
        )

    async def revoked_tokens(self) -> Mapping[str, datetime]:
        query = "SELECT jti, expires_at FROM revoked_tokens"
        return await self._far(query, (), lambda rows: {jti: moment(at) for jti, at in rows})

    async def add_access_token(
        self, token: AccessToken, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.add_access_token(tx, token, new))

    async def find_access_token(self, token_hash: str) -> AccessToken | None:
        return self._one(ACCESS_TOKENS, "token_hash = ?", token_hash)

    async def access_tokens_of(self, user_id: str) -> Sequence[AccessToken]:
        return await self._many(ACCESS_TOKENS, "user_id = ? ORDER BY name", user_id)

    async def remove_access_token(self, token_id: str, events: Iterable[NewEvent] = ()) -> bool:
        new = as_kept(events)
        return await self._write(lambda tx: do.remove_access_token(tx, token_id, new))

    # devices
    async def add_device(self, device: Device, events: Iterable[NewEvent] = ()) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.add_device(tx, device, new))

    async def get_device(self, device_id: str) -> Device | None:
        read = partial(self._one, DEVICES, "id = ?", device_id)
        return self._opened().devices.get(device_id, read)

    async def find_devices(self, ref: str) -> Sequence[Device]:
        where = "id = ? OR esp_id = ? OR name_key = ? ORDER BY name, id"
        return self._some(DEVICES, where, ref, ref, key(ref))

    async def list_devices(self, ids: Iterable[str] | None = None) -> Sequence[Device]:
        where, values = ("true", ()) if ids is None else any_of("id", ids)
        return await self._many(DEVICES, f"{where} ORDER BY name, id", *values)

    async def devices_of(self, owner_id: str) -> Sequence[Device]:
        return await self._many(DEVICES, "owner_id = ? ORDER BY name, id", owner_id)

    async def update_device(
        self,
        device_id: str,
        changes: Mapping[str, Any],
        events: Iterable[NewEvent] = (),
        *,
        expect: Mapping[str, Any] | None = None,
    ) -> Device | None:
        new = as_kept(events)
        return await self._write(
            lambda tx: do.update_device(tx, device_id, changes, new, expect),
            self._forgets([device_id]),
        )

    async def touch_devices(self, seen: Mapping[str, datetime]) -> None:
        await self._write(lambda tx: do.touch_devices(tx, seen), self._forgets(seen))

    async def remove_device(self, device_id: str, events: Iterable[NewEvent] = ()) -> bool:
        new = as_kept(events)
        return await self._write(
            lambda tx: do.remove_device(tx, device_id, new), self._forgets([device_id])
        )

    async def devices_offered_to(self, user_id: str) -> Sequence[Device]:
        return await self._many(DEVICES, "transfer_to = ? ORDER BY name, id", user_id)

    async def transfer_device(
        self,
        before: Device,
        at: datetime,
        drop_shares_of: Iterable[str],
        events: Iterable[NewEvent] = (),
    ) -> Device | None:
        new, dropped = as_kept(events), list(drop_shares_of)
        return await self._write(
            lambda tx: do.transfer_device(tx, before, at, dropped, new),
            self._forgets([before.id]),
        )

    # shares
    async def get_share(self, device_id: str, user_id: str) -> Share | None:
        return self._one(SHARES, "device_id = ? AND user_id = ?", device_id, user_id)

    async def shares_of_device(self, device_id: str) -> Sequence[Share]:
        return await self._many(SHARES, "device_id = ? ORDER BY created_at, user_id", device_id)

    async def shares_of_user(self, user_id: str) -> Sequence[Share]:
        return await self._many(SHARES, "user_id = ? ORDER BY created_at, device_id", user_id)

    async def put_share(self, share: Share, events: Iterable[NewEvent] = ()) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.put_share(tx, share, new))

    async def remove_share(
        self, device_id: str, user_id: str, events: Iterable[NewEvent] = ()
    ) -> bool:
        new = as_kept(events)
        return await self._write(lambda tx: do.remove_share(tx, device_id, user_id, new))

    # invitations
    async def put_invitation(
        self, invitation: Invitation, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.put_invitation(tx, invitation, new))

    async def get_invitation(self, invitation_id: str) -> Invitation | None:
        return self._one(INVITATIONS, "id = ?", invitation_id)

    async def invitation_by_code(self, code_hash: str) -> Invitation | None:
        return self._one(INVITATIONS, "code_hash = ?", code_hash)

    async def invitations_of_device(self, device_id: str) -> Sequence[Invitation]:
        return await self._many(INVITATIONS, "device_id = ? ORDER BY created_at, id", device_id)

    async def accept_invitation(
        self, invitation_id: str, share: Share, events: Iterable[NewEvent] = ()
    ) -> bool:
        new = as_kept(events)
        return await self._write(lambda tx: do.accept_invitation(tx, invitation_id, share, new))

    async def remove_invitation(self, invitation_id: str, events: Iterable[NewEvent] = ()) -> bool:
        new = as_kept(events)
        return await self._write(lambda tx: do.remove_invitation(tx, invitation_id, new))

    # commands
    async def add_command(
        self, command: Command, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.add_command(tx, command, new))

    async def get_command(self, command_id: str) -> Command | None:
        return self._one(COMMANDS, "id = ?", command_id)

    async def command_by_key(self, user_id: str, key: str) -> Command | None:
        return self._one(COMMANDS, do.BY_KEY, user_id, key, user_id, key)

    async def join_command(
        self, command_id: str, user_id: str, key: str | None, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.join_command(tx, command_id, user_id, key, new))

    async def update_command(
        self, command: Command, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event] | None:
        new = as_kept(events)
        return await self._write(lambda tx: do.update_command(tx, command, new))

    async def unfinished_commands(self, device_id: str | None = None) -> Sequence[Command]:
        where = "unfinished = 1" if device_id is None else "unfinished = 1 AND device_id = ?"
        values = () if device_id is None else (device_id,)
        return await self._many(COMMANDS, f"{where} ORDER BY issued_at, n", *values)

    async def list_commands(
        self, wanted: CommandFilter, *, limit: int, offset: int = 0
    ) -> tuple[Sequence[Command], int]:
        where, values = command_condition(wanted)
        page = f"{where} ORDER BY issued_at DESC, n DESC LIMIT ? OFFSET ?"
        commands = await self._many(COMMANDS, page, *values, limit, offset)
        return commands, await self._count(COMMANDS, where, *values)

    # visitors and their pictures
    async def add_visitor(
        self, visitor: Visitor, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.add_visitor(tx, visitor, new))

    async def get_visitor(self, visitor_id: str) -> Visitor | None:
        return self._one(VISITORS, "id = ?", visitor_id)

    async def update_visitor(
        self, visitor: Visitor, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event] | None:
        new = as_kept(events)
        return await self._write(lambda tx: do.update_visitor(tx, visitor, new))

    async def pending_visitors(self, device_id: str | None = None) -> Sequence[Visitor]:
        where = "status = 'pending'" + ("" if device_id is None else " AND device_id = ?")
        values = () if device_id is None else (device_id,)
        return await self._many(VISITORS, f"{where} ORDER BY opened_at, id", *values)

    async def list_visitors(
        self, wanted: VisitorFilter, *, limit: int, offset: int = 0
    ) -> tuple[Sequence[Visitor], int]:
        where, values = visitor_condition(wanted)
        page = f"{where} ORDER BY opened_at DESC, id DESC LIMIT ? OFFSET ?"
        visitors = await self._many(VISITORS, page, *values, limit, offset)
        return visitors, await self._count(VISITORS, where, *values)

    async def count_visitors(self, wanted: VisitorFilter) -> Mapping[VisitorStatus, int]:
        where, values = visitor_condition(wanted)
        query = f"SELECT status, count(*) FROM visitors WHERE {where} GROUP BY status"
        return await self._far(
            query, values, lambda rows: {VisitorStatus(status): n for status, n in rows}
        )

    async def forget_visitors(self, before: datetime, limit: int) -> int:
        return await self._write(lambda tx: do.forget_visitors(tx, before, limit))

    async def add_picture(
        self, picture: Picture, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: do.add_picture(tx, picture, new))

    async def get_picture(self, device_id: str, image: str) -> Picture | None:
        return self._one(PICTURES, "device_id = ? AND image = ?", device_id, image)

    async def latest_picture(self, device_id: str) -> Picture | None:
        return self._one(
            PICTURES, "device_id = ? ORDER BY taken_at DESC, rowid DESC LIMIT 1", device_id
        )

    async def forget_pictures(self, before: datetime, unused_before: datetime, limit: int) -> int:
        return await self._write(lambda tx: do.forget_pictures(tx, before, unused_before, limit))

    async def images_in_use(self, images: Iterable[str]) -> frozenset[str]:
        where, values = any_of("image", images)
        found = await self._many(PICTURES, where, *values)
        return frozenset(picture.image for picture in found)

    # events
    async def append(self, events: Iterable[NewEvent]) -> Sequence[Event]:
        new = as_kept(events)
        return await self._write(lambda tx: tx.append(new))

    async def list_events(
        self, wanted: EventFilter, *, limit: int, newest_first: bool = False, offset: int = 0
    ) -> Sequence[Event]:
        where, values = event_condition(wanted)
        order = "DESC" if newest_first else "ASC"
        page = f"{where} ORDER BY seq {order} LIMIT ? OFFSET ?"
        return await self._many(EVENTS, page, *values, limit, offset)

    async def count_events(self, wanted: EventFilter) -> int:
        where, values = event_condition(wanted)
        return await self._count(EVENTS, where, *values)

    async def bounds(self) -> LogBounds:
        (first, last, pruned, anchor) = self._row(
            "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events), seq, hash"
            " FROM pruned"
        )
        return LogBounds(first or pruned + 1, last or pruned, anchor)

    async def prune(
        self, before: datetime, limit: int, note: Callable[[Pruned], NewEvent]
    ) -> Pruned | None:
        return await self._write(lambda tx: do.prune(tx, before, limit, note))

    def _write(
        self, work: Callable[[Transaction], T], after: Callable[[], None] | None = None
    ) -> Awaitable[T]:
        return self._opened().writer.submit(work, after)

    def _forgets(self, device_ids: Iterable[str]) -> Callable[[], None]:
        return partial(self._opened().devices.forget, device_ids)

    def _row(self, query: str, *values: Any) -> Any:
        near = self._opened().files.near
        with translated(_UNREADABLE):
            return near.execute(query, values).fetchone()

    def _one(self, table: Table[T], where: str, *values: Any) -> T | None:
        row = self._row(f"{table.select} WHERE {where}", *values)
        return None if row is None else table.decode(row)

    def _some(self, table: Table[T], where: str, *values: Any) -> list[T]:
        near = self._opened().files.near
        with translated(_UNREADABLE):
            rows = near.execute(f"{table.select} WHERE {where}", values).fetchall()
        return [table.decode(row) for row in rows]

    async def _many(self, table: Table[T], where: str, *values: Any) -> Sequence[T]:
        query = f"{table.select} WHERE {where}"
        return await self._far(query, values, lambda rows: [table.decode(row) for row in rows])

    async def _count(self, table: Table[Any], where: str, *values: Any) -> int:
        query = f"SELECT count(*) FROM {table.name} WHERE {where}"
        return await self._far(query, values, lambda rows: int(rows[0][0]))

    async def _far(self, query: str, values: Sequence[Any], take: Callable[[list[Row]], T]) -> T:
        running = self._opened()

        def read() -> T:
            with translated(_UNREADABLE):
                return take(running.files.far.execute(query, values).fetchall())

        return await asyncio.get_running_loop().run_in_executor(running.reader, read)

    def _opened(self) -> _Running:
        if self._running is None:
            raise Unavailable("the store is not open")
        return self._running


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do all of `work` even when cancelled meanwhile, and raise the cancellation after it: what a
    thread has begun cannot be called back, and nobody must meet it half done."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    task.exception()
    raise cancelled

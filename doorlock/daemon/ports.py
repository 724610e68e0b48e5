"""What the services need from outside, and what the outside owes them.

Implementations live in `stores` and `gateways`; `app` alone knows which is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from doorlock.daemon.domain.access import Invitation, Share
from doorlock.daemon.domain.commands import Command
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import Event, EventType, NewEvent
from doorlock.daemon.domain.pictures import Picture
from doorlock.daemon.domain.reports import Report
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.users import AccessToken, User
from doorlock.daemon.domain.visitors import Visitor, VisitorStatus
from doorlock.errors import Conflict, Unavailable
from doorlock.protocol import CommandStatus, Transport


class Taken(Conflict):
    """A unique value is somebody else's already; `field` names it (`esp_id`, `username`, …)."""

    def __init__(self, field_name: str) -> None:
        super().__init__(f"that {field_name.replace('_', ' ')} is taken already")
        self.field = field_name


class SlotBusy(Conflict):
    """The device is busy with `running`, which keeps the same slot."""

    def __init__(self, running: Command) -> None:
        super().__init__(f"the device is busy with {running.name}")
        self.running = running


class AlreadyAsked(Conflict):
    """The same caller used the same idempotency key before, for `earlier`."""

    def __init__(self, earlier: Command) -> None:
        super().__init__("that idempotency key was used before")
        self.earlier = earlier


class SchemaTooNew(Unavailable):
    """The store was written by a newer doorlock."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; an empty filter is all of them.

    `devices` and `users`: None is no limit, an empty set matches nothing; where both are given an
    event of either matches (it is what somebody may see: their doors, and what they did).
    The other conditions must all hold. `after` and `before` are positions, both exclusive;
    `since` is inclusive and `until` exclusive.
    """

    devices: frozenset[str] | None = None
    users: frozenset[str] | None = None
    device: str | None = None
    user: str | None = None
    command: str | None = None
    types: frozenset[EventType] = frozenset()
    after: int | None = None
    before: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CommandFilter:
    """Which commands; `devices`: None is no limit, an empty set matches nothing."""

    devices: frozenset[str] | None = None
    device: str | None = None
    statuses: frozenset[CommandStatus] = frozenset()


@dataclass(frozen=True, slots=True)
class VisitorFilter:
    """Which visitors; `devices`: None is no limit, an empty set matches nothing. `since` is
    inclusive and `until` exclusive."""

    devices: frozenset[str] | None = None
    statuses: frozenset[VisitorStatus] = frozenset()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one step of pruning took: how many events, and the positions it took them from."""

    count: int
    from_seq: int
    to_seq: int
    last_hash: str


@dataclass(frozen=True, slots=True)
class LogBounds:
    """`last` is the position of the newest event ever written (0 for none), `first` the oldest
    still there (`last + 1` when there is none), `anchor` the hash of the event before `first`."""

    first: int
    last: int
    anchor: str


EventListener = Callable[[Sequence[Event]], None]


class Store(Protocol):
    """Everything that must survive.

    Every writing method is atomic: the change and its `events` are there together or not at all,
    and both are durable (on stable storage) when it returns. Events get their `seq` in the order
    of the commits; the listener hears of them in that order, each once, on the event loop, after
    they are durable and before the writing method returns. Reads see every write that has
    returned. A write that was cancelled may have happened or not, but never by half.

    All raise `Unavailable` when the store cannot be reached or written.
    Ids are strings; a guarded change touches one document; nothing joins.
    """

    async def open(self) -> None:
        """Connect, and migrate to the newest schema. Raises SchemaTooNew; may be tried again."""

    async def close(self) -> None:
        """Finish what was begun, then let go. Harmless when it was never opened or twice."""

    def listen(self, listener: EventListener) -> None:
        """From now on `listener` hears of every event. It must not wait or raise."""

    # people
    async def add_user(self, user: User, events: Iterable[NewEvent] = ()) -> Sequence[Event]:
        """Raises Taken for a username, email (both regardless of case) or unix_uid in use."""

    async def get_user(self, user_id: str) -> User | None: ...
    async def find_user(self, ref: str) -> User | None:
        """By id, username or email, the last two regardless of case."""

    async def user_by_uid(self, unix_uid: int) -> User | None: ...
    async def list_users(self) -> Sequence[User]:
        """By username."""

    async def update_user(
        self,
        user_id: str,
        changes: Mapping[str, Any],
        events: Iterable[NewEvent] = (),
        *,
        expect: Mapping[str, Any] | None = None,
    ) -> User | None:
        """The user as changed; None, and nothing written, where there is none or a field does not
        have its `expect`ed value. `changes` and `expect` name fields of User. Raises Taken."""

    # what speaks for people
    async def revoke_token(
        self,
        jti: str,
        expires_at: datetime,
        forget_before: datetime,
        events: Iterable[NewEvent] = (),
    ) -> Sequence[Event]:
        """Remembers a token that ended early, until it would have run out; harmless twice. Those
        that had run out at `forget_before` are forgotten."""

    async def revoked_tokens(self) -> Mapping[str, datetime]:
        """Every one that is remembered, and when it would have run out."""

    async def add_access_token(
        self, token: AccessToken, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        """Raises Taken for a name that this user has given already."""

    async def find_access_token(self, token_hash: str) -> AccessToken | None: ...
    async def access_tokens_of(self, user_id: str) -> Sequence[AccessToken]:
        """By name."""

    async def remove_access_token(self, token_id: str, events: Iterable[NewEvent] = ()) -> bool:
        """False, and nothing written, where there is none."""

    # devices
    async def add_device(self, device: Device, events: Iterable[NewEvent] = ()) -> Sequence[Event]:
        """Raises Taken for an esp_id in use."""

    async def get_device(self, device_id: str) -> Device | None: ...
    async def find_devices(self, ref: str) -> Sequence[Device]:
        """Those whose id or esp_id is `ref`, or whose name is, regardless of case; by name, then
        id."""

    async def list_devices(self, ids: Iterable[str] | None = None) -> Sequence[Device]:
        """All, or those of `ids` that exist; by name, then id."""

    async def devices_of(self, owner_id: str) -> Sequence[Device]:
        """Those that `owner_id` owns; by name, then id."""

    async def update_device(
        self,
        device_id: str,
        changes: Mapping[str, Any],
        events: Iterable[NewEvent] = (),
        *,
        expect: Mapping[str, Any] | None = None,
    ) -> Device | None:
        """The device as changed; None, and nothing written, where there is none or a field does
        not have its `expect`ed value. `changes` and `expect` name fields of Device."""

    async def touch_devices(self, seen: Mapping[str, datetime]) -> None:
        """Note when devices were last heard of: many at once, unknown ids passed over."""

    async def remove_device(self, device_id: str, events: Iterable[NewEvent] = ()) -> bool:
        """False, and nothing written, where there is none. Its shares and invitations go with it;
        its commands and events stay."""

    async def devices_offered_to(self, user_id: str) -> Sequence[Device]:
        """Those whose `transfer_to` is `user_id`; by name, then id."""

    async def transfer_device(
        self,
        before: Device,
        at: datetime,
        drop_shares_of: Iterable[str],
        events: Iterable[NewEvent] = (),
    ) -> Device | None:
        """Makes the device, still owned and offered as `before` says, that of its `transfer_to`,
        and takes out the shares of these users on it, every invitation to it and its pending
        token. None, and nothing written, when its owner or the offer is another, or it is gone."""

    # shares
    async def get_share(self, device_id: str, user_id: str) -> Share | None: ...
    async def shares_of_device(self, device_id: str) -> Sequence[Share]: ...
    async def shares_of_user(self, user_id: str) -> Sequence[Share]: ...
    async def put_share(self, share: Share, events: Iterable[NewEvent] = ()) -> Sequence[Event]:
        """Adds it, or replaces the one that this user has on this device."""

    async def remove_share(
        self, device_id: str, user_id: str, events: Iterable[NewEvent] = ()
    ) -> bool:
        """False, and nothing written, where there is none."""

    # invitations
    async def put_invitation(
        self, invitation: Invitation, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        """Adds it, or replaces the one that this email (regardless of case) has to this device."""

    async def get_invitation(self, invitation_id: str) -> Invitation | None: ...
    async def invitation_by_code(self, code_hash: str) -> Invitation | None: ...
    async def invitations_of_device(self, device_id: str) -> Sequence[Invitation]:
        """Oldest first."""

    async def accept_invitation(
        self, invitation_id: str, share: Share, events: Iterable[NewEvent] = ()
    ) -> bool:
        """Takes the invitation out and adds `share` in its place; False, and nothing written,
        where it is gone, or that user has a share of that device already."""

    async def remove_invitation(self, invitation_id: str, events: Iterable[NewEvent] = ()) -> bool:
        """False, and nothing written, where there is none."""

    # commands
    async def add_command(
        self, command: Command, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        """Raises AlreadyAsked (first; as `command_by_key`) or SlotBusy; then nothing is
        written."""

    async def get_command(self, command_id: str) -> Command | None: ...
    async def command_by_key(self, user_id: str, key: str) -> Command | None:
        """The command that `user_id` asked for, or joined, under that idempotency key."""

    async def join_command(
        self, command_id: str, user_id: str, key: str | None, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        """Note that `user_id` asked for a running command too; from now on `key`, if given,
        stands for it. Raises AlreadyAsked where the key stands for a command already."""

    async def update_command(
        self, command: Command, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event] | None:
        """Writes `command` over the version before it (`command.version - 1`); None, and nothing
        written, when somebody else changed it since."""

    async def unfinished_commands(self, device_id: str | None = None) -> Sequence[Command]:
        """Those that are not in a FINISHED state, oldest first."""

    async def list_commands(
        self, wanted: CommandFilter, *, limit: int, offset: int = 0
    ) -> tuple[Sequence[Command], int]:
        """A page, newest first, and how many there are in all."""

    # visitors and their pictures
    async def add_visitor(
        self, visitor: Visitor, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]: ...
    async def get_visitor(self, visitor_id: str) -> Visitor | None: ...
    async def update_visitor(
        self, visitor: Visitor, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event] | None:
        """Writes `visitor` over the version before it (`visitor.version - 1`); None, and nothing
        written, when somebody else changed it since."""

    async def pending_visitors(self, device_id: str | None = None) -> Sequence[Visitor]:
        """Those that nobody has decided on, oldest first."""

    async def list_visitors(
        self, wanted: VisitorFilter, *, limit: int, offset: int = 0
    ) -> tuple[Sequence[Visitor], int]:
        """A page, newest first, and how many there are in all."""

    async def count_visitors(self, wanted: VisitorFilter) -> Mapping[VisitorStatus, int]:
        """How many of each status; a status without any may be missing."""

    async def forget_visitors(self, before: datetime, limit: int) -> int:
        """Takes out up to `limit` that are over and came before `before`; how many went."""

    async def add_picture(
        self, picture: Picture, events: Iterable[NewEvent] = ()
    ) -> Sequence[Event]:
        """Notes that the device took it; the same one again is the same, with the later time."""

    async def get_picture(self, device_id: str, image: str) -> Picture | None: ...
    async def latest_picture(self, device_id: str) -> Picture | None: ...
    async def forget_pictures(self, before: datetime, unused_before: datetime, limit: int) -> int:
        """Takes out up to `limit` that were taken before `before`, or before `unused_before` and
        whose device is gone, or that belong to no visitor and are not their device's newest; how
        many went."""

    async def images_in_use(self, images: Iterable[str]) -> frozenset[str]:
        """Those of `images` that some device's picture still names."""

    # events
    async def append(self, events: Iterable[NewEvent]) -> Sequence[Event]: ...
    async def list_events(
        self, wanted: EventFilter, *, limit: int, newest_first: bool = False, offset: int = 0
    ) -> Sequence[Event]: ...
    async def count_events(self, wanted: EventFilter) -> int: ...
    async def bounds(self) -> LogBounds: ...
    async def prune(
        self, before: datetime, limit: int, note: Callable[[Pruned], NewEvent]
    ) -> Pruned | None:
        """Takes out up to `limit` of the oldest events, as far as they run without a gap and are
        older than `before`, and appends `note` of it in the same transaction. None when there
        are none (`log_pruned` events alone do not count: pruning them would never end)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for a device. `expires_at` is None for what may arrive late."""

    device_id: str
    event: str
    data: Mapping[str, Any]
    expires_at: datetime | None = None


class NotConnected(Exception):
    """The device has no connection on that transport: nothing was handed over."""


class DeviceGateway(Protocol):
    """One transport's way down to the devices."""

    @property
    def transport(self) -> Transport: ...
    async def send_command(self, command: Command, device: Device, now: datetime) -> None:
        """Hand `command` to one connection of `device`; never retried, retained or kept for later.
        Raises NotConnected when nothing can have reached the device."""

    async def tell(self, message: Outgoing) -> None:
        """Send a message to every connection of the device; nothing where there is none."""

    async def drop(self, device_id: str, reason: str) -> None:
        """End the device's connections at once."""


class Credentials(Protocol):
    """Where devices prove themselves outside the daemon: the MQTT broker."""

    async def grant(self, device_id: str, token: str) -> None:
        """From now on `token` and only it opens a session of `device_id`; older sessions end."""

    async def withdraw(self, device_id: str) -> None:
        """No session of `device_id` any more; live ones end."""


class AuthRefused(Exception):
    """The device may not connect; the message is one of WIRE section 1's, to the letter."""


class ReportSink(Protocol):
    """The one way up: what a gateway tells the services."""

    async def authenticate(self, device_id: str, token: str, where: Mapping[str, Any]) -> Device:
        """Raises AuthRefused. First use activates the device. `where` is event metadata."""

    async def vouched(self, device_id: str, where: Mapping[str, Any]) -> Device:
        """The broker has checked this device's password. Raises AuthRefused where the device is
        unknown, switched off, or its token was revoked since; first use activates it."""

    async def connected(self, session: Session) -> None:
        """The device can be reached. Harmless when it was said before."""

    async def disconnected(self, session: Session, reason: str) -> None:
        """Harmless for a session that is not known (any more)."""

    async def report(self, session: Session, report: Report) -> None:
        """A checked message. Raises NotAllowed when it speaks for another device (recorded)."""

    async def rejected(self, session: Session, event: str, reason: str) -> None:
        """A message that could not be read; `reason` is our text, not the device's."""

    def alive(self, session: Session) -> None:
        """The connection answered a ping."""


class SnapshotStore(Protocol):
    """Where the pictures themselves are kept, each by the SHA-256 of its content in hex.

    All raise `Unavailable` when the place cannot be reached or written.
    """

    async def put(self, content: bytes) -> str:
        """Its name. It is durable when this returns; what is there already counts as put anew."""

    async def get(self, image: str) -> bytes | None: ...
    async def put_before(self, moment: datetime) -> Sequence[str]:
        """The names of all that were last put before `moment`."""

    async def remove(self, image: str, before: datetime) -> bool:
        """False, and nothing done, where there is none or it was put anew since `before`."""


class Notifier(Protocol):
    """Alerts to people outside."""

    async def alert(self, level: str, message: str, device_id: str | None) -> None: ...


class Clock(Protocol):
    """The time, and waiting for it."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    async def sleep_until(self, moment: datetime) -> None:
        """Return at or after `moment`."""


@dataclass(frozen=True, slots=True)
class PartHealth:
    """How one part is: `ok`, `off`, `degraded` or `down`; `hint` is what to do about it."""

    name: str
    status: str
    message: str
    hint: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_broken(self) -> bool:
        return self.status in ("degraded", "down")

"""Signing up, in and out, and changing a password; how often anybody may try."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.rates import Bucket, Buckets
from doorlock.daemon.domain.users import Caller, Role, User, password_fault
from doorlock.daemon.ports import Clock, Store, Taken
from doorlock.daemon.services.guard import metadata_of, require_operator, require_person
from doorlock.daemon.services.passwords import Passwords
from doorlock.daemon.services.sessions import Sessions
from doorlock.errors import (
    BadInput,
    Conflict,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RateLimited,
)

# so many at once, and so many a second after that
_BY_ACCOUNT = (8, 1 / 30)
_BY_ADDRESS = (30, 1 / 3)
_SIGN_UPS = (200, 1 / 6)
_NOTES = (1, 1 / 60)


@dataclass(frozen=True, slots=True)
class SignUp:
    """What somebody says of themselves. Without a username one is made from the email."""

    username: str | None
    email: str | None
    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Where:
    """Where a request without a caller comes from: `address` is what its rate is counted by."""

    address: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SignedIn:
    user: User
    token: str = field(repr=False)


class SignIn:
    """The way in with a password. Nothing here tells an unknown user from a wrong password."""

    def __init__(
        self, store: Store, clock: Clock, sessions: Sessions, passwords: Passwords, signup: bool
    ) -> None:
        self._store, self._clock = store, clock
        self._sessions, self._passwords, self._signup = sessions, passwords, signup
        self._by_account, self._by_address = Buckets(*_BY_ACCOUNT), Buckets(*_BY_ADDRESS)
        self._sign_ups, self._notes = Buckets(*_SIGN_UPS), Buckets(*_NOTES)

    async def register(self, wanted: SignUp, where: Where) -> SignedIn:
        """A new ordinary account, signed in. Raises NotAllowed, BadInput, Conflict, RateLimited."""
        if not self._signup:
            raise NotAllowed(
                "nobody can sign up here", hint="An operator adds users: doorlock user add"
            )
        checked_password(wanted.password, "password")
        address = self._sign_ups.of(_network(where.address), self._clock.now())
        await self._take([address], None, where)
        username = await self._free_name(wanted)
        hashed = await self._passwords.hashed(wanted.password)
        user = User(
            new_id(),
            username,
            self._clock.now(),
            wanted.name or username,
            wanted.email,
            Role.ADMIN,
            password_hash=hashed,
        )
        payload = {"username": username, "role": user.role.value}
        try:
            await self._store.add_user(
                user, [self._event(EventType.USER_CREATED, user, payload, where.metadata)]
            )
        except Taken as taken:
            raise already_taken(taken.field) from taken
        return SignedIn(user, self._sessions.token_for(user))

    async def _free_name(self, wanted: SignUp) -> str:
        if wanted.email is not None and await self._store.find_user(wanted.email):
            raise already_taken("email")
        if wanted.username is not None:
            if await self._store.find_user(wanted.username):
                raise already_taken("username")
            return wanted.username
        stem = _name_from(wanted.email or "")
        taken = await self._store.find_user(stem)
        return f"{stem}-{new_id()[-6:]}" if taken else stem

    async def login(self, login: str, password: str, where: Where) -> SignedIn:
        """By username or email. Raises NotAuthenticated, RateLimited."""
        user = await self._store.find_user(login)
        now = self._clock.now()
        buckets = [
            self._by_account.of(user.id if user else login.casefold(), now),
            self._by_address.of(_network(where.address), now),
        ]
        await self._take(buckets, user, where)
        right = await self._passwords.matches(password, user.password_hash if user else None)
        token = await self._sessions.issue(user) if right and user else None
        if user is None or token is None:
            # not what was typed: people type passwords there
            payload = {"reason": "wrong password" if user else "unknown user"}
            event = self._event(EventType.LOGIN_FAILED, user, payload, where.metadata)
            await self._store.append([event])
            raise NotAuthenticated("Invalid credentials")
        for bucket in buckets:
            bucket.give_back()
        event = self._event(EventType.LOGIN_SUCCEEDED, user, {}, where.metadata)
        await self._store.append([event])
        return SignedIn(user, token)

    async def logout(self, caller: Caller) -> None:
        await self._sessions.end(caller)

    async def change_password(self, caller: Caller, current: str | None, new: str) -> SignedIn:
        """The caller's own. Every token of theirs ends; they go on with the one returned.

        A Unix account whose user has no password yet needs no current one. Raises NotAllowed,
        BadInput, RateLimited, Conflict.
        """
        require_person(caller, "change the password")
        if caller.operator is not None:
            raise NotAllowed("only they may change it that way", hint="Use: doorlock user passwd")
        checked_password(new, "newPassword")
        user = await self._store.get_user(caller.user.id)
        if user is None:
            raise NotFound("the user was removed in the meantime")
        if user.password_hash is not None or caller.jti is not None:
            await self._check_current(caller, user, current or "")
        changed = await self._set(caller, user, new)
        return SignedIn(changed, self._sessions.token_for(changed))

    async def _check_current(self, caller: Caller, user: User, current: str) -> None:
        bucket = self._by_account.of(user.id, self._clock.now())
        where = Where(caller.ip_address or "", metadata_of(caller))
        await self._take([bucket], user, where)
        if not await self._passwords.matches(current, user.password_hash):
            # not 401: the token is good, and clients take that for its end
            raise bad_field("currentPassword", "that is not the current password")
        bucket.give_back()

    async def set_password(self, caller: Caller, user: User, new: str) -> User:
        """An operator's for another user, whose tokens all end. Raises NotAllowed, BadInput."""
        require_operator(caller, "set the password of another user")
        require_person(caller, "set a password")
        if user.id == caller.user.id and caller.jti is not None:
            raise NotAllowed("your own password takes the current one")
        checked_password(new, "newPassword")
        return await self._set(caller, user, new)

    async def _set(self, caller: Caller, user: User, new: str) -> User:
        changes = {"password_hash": await self._passwords.hashed(new)}
        payload = {"kind": "all", "reason": "password changed", "by": caller.user.username}
        event = self._event(EventType.TOKEN_REVOKED, user, payload, metadata_of(caller))
        expect = {"password_hash": user.password_hash}
        changed = await self._sessions.change_user(user, changes, [event], expect)
        if changed is None:
            raise Conflict("the password was changed by somebody else in the meantime")
        return changed

    async def _take(self, buckets: list[Bucket], user: User | None, where: Where) -> None:
        now = self._clock.now()
        # each counts, whether another refuses or not
        refusing = [bucket for bucket in buckets if not bucket.take(now)]
        if not refusing:
            return
        who = user.id if user else _network(where.address)
        if self._notes.of(who, now).take(now):
            event = self._event(EventType.RATE_LIMITED, user, {"act": "sign in"}, where.metadata)
            await self._store.append([event])
        seconds = max(1, math.ceil(max(bucket.wait(now) for bucket in refusing)))
        raise RateLimited(
            "too many attempts",
            hint=f"Try again in {seconds} s.",
            details={"retryAfter": seconds},
        )

    def _event(
        self,
        kind: EventType,
        user: User | None,
        payload: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> NewEvent:
        return NewEvent(
            kind,
            self._clock.now(),
            user_id=user.id if user else None,
            payload=payload,
            metadata=metadata,
        )


def checked_password(password: str, name: str) -> None:
    """Raises BadInput, naming the field."""
    if fault := password_fault(password):
        raise bad_field(name, fault)


def bad_field(name: str, message: str) -> BadInput:
    errors = [{"field": name, "message": message}]
    return BadInput(message, details={"errors": errors})


def already_taken(name: str) -> Conflict:
    message = f"that {name.replace('_', ' ')} is taken already"
    return Conflict(message, details={"errors": [{"field": name, "message": message}]})


def _name_from(email: str) -> str:
    """A username out of an email's first half."""
    first = email.partition("@")[0]
    kept = [char if char.isascii() and char.isalnum() else "-" for char in first]
    return "".join(kept).strip("-")[:50] or "user"


def _network(address: str) -> str:
    """What one person has of addresses: an IPv6 network, or the address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))

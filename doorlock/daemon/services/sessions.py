"""Tokens that speak for somebody: issued, checked, and ended before their time; WIRE section 1."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import structlog

from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.users import Caller, User
from doorlock.daemon.ports import Clock, Store
from doorlock.daemon.services.guard import metadata_of, require_operator
from doorlock.daemon.services.keys import Keys
from doorlock.errors import NotAuthenticated

log = structlog.get_logger("doorlock.sessions")

ISSUER = "doorlock-system"
ACCESS_TOKEN_PREFIX = "doorlock_"
"""What a named token begins with, so that it is told from a JWT, and found where it leaked."""

_ALGORITHM = "HS256"

Ended = Callable[[str, str | None], Awaitable[None]]
"""Told of a user whose token with that `jti` has ended; None: every one of theirs."""


class InvalidUser(NotAuthenticated):
    """The token is in order, and whoever it speaks for is gone or disabled."""

    def __init__(self) -> None:
        super().__init__("Invalid token", hint="Sign in again.")


class Sessions:
    """Who a token speaks for. What was ended is refused from then on, and after a restart too."""

    def __init__(self, store: Store, clock: Clock, keys: Keys, life: timedelta) -> None:
        self._store, self._clock, self._keys, self._life = store, clock, keys, life
        self._revoked: dict[str, datetime] | None = None
        self._listeners: list[Ended] = []
        self._newest = clock.now()  # the latest time that any token says it was issued at
        self._turn = asyncio.Lock()
        self._key_turn = asyncio.Lock()

    def on_ended(self, listener: Ended) -> None:
        """From now on `listener` is awaited when tokens have ended, before whoever ended them is
        answered. Its failures are logged."""
        self._listeners.append(listener)

    # who speaks

    async def by_token(self, token: str) -> Caller:
        """The caller that a JWT or a named token speaks for, with its `jti`, `scope` and end.

        Raises NotAuthenticated.
        """
        if token.startswith(ACCESS_TOKEN_PREFIX):
            return await self._by_access_token(token)
        claims = await self._claims(token, "userId")
        user = await self._store.get_user(claims["userId"])
        if user is None or not user.is_active:
            raise InvalidUser
        if not user.accepts(_moment(claims["iat"])):
            raise invalid_token()
        return Caller(user, jti=claims["jti"], token_expires_at=_moment(claims["exp"]))

    async def _by_access_token(self, token: str) -> Caller:
        found = await self._store.find_access_token(tokens.hashed(token))
        user = await self._store.get_user(found.user_id) if found else None
        if found is None or user is None or not user.accepts(found.created_at):
            raise invalid_token()
        if not found.is_running(self._clock.now()):
            raise invalid_token()
        return Caller(user, jti=found.id, scope=found.scope, token_expires_at=found.expires_at)

    async def device_by_jwt(self, token: str) -> Device:
        """The device that a JWT speaks for. Raises NotAuthenticated."""
        claims = await self._claims(token, "deviceId")
        device = await self._store.get_device(claims["deviceId"])
        if device is None or not device.is_active or claims.get("for") != _generation(device):
            raise invalid_token()
        return device

    async def is_live(self, caller: Caller) -> bool:
        """Whether what `caller` showed when it came still speaks for them: for what lasts."""
        person = caller.operator or caller.user
        user = await self._store.get_user(person.id)
        if user is None or not user.is_active:
            return False
        if caller.jti is None:
            return True
        ends = caller.token_expires_at
        if user.tokens_valid_from != person.tokens_valid_from or (
            ends is not None and ends <= self._clock.now()
        ):
            return False
        if caller.scope is not None:
            kept = await self._store.access_tokens_of(user.id)
            return any(token.id == caller.jti for token in kept)
        return caller.jti not in await self._loaded()

    async def _claims(self, token: str, subject: str) -> Mapping[str, Any]:
        claims = self._decoded(token, subject)
        whole = isinstance(claims["iat"], int) and isinstance(claims["exp"], int)
        named = isinstance(claims["jti"], str) and isinstance(claims[subject], str)
        if not whole or not named or claims["exp"] <= self._clock.now().timestamp():
            raise invalid_token()
        if claims["jti"] in await self._loaded():
            raise invalid_token()
        return claims

    def _decoded(self, token: str, subject: str) -> Mapping[str, Any]:
        # the times are judged by our own clock
        options: Any = {
            "require": ["exp", "iat", "jti", subject],
            "verify_exp": False,
            "verify_iat": False,
        }
        for key in self._keys.verifying(self._clock.now()):
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    token, key, algorithms=[_ALGORITHM], issuer=ISSUER, options=options
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError as error:
                raise invalid_token() from error
            return claims
        raise invalid_token()

    # issuing

    async def issue(self, user: User) -> str | None:
        """A JWT for `user` as they were read; None where their password or account has changed
        since, so that no token is given for a password of the past."""
        async with self._turn:
            current = await self._store.get_user(user.id)
            if current is None or not current.is_active:
                return None
            if current.password_hash != user.password_hash:
                return None
            return self.token_for(current)

    def token_for(self, user: User) -> str:
        claims = {"userId": user.id, "username": user.username, "role": user.role.value}
        return self._signed(claims, user.issue_time(self._clock.now()))

    def token_for_device(self, device: Device) -> str:
        """A JWT for that device alone; it ends with the device token that it was given for."""
        claims = {"deviceId": device.id, "role": "device", "for": _generation(device)}
        return self._signed(claims, self._clock.now())

    def _signed(self, claims: Mapping[str, Any], issued_at: datetime) -> str:
        self._newest = max(self._newest, issued_at)
        times = {
            "iat": int(issued_at.timestamp()),
            "exp": int((issued_at + self._life).timestamp()),
        }
        return jwt.encode(
            {**claims, "iss": ISSUER, **times, "jti": new_id()},
            self._keys.current,
            algorithm=_ALGORITHM,
        )

    # ending

    async def end(self, caller: Caller) -> None:
        """The token that `caller` showed works no more; nothing for a Unix account."""
        if caller.jti is None:
            return
        event = self._revocation(caller, caller.user.id, "logout")
        if caller.scope is not None:
            await self._store.remove_access_token(caller.jti, [event])
        else:
            await self._revoke(caller.jti, caller.token_expires_at, event)
        await self.tell(caller.user.id, caller.jti)

    async def _revoke(self, jti: str, expires_at: datetime | None, event: NewEvent) -> None:
        assert expires_at is not None  # a JWT without an end is never accepted
        now = self._clock.now()
        revoked = await self._loaded()
        await self._store.revoke_token(jti, expires_at, now, [event])
        revoked[jti] = expires_at
        for old in [old for old, ends in revoked.items() if ends <= now]:
            del revoked[old]

    async def change_user(
        self,
        user: User,
        changes: Mapping[str, Any],
        events: Sequence[NewEvent] = (),
        expect: Mapping[str, Any] | None = None,
    ) -> User | None:
        """Change a user and end all their tokens. None, and nothing has changed, where there is
        none any more or a field has not its `expect`ed value."""
        async with self._turn:  # nothing is issued while the end of what was issued is written
            current = await self._store.get_user(user.id)
            if current is None:
                return None
            # the clock may have been set back since the last one was issued
            last = max(self._newest, self._clock.now())
            ended = {"tokens_valid_from": current.end_of_tokens(last)}
            changed = await self._store.update_user(
                user.id, {**changes, **ended}, events, expect=expect
            )
        if changed is not None:
            await self.tell(user.id, None)
        return changed

    async def tell(self, user_id: str, jti: str | None) -> None:
        """Whoever listens hears that tokens have ended."""
        for listener in self._listeners:
            try:
                await listener(user_id, jti)
            except Exception:
                log.exception("somebody could not be told that tokens have ended")

    async def rotate_key(self, caller: Caller) -> datetime:
        """Sign with a new key from now on; what the old one signed works until the moment that is
        returned. Raises NotAllowed, Unavailable."""
        require_operator(caller, "rotate the key that signs tokens")
        async with self._key_turn:
            until = await asyncio.to_thread(self._keys.rotate, self._clock.now(), self._life)
        event = NewEvent(
            EventType.TOKEN_ROTATED,
            self._clock.now(),
            user_id=caller.user.id,
            payload={"kind": "signing key"},
            metadata=metadata_of(caller),
        )
        await self._store.append([event])
        return until

    def _revocation(self, caller: Caller, user_id: str, reason: str) -> NewEvent:
        kind = "session" if caller.scope is None else "named"
        return NewEvent(
            EventType.TOKEN_REVOKED,
            self._clock.now(),
            user_id=user_id,
            payload={"kind": kind, "reason": reason},
            metadata=metadata_of(caller),
        )

    async def _loaded(self) -> dict[str, datetime]:
        """What was revoked, read once: the daemon alone revokes."""
        if self._revoked is None:
            found = dict(await self._store.revoked_tokens())
            # another may have read it in the meantime, and revoked since
            self._revoked = found if self._revoked is None else self._revoked
        return self._revoked


def invalid_token() -> NotAuthenticated:
    return NotAuthenticated("Invalid token", hint="Sign in again.")


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _generation(device: Device) -> str:
    return hashlib.sha256(f"{device.id}:{device.token_hash}".encode()).hexdigest()[:16]

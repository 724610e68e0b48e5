"""Who is calling: users, the Unix accounts that are theirs, and the tokens that speak for them."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import jwt

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.users import Caller, Role, User
from doorlock.daemon.ports import Clock, Store, Taken
from doorlock.daemon.services.guard import metadata_of, require_operator
from doorlock.errors import BadConfig, BadInput, Conflict, NotAllowed, NotAuthenticated, NotFound

ISSUER = "doorlock-system"
_ALGORITHM = "HS256"


class Accounts:
    """Users, and how a connection is known to be one."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        key: bytes,
        token_life: timedelta,
        operator_uids: frozenset[int],
    ) -> None:
        self._store, self._clock, self._key = store, clock, key
        self._token_life, self._operator_uids = token_life, operator_uids

    # who is calling

    async def by_uid(self, uid: int) -> User:
        """The user of a Unix account. Raises NotAllowed, with the mend, for an unknown one."""
        user = await self._store.user_by_uid(uid)
        if uid in self._operator_uids:
            return user or await self._make_operator(uid)
        if user is None:
            raise NotAllowed(
                f"the Unix account with uid {uid} is not linked to a user",
                hint=f"Ask an operator to run: doorlock user link USER --uid {uid}",
            )
        return _active(user)

    async def by_jwt(self, token: str) -> User:
        """Raises NotAuthenticated."""
        claims = self._claims(token, "userId")
        user = await self._store.get_user(str(claims["userId"]))
        if user is None or not user.is_active:
            raise _invalid()
        return user

    def _claims(self, token: str, subject: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                # the time is judged by our own clock below
                options={
                    "require": ["exp", "iat", subject],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise _invalid() from error
        exp = claims["exp"]
        if not isinstance(exp, int | float) or exp <= self._clock.now().timestamp():
            raise _invalid()
        return claims

    def token_for(self, user: User) -> str:
        """A JWT that speaks for `user`; WIRE section 1."""
        return self._signed({"userId": user.id, "username": user.username, "role": user.role.value})

    def _signed(self, claims: Mapping[str, Any]) -> str:
        now = self._clock.now()
        times = {"iat": int(now.timestamp()), "exp": int((now + self._token_life).timestamp())}
        return jwt.encode(
            {**claims, "iss": ISSUER, **times, "jti": new_id()}, self._key, algorithm=_ALGORITHM
        )

    def token_for_device(self, device: Device) -> str:
        """A JWT for that device alone; it ends with the device token that it was given for."""
        return self._signed({"deviceId": device.id, "role": "device", "for": _generation(device)})

    async def device_by_jwt(self, token: str) -> Device:
        """The device that a JWT speaks for. Raises NotAuthenticated."""
        claims = self._claims(token, "deviceId")
        device = await self._store.get_device(str(claims["deviceId"]))
        if device is None or not device.is_active or claims.get("for") != _generation(device):
            raise _invalid()
        return device

    async def acting_as(self, caller: Caller, ref: str) -> Caller:
        """`caller`, an operator, with the rights of another. Raises NotAllowed, NotFound."""
        require_operator(caller, "act for another user")
        return replace(caller, user=_active(await self.find(ref)), operator=caller.user)

    async def _make_operator(self, uid: int) -> User:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"uid-{uid}"
        for username in (name, f"{name}-{uid}", f"{name}-{new_id()[-6:]}"):
            user = User(new_id(), username, self._clock.now(), role=Role.SUPER_ADMIN, unix_uid=uid)
            try:
                await self._store.add_user(user, [self._created(user, {"source": "system"})])
            except Taken as taken:
                if taken.field == "unix_uid" and (made := await self._store.user_by_uid(uid)):
                    return made
                continue
            return user
        raise Conflict("no user could be made for this Unix account")

    # users

    async def find(self, ref: str) -> User:
        """By id, username or email. Raises NotFound."""
        user = await self._store.find_user(ref)
        if user is None:
            raise NotFound(f"there is no user {ref!r}", hint="`doorlock user ls` lists them.")
        return user

    async def users(self, caller: Caller) -> Sequence[User]:
        """All of them for an operator, otherwise the caller alone."""
        return await self._store.list_users() if caller.user.is_operator else [caller.user]

    async def add(
        self, caller: Caller, username: str, name: str, email: str | None, role: Role
    ) -> User:
        """Raises NotAllowed, Conflict."""
        require_operator(caller, "add users")
        user = User(new_id(), username, self._clock.now(), name or username, email, role)
        try:
            await self._store.add_user(user, [self._created(user, metadata_of(caller), caller)])
        except Taken as taken:
            raise Conflict(
                f"there is a user with that {taken.field.replace('_', ' ')} already",
                hint="`doorlock user ls` lists them.",
            ) from taken
        return user

    async def link(self, caller: Caller, ref: str, uid: int) -> User:
        """Tie a Unix account to a user. Raises NotAllowed, NotFound, Conflict, BadInput."""
        require_operator(caller, "link Unix accounts")
        user = await self.find(ref)
        if uid in self._operator_uids and not user.is_operator:
            raise BadInput(
                f"uid {uid} is an operator's and stays one",
                hint="Link an account that is neither root nor the daemon's own.",
            )
        try:
            changed = await self._store.update_user(user.id, {"unix_uid": uid})
        except Taken as taken:
            raise Conflict(f"uid {uid} is linked to another user already") from taken
        return changed or user

    async def set_active(self, caller: Caller, ref: str, active: bool) -> User:
        """Disable or enable a user. Raises NotAllowed, NotFound, BadInput."""
        require_operator(caller, "disable or enable users")
        user = await self.find(ref)
        if user.unix_uid in self._operator_uids and not active:
            raise BadInput("this user is the operator of the machine and cannot be disabled")
        events = []
        if not active and user.is_active:
            events = [
                NewEvent(
                    EventType.USER_DISABLED,
                    self._clock.now(),
                    user_id=user.id,
                    payload={"username": user.username, "by": caller.user.username},
                    metadata=metadata_of(caller),
                )
            ]
        changed = await self._store.update_user(user.id, {"is_active": active}, events)
        return changed or user

    def _created(
        self, user: User, metadata: Mapping[str, Any], caller: Caller | None = None
    ) -> NewEvent:
        payload = {"username": user.username, "role": user.role.value}
        if caller is not None:
            payload["by"] = caller.user.username
        return NewEvent(
            EventType.USER_CREATED,
            self._clock.now(),
            user_id=user.id,
            payload=payload,
            metadata=metadata,
        )


def _active(user: User) -> User:
    if not user.is_active:
        raise NotAllowed(
            f"the user {user.username!r} is disabled",
            hint=f"An operator can run: doorlock user enable {user.username}",
        )
    return user


def _invalid() -> NotAuthenticated:
    return NotAuthenticated("Invalid token", hint="Sign in again.")


def _generation(device: Device) -> str:
    return hashlib.sha256(f"{device.id}:{device.token_hash}".encode()).hexdigest()[:16]


def signing_key(file: Path) -> bytes:
    """The key of `file`, made at first use, 64 random bytes that only its owner may read.

    Raises BadConfig.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError), _exclusive(file) as made:
            made.write(secrets.token_bytes(64))
        key = file.read_bytes()
    except OSError as error:
        raise BadConfig(
            f"cannot use the key file {file}: {error.strerror}", hint="See auth.jwt_secret_file."
        ) from error
    if len(key) < 32:
        raise BadConfig(
            f"the key in {file} is too short", hint="It takes 32 bytes or more; 64 are better."
        )
    return key


def _exclusive(file: Path) -> BinaryIO:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "wb")

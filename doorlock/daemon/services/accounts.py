"""Users, and the Unix accounts that are theirs."""

from __future__ import annotations

import pwd
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.users import Caller, Role, User
from doorlock.daemon.ports import Clock, Store, Taken
from doorlock.daemon.services.guard import metadata_of, require_operator
from doorlock.daemon.services.passwords import Passwords
from doorlock.daemon.services.sessions import Sessions
from doorlock.daemon.services.signin import checked_password
from doorlock.errors import BadInput, Conflict, NotAllowed, NotFound


class Accounts:
    """The users. Root's account and the daemon's own are operators, whoever else is not."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sessions: Sessions,
        passwords: Passwords,
        operator_uids: frozenset[int],
    ) -> None:
        self._store, self._clock = store, clock
        self._sessions, self._passwords = sessions, passwords
        self._operator_uids = operator_uids

    # who is calling

    async def by_uid(self, uid: int) -> User:
        """The user of a Unix account. Raises NotAllowed, with the mend, for an unknown one."""
        user = await self._store.user_by_uid(uid)
        if uid in self._operator_uids:
            return user or await self._make_operator(uid)
        if user is None:
            raise NotAllowed(
                f"the Unix account with uid {uid} is not linked to a user",
                hint=f"Ask an operator to run: doorlock user link USER {uid}",
            )
        return _active(user)

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
        self,
        caller: Caller,
        username: str,
        name: str,
        email: str | None,
        role: Role,
        password: str | None = None,
    ) -> User:
        """Without a password they come by their Unix account alone. Raises NotAllowed, BadInput,
        Conflict."""
        require_operator(caller, "add users")
        user = User(new_id(), username, self._clock.now(), name or username, email, role)
        if password is not None:
            checked_password(password, "password")
            user = replace(user, password_hash=await self._passwords.hashed(password))
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
        """Disable or enable a user; disabling ends every token of theirs. Raises NotAllowed,
        NotFound, BadInput."""
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
        changes = {"is_active": active}
        if active:
            changed = await self._store.update_user(user.id, changes)
        else:
            changed = await self._sessions.change_user(user, changes, events)
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

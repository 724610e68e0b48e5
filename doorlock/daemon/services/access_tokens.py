"""Named tokens, which people give to their scripts: made, listed, revoked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from doorlock.daemon.domain import tokens
from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.users import AccessToken, Caller, Scope
from doorlock.daemon.ports import Clock, Store, Taken
from doorlock.daemon.services.guard import metadata_of, require_person
from doorlock.daemon.services.sessions import ACCESS_TOKEN_PREFIX, Sessions
from doorlock.errors import BadInput, Conflict, NotFound
from doorlock.times import iso_or_none


@dataclass(frozen=True, slots=True)
class NewToken:
    """A named token and its secret, which is shown this once."""

    token: AccessToken
    secret: str = field(repr=False)


class AccessTokens:
    """Everybody's own. What ends a user's sessions (a new password, being disabled) ends them too.

    All raise NotAllowed for who comes with a named token: it must not lead to another.
    """

    def __init__(self, store: Store, clock: Clock, sessions: Sessions) -> None:
        self._store, self._clock, self._sessions = store, clock, sessions

    async def create(
        self, caller: Caller, name: str, scope: Scope, expires_at: datetime | None
    ) -> NewToken:
        """Raises NotAllowed, BadInput, Conflict for a name in use."""
        require_person(caller, "make another")
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise BadInput("the token would have expired already", hint="Give a later end.")
        user = await self._store.get_user(caller.user.id) or caller.user
        secret = ACCESS_TOKEN_PREFIX + secrets.token_hex(32)
        token = AccessToken(
            new_id(),
            user.id,
            name,
            tokens.hashed(secret),
            scope,
            user.issue_time(now),
            expires_at,
        )
        payload = {"scope": scope.value, "expiresAt": iso_or_none(expires_at)}
        event = self._event(caller, EventType.TOKEN_ROTATED, token, payload)
        try:
            await self._store.add_access_token(token, [event])
        except Taken as taken:
            raise Conflict(
                f"you have a token called {name!r} already",
                hint=f"Take another name, or: doorlock token revoke --named {name!r}",
            ) from taken
        return NewToken(token, secret)

    async def mine(self, caller: Caller) -> Sequence[AccessToken]:
        """By name."""
        require_person(caller, "see the others")
        return await self._store.access_tokens_of(caller.user.id)

    async def revoke(self, caller: Caller, ref: str) -> AccessToken:
        """By name or id. Raises NotAllowed, NotFound."""
        mine = await self.mine(caller)
        token = next((one for one in mine if ref in (one.name, one.id)), None)
        if token is not None:
            event = self._event(caller, EventType.TOKEN_REVOKED, token, {})
            if await self._store.remove_access_token(token.id, [event]):
                await self._sessions.tell(caller.user.id, token.id)
                return token
        raise NotFound(f"you have no token called {ref!r}", hint="`doorlock token ls` lists them.")

    def _event(
        self, caller: Caller, kind: EventType, token: AccessToken, payload: Mapping[str, Any]
    ) -> NewEvent:
        return NewEvent(
            kind,
            self._clock.now(),
            user_id=caller.user.id,
            payload={"kind": "named", "name": token.name, **payload},
            metadata=metadata_of(caller),
        )

"""Who may ask: people, each with an account of their own, and the tokens that speak for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

SHORTEST_PASSWORD = 8
LONGEST_PASSWORD_BYTES = 1024
_SECOND = timedelta(seconds=1)


class Role(StrEnum):
    """`admin` is an ordinary account, as the field's clients call it; `super_admin` an operator."""

    USER = "user"
    ADMIN = "admin"
    SUPER_ADMIN = "super_admin"


class Scope(StrEnum):
    """The most that a named token gives, whatever its user may."""

    VIEW = "view"
    CONTROL = "control"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account. `unix_uid` ties a Unix account of the daemon's machine to it.

    Without a `password_hash` nobody signs in with a password. Tokens issued before
    `tokens_valid_from`, which is a whole second, are dead. Their pages of the event log begin
    after the position `log_cleared_to`; nothing is deleted for that.
    """

    id: str
    username: str
    created_at: datetime
    name: str = ""
    email: str | None = None
    role: Role = Role.ADMIN
    unix_uid: int | None = None
    is_active: bool = True
    password_hash: str | None = field(default=None, repr=False)
    tokens_valid_from: datetime | None = None
    log_cleared_to: int = 0

    @property
    def is_operator(self) -> bool:
        return self.role is Role.SUPER_ADMIN and self.is_active

    def issue_time(self, now: datetime) -> datetime:
        """What a token issued at `now` says of when that was: tokens count whole seconds."""
        second = now.replace(microsecond=0)
        return max(second, self.tokens_valid_from) if self.tokens_valid_from else second

    def end_of_tokens(self, now: datetime) -> datetime:
        """The `tokens_valid_from` that ends every token issued until `now`, even where the clock
        was set back since."""
        return self.issue_time(now) + _SECOND

    def accepts(self, issued_at: datetime) -> bool:
        """Whether a token of theirs, issued then, still speaks for them."""
        valid_from = self.tokens_valid_from
        return self.is_active and (valid_from is None or issued_at >= valid_from)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that a user named, for a script; without `expires_at` it lasts until revoked."""

    id: str
    user_id: str
    name: str
    token_hash: str = field(repr=False)
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None

    def is_running(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts: `user` is whose rights count; `operator` is set when somebody acts for them.

    `jti` names the token that was shown, None for a Unix account; it ends at `token_expires_at`.
    """

    user: User
    operator: User | None = None
    source: str = "socket"
    ip_address: str | None = None
    socket_id: str | None = None
    user_agent: str | None = None
    jti: str | None = None
    scope: Scope | None = None
    token_expires_at: datetime | None = None


def password_fault(password: str) -> str | None:
    """What is wrong with a new password; None when it will do."""
    if len(password) < SHORTEST_PASSWORD:
        return f"a password has at least {SHORTEST_PASSWORD} characters"
    if len(password.encode()) > LONGEST_PASSWORD_BYTES:
        return f"a password has at most {LONGEST_PASSWORD_BYTES} bytes"
    return None

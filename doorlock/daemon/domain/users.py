"""Who may ask: people, each with an account of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """`admin` is an ordinary account, as the field's clients call it; `super_admin` an operator."""

    USER = "user"
    ADMIN = "admin"
    SUPER_ADMIN = "super_admin"


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account. `unix_uid` ties a Unix account of the daemon's machine to it."""

    id: str
    username: str
    created_at: datetime
    name: str = ""
    email: str | None = None
    role: Role = Role.ADMIN
    unix_uid: int | None = None
    is_active: bool = True

    @property
    def is_operator(self) -> bool:
        return self.role is Role.SUPER_ADMIN and self.is_active


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts: `user` is whose rights count; `operator` is set when somebody acts for them."""

    user: User
    operator: User | None = None
    source: str = "socket"
    ip_address: str | None = None
    socket_id: str | None = None
    user_agent: str | None = None

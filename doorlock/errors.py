"""What can go wrong, under codes that scripts may rely on.

Each edge maps the code to its own language: an HTTP status in `daemon.api`, an exit code in
`cli.exit_codes`. Nothing deeper knows of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class DoorlockError(Exception):
    """A failure that a person is told of: what went wrong, and what to do about it.

    `message` and `hint` are shown as they stand, so neither may hold a secret or internal text.
    `details` goes to scripts as JSON.
    """

    code: ClassVar[str] = "unexpected"

    def __init__(
        self, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = dict(details or {})


class BadInput(DoorlockError):
    """The caller sent something that cannot be used."""

    code = "bad_input"


class NotAuthenticated(DoorlockError):
    """Nobody, or a token that no longer works."""

    code = "not_authenticated"


class NotAllowed(DoorlockError):
    """Somebody known, who may not do this."""

    code = "not_allowed"


class NotFound(DoorlockError):
    """No such thing among what the caller may see."""

    code = "not_found"


class Ambiguous(DoorlockError):
    """One name, several matches; `details["matches"]` lists them."""

    code = "ambiguous"


class Conflict(DoorlockError):
    """It exists already, was decided already, or something else is running."""

    code = "conflict"


class DeviceOffline(DoorlockError):
    """An interactive command for a device that is not connected; nothing was sent."""

    code = "device_offline"


class TooLarge(DoorlockError):
    """A body or message beyond its limit."""

    code = "too_large"


class RateLimited(DoorlockError):
    """Too many; `details["retryAfter"]` is in seconds."""

    code = "rate_limited"


class Unavailable(DoorlockError):
    """A part that this needs (store, broker) does not answer; trying again may help."""

    code = "unavailable"


class BadConfig(DoorlockError):
    """The configuration cannot be used."""

    code = "bad_config"


class DaemonUnreachable(DoorlockError):
    """Nobody answers at the socket."""

    code = "daemon_unreachable"


def all_errors() -> Sequence[type[DoorlockError]]:
    """Every class of this module: one a code, whatever finer ones a room makes of it."""
    listed: list[type[DoorlockError]] = [DoorlockError, *DoorlockError.__subclasses__()]
    return [kind for kind in listed if kind.__module__ == __name__]

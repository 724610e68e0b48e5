"""What ends a verb other than an answer of the daemon."""

from __future__ import annotations

from typing import Any

from doorlock.errors import DoorlockError


class CliFailure(Exception):
    """A verb that ends badly by the command line's own judgement.

    `code` is one of `exit_codes.BY_CODE`. `data` goes to scripts beside the error. An empty message
    means that everything has been said already. Not a DoorlockError: those are the daemon's.
    """

    def __init__(self, code: str, message: str, hint: str | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.data = data


def error_object(error: CliFailure | DoorlockError) -> dict[str, Any]:
    """The error as scripts read it."""
    shown: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, DoorlockError) and error.details:
        shown["details"] = error.details
    return shown

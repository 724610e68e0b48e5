"""What a verb's exit status says; a stable interface, with the codes of errors mapped onto it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The table of doorlock(1)."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    TIMED_OUT = 3
    NOT_ALLOWED = 4
    DEVICE_FAILED = 5
    CONFLICT = 6
    DEVICE_OFFLINE = 7
    NO_DAEMON = 8
    NOTHING_HAPPENED = 9
    NOT_FOUND = 10
    PARTIAL = 11
    BAD_CONFIG = 78
    INTERRUPTED = 130
    BROKEN_PIPE = 141


BY_CODE = {
    "unexpected": ExitCode.UNEXPECTED,
    "bad_input": ExitCode.USAGE,
    "not_authenticated": ExitCode.NOT_ALLOWED,
    "not_allowed": ExitCode.NOT_ALLOWED,
    "not_found": ExitCode.NOT_FOUND,
    "ambiguous": ExitCode.USAGE,
    "conflict": ExitCode.CONFLICT,
    "device_offline": ExitCode.DEVICE_OFFLINE,
    "too_large": ExitCode.USAGE,
    "rate_limited": ExitCode.UNEXPECTED,
    "unavailable": ExitCode.UNEXPECTED,
    "bad_config": ExitCode.BAD_CONFIG,
    "daemon_unreachable": ExitCode.NO_DAEMON,
    "usage": ExitCode.USAGE,
    "confirmation_needed": ExitCode.USAGE,
    "declined": ExitCode.NOTHING_HAPPENED,
    "timed_out": ExitCode.TIMED_OUT,
    "failed": ExitCode.DEVICE_FAILED,
    "jammed": ExitCode.DEVICE_FAILED,
    "expired": ExitCode.NOTHING_HAPPENED,
    "cancelled": ExitCode.NOTHING_HAPPENED,
    "partial": ExitCode.PARTIAL,
    "interrupted": ExitCode.INTERRUPTED,
    "broken_log": ExitCode.UNEXPECTED,
}
"""Every code that an error may carry, the daemon's and the command line's own."""


def exit_code_for(code: str) -> ExitCode:
    return BY_CODE.get(code, ExitCode.UNEXPECTED)

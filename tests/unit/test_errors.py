"""Every failure has a code that each edge can map."""

from __future__ import annotations

import re

import pytest

import doorlock.daemon.app  # noqa: F401  (so that every class is there)
from doorlock.cli.exit_codes import BY_CODE
from doorlock.daemon.api.errors import STATUS, known_failure
from doorlock.errors import DoorlockError, RateLimited, all_errors

SHARED = "doorlock.errors"
DAEMON = "doorlock.daemon."


def everyone(kind: type[DoorlockError] = DoorlockError) -> set[type[DoorlockError]]:
    """All classes, children of children too, that the daemon can raise."""
    found = {kind}.union(*(everyone(child) for child in kind.__subclasses__()))
    return {one for one in found if one.__module__.startswith((SHARED, DAEMON))}


RAISED = sorted(everyone(), key=lambda kind: kind.__qualname__)


def test_every_code_is_listed_once() -> None:
    listed = [kind.code for kind in all_errors()]
    assert len(listed) == len(set(listed))
    assert {kind.code for kind in RAISED} == set(listed)


@pytest.mark.parametrize("kind", RAISED)
def test_every_code_has_an_http_status_and_an_exit_code(kind: type[DoorlockError]) -> None:
    assert re.fullmatch(r"[a-z_]+", kind.code)
    assert 400 <= STATUS[kind.code] < 600
    assert kind.code in BY_CODE


def test_the_status_table_holds_no_code_that_is_gone() -> None:
    assert set(STATUS) == {kind.code for kind in RAISED}


def test_whatever_the_daemon_raises_has_a_code_of_the_shared_ones() -> None:
    shared = {kind.code for kind in RAISED if kind.__module__ == SHARED}
    assert {kind.code for kind in RAISED} == shared


def test_a_rate_limit_says_when_to_come_again() -> None:
    answer = known_failure(RateLimited("too many", details={"retryAfter": 7}))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_an_error_keeps_its_own_copy_of_the_details() -> None:
    details = {"a": 1}
    error = DoorlockError("no", hint="do", details=details)
    details["a"] = 2
    assert (error.message, str(error), error.hint, error.details) == ("no", "no", "do", {"a": 1})

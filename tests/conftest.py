"""What every test shares: on a machine that has everything, a skipped test is a failure."""

from __future__ import annotations

import os

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With DOORLOCK_TEST_ALLOW_SKIPS=0 a skip fails the run: the program for it must be there."""
    if os.environ.get("DOORLOCK_TEST_ALLOW_SKIPS") != "0":
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

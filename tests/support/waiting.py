"""Waiting for what happens elsewhere: a condition polled until it holds, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 20.0
_STEP = 0.01


async def until(
    probe: Callable[[], T | Awaitable[T]],
    what: str,
    *,
    seconds: float = PATIENCE,
    step: float = _STEP,
) -> T:
    """The first true value of `probe`. An AssertionError that says `what` when there is none."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        value: T = await found if inspect.isawaitable(found) else found
        if value:
            return value
        assert time.monotonic() < deadline, f"never came true: {what}"
        await asyncio.sleep(step)


def until_now(probe: Callable[[], T], what: str, *, seconds: float = PATIENCE) -> T:
    """As `until`, for fixtures without an event loop."""
    deadline = time.monotonic() + seconds
    while not (value := probe()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(_STEP)
    return value

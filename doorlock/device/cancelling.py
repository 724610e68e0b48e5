"""Stopping tasks for certain.

Up to Python 3.11 `asyncio.wait_for` swallows a cancellation that comes just as its wait ends, and
both aiomqtt and python-socketio wait by it: a task that loops around them has to look again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_GOODBYE_SECONDS = 5.0


def heed_cancellation() -> None:
    """Raise CancelledError when this task was cancelled and something swallowed it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def stop_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for them; one that does not end in time is cancelled again."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_GOODBYE_SECONDS)

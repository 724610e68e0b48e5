"""After a restart: the same rules, for what the last run left unfinished."""

from __future__ import annotations

from doorlock.daemon.domain.commands import Cancel, Tick
from doorlock.daemon.ports import Store
from doorlock.daemon.services.lifecycle import Lifecycle
from doorlock.protocol import CommandStatus


async def recover(store: Store, lifecycle: Lifecycle) -> int:
    """Judge every unfinished command before any device can speak; returns how many there were.

    What was never sent and may not wait is cancelled: its device is not connected now. What was
    sent is never sent again: it keeps waiting for its acknowledgement until its deadline.
    """
    unfinished = await store.unfinished_commands()
    for command in unfinished:
        lifecycle.adopt(command)
        if command.is_interactive and command.status is CommandStatus.QUEUED:
            await lifecycle.apply(
                command.id, Cancel("the daemon stopped before it was sent, so nothing happened")
            )
        else:
            await lifecycle.apply(command.id, Tick())
    return len(unfinished)

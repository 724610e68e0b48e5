"""Daemons that die by kill -9 at an exact moment of a command, without a hook in the daemon, or
whose store takes its time.

A point is `MOMENT:STEP`. `before:sent` is right before the store is asked to record that the
command was sent, `during:sent` in the middle of that transaction, `after:sent` right after it is
durable and before anybody hears of it. `after:handed` is right after a gateway took the command;
`timer:0.4` is so many seconds after the command was recorded, wherever the daemon is then.
`slow:update_device` has that method of the store return late, though what it did is durable.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from doorlock.daemon.domain.commands import Command

_LATE = 0.3


def arm(point: str) -> None:
    """Make this process die at `point`, or be slow there."""
    moment, _, step = point.partition(":")
    if moment == "slow":
        _slow_down(step)
    elif moment == "timer":
        _wrap_store("add_command", "after", "queued", lambda: _die_in(float(step)))
    elif step == "handed":
        _wrap_gateways()
    elif moment == "during":
        _wrap_transaction("add_command" if step == "queued" else "update_command", step)
    else:
        _wrap_store("add_command" if step == "queued" else "update_command", moment, step, die)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the signal is on its way: nothing more may happen here


def _die_in(seconds: float) -> None:
    killer = threading.Timer(seconds, die)
    killer.daemon = True
    killer.start()


def _wrap_store(method: str, moment: str, step: str, strike: Callable[[], None]) -> None:
    from doorlock.daemon.stores.sqlite import SqliteStore

    original: Callable[..., Awaitable[Any]] = getattr(SqliteStore, method)

    @functools.wraps(original)
    async def wrapped(store: Any, command: Command, *rest: Any, **named: Any) -> Any:
        hit = command.status.value == step
        if hit and moment == "before":
            strike()
        result = await original(store, command, *rest, **named)
        if hit and moment == "after":
            strike()
        return result

    setattr(SqliteStore, method, wrapped)


def _slow_down(method: str) -> None:
    from doorlock.daemon.stores.sqlite import SqliteStore

    original: Callable[..., Awaitable[Any]] = getattr(SqliteStore, method)

    async def wrapped(*arguments: Any, **named: Any) -> Any:
        result = await original(*arguments, **named)
        await asyncio.sleep(_LATE)
        return result

    setattr(SqliteStore, method, wrapped)


def _wrap_transaction(method: str, step: str) -> None:
    from doorlock.daemon.stores import changes

    original = getattr(changes, method)

    def wrapped(transaction: Any, command: Command, events: Any) -> Any:
        result = original(transaction, command, events)
        if command.status.value == step:
            transaction.flush()
            die()
        return result

    setattr(changes, method, wrapped)


def _wrap_gateways() -> None:
    from doorlock.daemon.gateways.mqtt import MqttGateway
    from doorlock.daemon.gateways.socketio import SocketIoGateway

    for gateway in (MqttGateway, SocketIoGateway):
        _wrap_send(gateway)


def _wrap_send(gateway: Any) -> None:
    original = gateway.send_command

    async def wrapped(self: Any, *arguments: Any) -> None:
        await original(self, *arguments)
        die()

    gateway.send_command = wrapped

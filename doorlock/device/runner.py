"""One running device, and the handle by which a test or a demo plays the person at the door."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Self

from doorlock.device.cancelling import stop_all
from doorlock.device.core import Identity
from doorlock.device.faults import Faults
from doorlock.device.hardware import Hardware, SimulatedBolt
from doorlock.device.journal import DeviceFiles
from doorlock.device.life import Life, clock_with
from doorlock.device.link import Credentials, Link, LinkEvents
from doorlock.device.outbox import Outgoing
from doorlock.device.sender import Sender
from doorlock.device.spec import DeviceSpec
from doorlock.errors import BadInput
from doorlock.protocol import CommandName, LockValue, Transport

log = logging.getLogger("doorlock.device")

_COMMANDS = frozenset(CommandName)
_LAST_WORDS, _LAST_PACKET = 1.0, 0.05  # seconds


class Device:
    """`async with Device(spec) as device:` runs it.

    Raises Conflict when another process has its folder, BadConfig when its journal is damaged.
    `heard` holds the last messages of the daemon as (event, data).
    """

    def __init__(self, spec: DeviceSpec, hardware: Hardware | None = None) -> None:
        if spec.url is None and spec.mqtt_url is None:
            raise BadInput("a device needs an address to connect to")
        self.spec = spec
        self.hardware: Hardware = hardware or SimulatedBolt()
        self.heard: deque[tuple[str, Any]] = deque(maxlen=200)
        self._identity = Identity(spec.device_id, spec.esp_id, spec.device_type)
        self._credentials = Credentials(self._identity, spec.token)
        self._faults = Faults(spec.faults, spec.seed)
        self._dice = random.Random(spec.seed)
        self.now: Callable[[], datetime] = clock_with(self._faults.clock_skew, spec.clock)
        self._cut: set[Transport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._beats: dict[Transport, asyncio.TimerHandle] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._files = stack.enter_context(DeviceFiles(self.spec.state_dir, clock=self.now))
            stack.callback(self.hardware.close)
            self._broken = asyncio.get_running_loop().create_future()
            self._sender = Sender(self._files.delivered)
            self._links = {link.transport: link for link in self._make_links()}
            self._sender.links = tuple(self._links.values())
            self._life = self._new_life()
            self._life.begin()
            stack.push_async_callback(self._stop)
            self.spawn(self._sender.run())
            for link in self._links.values():
                self.spawn(link.run())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Run until cancelled. Raises what broke the device, should that ever happen."""
        async with self:
            await self.broken()

    async def broken(self) -> None:
        """Wait for what must never happen, a side task that dies, and raise its error."""
        await asyncio.shield(self._broken)

    # What a person or a test does

    @property
    def actuations(self) -> list[dict[str, Any]]:
        """Every movement of the bolt that was ever ordered: time, commandId, action."""
        return self._files.actuations()

    @property
    def lock_value(self) -> LockValue | None:
        """What the device last said of its bolt."""
        return self._life.core.lock_value

    def outcome(self, command_id: str) -> str | None:
        """`started`, `executed` or `failed`; None for a command that it never took."""
        record = self._life.core.outcome(command_id)
        return None if record is None else record.stage.value

    @property
    def transports(self) -> list[Transport]:
        return list(self._links)

    def is_connected(self, transport: str) -> bool:
        return self._links[Transport(transport)].live

    async def connected(self, transport: str, *, seconds: float | None = 30.0) -> None:
        await self.until(lambda: self.is_connected(transport), seconds=seconds)

    async def disconnected(self, transport: str, *, seconds: float | None = 30.0) -> None:
        await self.until(lambda: not self.is_connected(transport), seconds=seconds)

    async def until(self, condition: Callable[[], bool], *, seconds: float | None = 30.0) -> None:
        """Wait for `condition`, which is tried again after everything that happens here.

        Raises TimeoutError after `seconds`; None waits for ever.
        """
        async with asyncio.timeout(seconds):
            while not condition():
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiters.discard(waiter)

    def press_bell(self) -> None:
        self._life.perform(self._life.core.bell(self.now()))

    def motion(self, confidence: int = 90) -> None:
        self._life.perform(self._life.core.motion(confidence, self.now()))

    def battery(self, level: int) -> None:
        self._life.perform(self._life.core.battery(level, self.now()))

    def report(self, event: str, **fields: Any) -> None:
        """Send any other event, with `deviceId` and `timestamp` filled in unless given."""
        self._life.perform(self._life.core.report(event, fields, self.now()))

    def turn_by_hand(self, value: str) -> None:
        """Turn a simulated bolt to `locked` or `unlocked`."""
        if not isinstance(self.hardware, SimulatedBolt):
            raise BadInput("only a simulated bolt can be turned")
        self.hardware.turn(LockValue(value))

    def cut(self, transport: str) -> None:
        """Break one transport as a pulled cable does, and keep it away until `restore`."""
        self._cut.add(Transport(transport))
        self._links[Transport(transport)].cut()

    def restore(self, transport: str) -> None:
        self._cut.discard(Transport(transport))
        self._links[Transport(transport)].restore()

    def use_token(self, token: str) -> None:
        """Use another token from the next connection on; where one was refused, try at once."""
        self._credentials.token = token
        self._restore_links()

    async def restart(self) -> None:
        """Reboot once the daemon has been told what there was to tell."""
        await self._sender.quiet(_LAST_WORDS)
        await asyncio.sleep(_LAST_PACKET)
        self.reboot()

    def reboot(self) -> None:
        """Pull the plug and start again, after `boot_seconds`, from what stands on the disk."""
        if not self._life.alive:
            return
        log.info("%s: restarting", self.spec.device_id)
        self._life.end()
        self._sender.forget()
        for link in self._links.values():
            link.cut()
        self.spawn(self._start_again())

    # What its life needs of it

    def say(self, item: Outgoing) -> None:
        self._sender.say(item)

    def say_over(self, via: Transport, event: str, data: Mapping[str, Any]) -> None:
        self.spawn(self._sender.send_over(self._links[via], event, data))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # Inside

    def _new_life(self) -> Life:
        return Life(self._identity, self._files, self.hardware, self._faults, self)

    async def _start_again(self) -> None:
        await asyncio.sleep(self.spec.boot_seconds)
        self._life = self._new_life()
        self._life.begin()
        self._restore_links()

    def _restore_links(self) -> None:
        for transport, link in self._links.items():
            if transport not in self._cut:
                link.restore()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("%s: stopped working", self.spec.device_id, exc_info=error)
        if not self._broken.done():
            self._broken.set_exception(error)

    async def _stop(self) -> None:
        for handle in self._beats.values():
            handle.cancel()
        await stop_all(self._tasks)
        self._life.end()
        self._broken.cancel()

    def _make_links(self) -> list[Link]:
        spec, links = self.spec, list[Link]()
        events = LinkEvents(self._up, self._down, self._heard)
        if spec.url is not None:
            from doorlock.device.socketio_link import SocketIoLink

            links.append(SocketIoLink(spec, self._credentials, events, self._dice))
        if spec.mqtt_url is not None:
            from doorlock.device.mqtt_link import MqttLink

            links.append(MqttLink(spec, self._credentials, events, self._dice))
        return links

    def _up(self, via: Transport) -> None:
        self._life.perform(self._life.core.connected(via, self.now()))
        self._plan_beat(via)
        self._sender.wake()

    def _down(self, via: Transport) -> None:
        if handle := self._beats.pop(via, None):
            handle.cancel()
        self._life.core.disconnected(via)
        self.changed()

    def _plan_beat(self, via: Transport) -> None:
        loop = asyncio.get_running_loop()
        self._beats[via] = loop.call_later(self.spec.heartbeat, self._beat, via)

    def _beat(self, via: Transport) -> None:
        self._life.perform(self._life.core.heartbeat(via))
        self._plan_beat(via)

    def _heard(self, via: Transport, event: str, data: Any) -> None:
        self.heard.append((event, data))
        if event in _COMMANDS and isinstance(data, Mapping):
            self._life.command({**data, "command": event}, via)
        elif event == "error":
            log.warning("%s: the daemon did not take a message", self.spec.device_id)
        self.changed()

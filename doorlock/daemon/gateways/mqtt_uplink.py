"""The daemon's connection to the broker, kept up for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from doorlock.daemon.gateways.mqtt_link import (
    Address,
    Incoming,
    Link,
    LinkDown,
    LinkRefused,
    VersionRefused,
)
from doorlock.times import utc_now

log = structlog.get_logger("doorlock.mqtt")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
_STEADY_SECONDS = 60.0


class Party(Protocol):
    """Who uses the connection."""

    def heard(self, link: Link, message: Incoming) -> None:
        """A message; at once and without waiting. The party sees to its acknowledgement."""

    async def up(self, link: Link, refused: Sequence[str]) -> None:
        """Connected and subscribed, but for the `refused` topics."""

    async def down(self) -> None:
        """The connection is lost; the next attempt waits for this to return."""


class Uplink:
    """Connects, subscribes, tells the party, waits for the loss, and begins again.

    MQTT 5 is tried first at every connection, since only it lets a message expire in the broker.
    """

    def __init__(
        self, address: Callable[[], Awaitable[Address]], topics: Sequence[str], party: Party
    ) -> None:
        self._address, self._topics, self._party = address, topics, party
        self._changed = asyncio.Event()
        self.link: Link | None = None
        self.since: datetime | None = None
        self.connects = 0
        self.last_error: str | None = None
        self.refused = False

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            began = loop.time()
            try:
                await self._once()
            except LinkDown as error:
                self._note(str(error), refused=isinstance(error, LinkRefused))
            except Exception:
                log.exception("the connection to the broker broke off")
                self._note("an internal error; see the log")
            if loop.time() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def connected(self, seconds: float) -> bool:
        """Wait for the connection, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while self.link is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _once(self) -> None:
        link = await self._dial(await self._address())
        try:
            await self._serve(link)
        finally:
            link.close()

    async def _serve(self, link: Link) -> None:
        refused = await link.subscribe(self._topics)
        self.link, self.since, self.last_error, self.refused = link, utc_now(), None, False
        self.connects += 1
        self._changed.set()
        log.info("connected to the broker", broker=str(link.address), mqtt5=link.modern)
        try:
            await self._party.up(link, refused)
            self._note(f"connection lost: {await link.lost}")
        finally:
            self.link, self.since = None, None
            await self._party.down()

    async def _dial(self, address: Address) -> Link:
        link: Link

        def hear(message: Incoming) -> None:
            self._party.heard(link, message)

        try:
            link = Link(address, modern=True, hear=hear)
            await link.open()
        except VersionRefused:
            link = Link(address, modern=False, hear=hear)
            await link.open()
        return link

    def _note(self, error: str, *, refused: bool = False) -> None:
        if error != self.last_error:
            log.warning("no connection to the broker", error=error)
        self.last_error, self.refused = error, refused

"""Gets what the device has to say to the daemon, over whichever link is live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from doorlock.device.cancelling import heed_cancellation
from doorlock.device.link import Link, LinkDown
from doorlock.device.outbox import Outbox, Outgoing
from doorlock.protocol import Transport

log = logging.getLogger("doorlock.device")

_ATTEMPTS = 4


class Sender:
    """Sends in order, each message once, and an outcome until a link confirms it.

    Progress of a command is only worth saying while it lasts: it is not kept for later.
    """

    def __init__(self, delivered: Callable[[str], None]) -> None:
        self.links: Sequence[Link] = ()
        self._outbox = Outbox()
        self._delivered = delivered
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()

    def say(self, item: Outgoing) -> None:
        dropped = self._outbox.push(item)
        if dropped is not None:
            log.warning("too much to say while offline: dropped one %s", dropped.event)
        self._quiet.clear()
        self._wake.set()

    def forget(self) -> None:
        """The power is gone, and with it what was not sent."""
        self._outbox = Outbox()

    def wake(self) -> None:
        """A link has come up."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            heed_cancellation()
            await self._wake.wait()
            self._wake.clear()
            while (item := self._outbox.head()) and await self._settled(item):
                self._outbox.discard(item)
                heed_cancellation()
            if not len(self._outbox):
                self._quiet.set()

    async def quiet(self, seconds: float) -> None:
        """Wait until everything is said, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()

    async def _settled(self, item: Outgoing) -> bool:
        """Whether the item can go: sent, or not worth keeping. False waits for a link."""
        if await self._sent(item):
            if item.outcome_of is not None:
                self._delivered(item.outcome_of)
            return True
        if item.is_progress:
            return True
        if not any(link.live for link in self.links):
            return False
        item.attempts += 1
        self._wake.set()
        return item.attempts >= _ATTEMPTS

    async def _sent(self, item: Outgoing) -> bool:
        for link in self._in_order(item.via):
            try:
                await link.send(item.event, item.data, confirm=item.outcome_of is not None)
            except LinkDown:
                continue
            return True
        return False

    def _in_order(self, via: Transport | None) -> list[Link]:
        live = [link for link in self.links if link.live]
        return sorted(live, key=lambda link: (link.suspect, link.transport != via))

    async def send_over(self, link: Link, event: str, data: Mapping[str, Any]) -> None:
        """Say something that only makes sense on this link; lost if the link is."""
        try:
            await link.send(event, data, confirm=False)
        except LinkDown:
            log.debug("lost one %s", event)

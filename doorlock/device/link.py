"""What every link to the daemon has in common: it reconnects for ever, and can be cut."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from doorlock.device.backoff import Backoff
from doorlock.device.cancelling import heed_cancellation
from doorlock.device.core import Identity
from doorlock.protocol import Transport

log = logging.getLogger("doorlock.device")

KNOWN_REFUSALS = (
    "Authentication required",
    "Invalid token",
    "Invalid user",
    "Invalid device token",
    "Device not activated",
)


class LinkDown(Exception):
    """What was to be sent did not arrive, as far as anybody can tell."""


class AuthRefused(Exception):
    """The other side knows this device's credentials and does not want them."""


@dataclass(slots=True)
class Credentials:
    """Who the device is and how it proves it; the token never shows in a `repr`."""

    identity: Identity
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkEvents:
    """Whom a link calls, always in the event loop's thread."""

    connected: Callable[[Transport], None]
    disconnected: Callable[[Transport], None]
    heard: Callable[[Transport, str, Any], None]


class Link(ABC):
    """One connection that comes back by itself until its `run` is cancelled."""

    transport: ClassVar[Transport]

    def __init__(
        self, credentials: Credentials, events: LinkEvents, backoff: Backoff, dice: random.Random
    ) -> None:
        self.credentials = credentials
        self.suspect = False
        self._events = events
        self._backoff = backoff
        self._dice = dice
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._nudge = asyncio.Event()
        self._attempt = 0
        self._live = False

    @property
    def live(self) -> bool:
        return self._live

    @abstractmethod
    async def session(self) -> None:
        """Connect, call `up`, serve until the connection is gone.

        Raises AuthRefused when the credentials are not accepted; any other exception means that
        trying again may help. Cancelling it says goodbye properly.
        """

    @abstractmethod
    async def send(self, event: str, data: Mapping[str, Any], *, confirm: bool) -> None:
        """Send one message, with `confirm` until the other side has it. Raises LinkDown."""

    @abstractmethod
    def drop(self) -> None:
        """Break the connection as a cut cable would, without a goodbye."""

    def cut(self) -> None:
        """Break the connection, and stay away until `restore`."""
        self._allowed.clear()
        self.drop()

    def restore(self) -> None:
        """Come back after `cut`, or try at once where a wait is running."""
        self._attempt = 0
        self._allowed.set()
        self._nudge.set()

    async def run(self) -> None:
        """Keep a session up for ever."""
        while True:
            heed_cancellation()
            await self._allowed.wait()
            began = time.monotonic()
            delay = await self._try_session()
            if delay is None:
                if time.monotonic() - began >= self._backoff.steady:
                    self._attempt = 0
                delay = self._backoff.delay(self._attempt, self._dice)
                self._attempt += 1
            await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        self._nudge.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()

    async def _try_session(self) -> float | None:
        """One session; returns how long to wait where that is special."""
        try:
            await self.session()
        except AuthRefused as refusal:
            delay = self._backoff.delay_after_refusal(self._dice)
            reason = str(refusal)
            shown = reason if reason in KNOWN_REFUSALS else "refused"
            log.error(
                "%s: the daemon refuses this device (%s); next try in %.0f s",
                self._name,
                shown,
                delay,
            )
            return delay
        except Exception as error:
            log.info("%s: no connection (%s)", self._name, type(error).__name__)
        finally:
            self.down()
        return None

    def up(self) -> None:
        """The connection stands. Raises LinkDown when it was cut while it was being made."""
        heed_cancellation()
        if not self._allowed.is_set():
            raise LinkDown
        self.suspect = False
        self._live = True
        log.info("%s: connected", self._name)
        self._events.connected(self.transport)

    def down(self) -> None:
        if self._live:
            self._live = False
            log.info("%s: disconnected", self._name)
            self._events.disconnected(self.transport)

    def hear(self, event: str, data: Any) -> None:
        self.suspect = False
        self._events.heard(self.transport, event, data)

    @property
    def _name(self) -> str:
        return f"{self.credentials.identity.device_id} {self.transport}"

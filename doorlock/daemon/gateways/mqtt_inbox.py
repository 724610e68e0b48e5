"""Messages that wait for their turn: each device's in order, all within one budget."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from doorlock.daemon.gateways.mqtt_link import Incoming, Link

MESSAGE_COST = 16 * 1024
"""What a waiting message counts beside its bytes: it bounds small ones by their number."""

DEVICE_BUDGET = 8 * 1024 * 1024
TOTAL_BUDGET = 64 * 1024 * 1024

Handle = Callable[[str, Incoming], Awaitable[None]]


class Inbox:
    """One worker for each device that has something waiting, and none for the others.

    Beyond `total` the broker is held back: what it sent is acknowledged as the rest gets done. A
    device that fills its own share loses what comes on top, and no other device notices.
    """

    def __init__(
        self, handle: Handle, *, share: int = DEVICE_BUDGET, total: int = TOTAL_BUDGET
    ) -> None:
        self._handle, self._share, self._total = handle, share, total
        self._waiting: dict[str, deque[Incoming]] = {}
        self._costs: dict[str, int] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._unconfirmed: deque[tuple[Link, Incoming]] = deque()
        self.cost = 0
        self.dropped = 0

    def put(self, device_id: str, link: Link, message: Incoming) -> None:
        self._confirm_or_hold(link, message)
        cost = _cost(message)
        unheld = message.qos == 0 and self.cost > 2 * self._total
        if unheld or (device_id in self._costs and self._costs[device_id] + cost > self._share):
            self.dropped += 1
            return
        self.cost += cost
        self._costs[device_id] = self._costs.get(device_id, 0) + cost
        if device_id in self._waiting:
            self._waiting[device_id].append(message)
            return
        self._waiting[device_id] = deque([message])
        worker = asyncio.ensure_future(self._work(device_id))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    def forget(self, device_id: str) -> None:
        """Throw away what waits of this device; what is being handled goes on."""
        for message in self._waiting.get(device_id, ()):
            self._done(device_id, message)
        self._waiting.get(device_id, deque()).clear()

    async def settle(self, seconds: float) -> None:
        """Let what waits be handled, at most so long, and throw away the rest."""
        if self._workers:
            await asyncio.wait(self._workers, timeout=seconds)
        for device_id in self._waiting:
            self.forget(device_id)
        self._unconfirmed.clear()

    async def stop(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for leftover in (self._waiting, self._costs, self._unconfirmed):
            leftover.clear()  # a worker that never began cannot tidy up
        self.cost = 0

    def _confirm_or_hold(self, link: Link, message: Incoming) -> None:
        if self.cost <= self._total and not self._unconfirmed:
            link.acknowledge(message)
        else:
            self._unconfirmed.append((link, message))

    async def _work(self, device_id: str) -> None:
        waiting = self._waiting[device_id]
        try:
            while waiting:
                message = waiting.popleft()
                try:
                    await self._handle(device_id, message)
                finally:
                    self._done(device_id, message)
        finally:
            self.forget(device_id)
            del self._waiting[device_id], self._costs[device_id]

    def _done(self, device_id: str, message: Incoming) -> None:
        self.cost -= _cost(message)
        self._costs[device_id] -= _cost(message)
        while self._unconfirmed and self.cost <= self._total:
            link, held = self._unconfirmed.popleft()
            link.acknowledge(held)


def _cost(message: Incoming) -> int:
    return MESSAGE_COST + len(message.payload)

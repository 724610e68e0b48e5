from __future__ import annotations

import asyncio
from typing import Any

from doorlock.daemon.gateways.mqtt_inbox import MESSAGE_COST, Inbox
from doorlock.daemon.gateways.mqtt_link import Incoming


class Link:
    """Notes what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    def acknowledge(self, message: Incoming) -> None:
        self.acknowledged.append(message.mid)


class Desk:
    """An inbox whose handler waits until it may go on, and remembers what it had."""

    def __init__(self, share: int = 100, total: int = 100) -> None:
        self.gate = asyncio.Event()
        self.handled: list[tuple[str, int]] = []
        self.link: Any = Link()
        self.inbox = Inbox(self.handle, share=share * MESSAGE_COST, total=total * MESSAGE_COST)

    async def handle(self, device_id: str, message: Incoming) -> None:
        await self.gate.wait()
        self.handled.append((device_id, message.mid))

    def put(self, device_id: str, *mids: int, qos: int = 1) -> None:
        for mid in mids:
            self.inbox.put(device_id, self.link, Incoming("t", b"", qos, False, mid))

    async def finish(self) -> None:
        self.gate.set()
        await self.inbox.settle(5)


async def test_each_device_in_order_and_nothing_is_left_behind() -> None:
    desk = Desk()
    desk.put("a", 1, 2, 3)
    desk.put("b", 4)
    await desk.finish()
    assert [mid for name, mid in desk.handled if name == "a"] == [1, 2, 3]
    assert ("b", 4) in desk.handled
    assert desk.inbox.cost == 0
    assert not desk.inbox._waiting and not desk.inbox._costs and not desk.inbox._workers


async def test_within_the_budget_messages_are_acknowledged_as_they_come() -> None:
    desk = Desk()
    desk.put("a", 1, 2)
    assert desk.link.acknowledged == [1, 2]
    await desk.finish()


async def test_beyond_the_budget_the_broker_waits_and_all_is_acknowledged_in_order() -> None:
    desk = Desk(total=2)
    desk.put("a", 1, 2, 3)
    desk.put("b", 4, 5, 6)
    assert desk.link.acknowledged == [1, 2, 3]  # the third still found the budget kept
    await desk.finish()
    assert desk.link.acknowledged == [1, 2, 3, 4, 5, 6]
    assert len(desk.handled) == 6


async def test_a_device_that_floods_loses_its_own_messages_only() -> None:
    desk = Desk(share=3)
    desk.put("loud", *range(10))
    desk.put("quiet", 100)
    await desk.finish()
    assert [mid for name, mid in desk.handled if name == "loud"] == [0, 1, 2]
    assert ("quiet", 100) in desk.handled
    assert desk.inbox.dropped == 7
    assert len(desk.link.acknowledged) == 11


async def test_what_cannot_be_held_back_is_dropped_in_the_end() -> None:
    desk = Desk(total=2)
    desk.put("a", *range(20), qos=0)
    await desk.finish()
    assert len(desk.handled) == 5
    assert desk.inbox.dropped == 15


async def test_forgetting_a_device_throws_away_what_waits() -> None:
    desk = Desk()
    desk.put("a", 1, 2, 3)
    desk.put("b", 4, 5)
    await asyncio.sleep(0)  # the first of each is being handled
    desk.inbox.forget("a")
    desk.inbox.forget("unknown")
    desk.put("a", 6)
    await desk.finish()
    assert [mid for name, mid in desk.handled if name == "a"] == [1, 6]
    assert [mid for name, mid in desk.handled if name == "b"] == [4, 5]
    assert desk.inbox.cost == 0


async def test_settling_gives_up_on_what_takes_too_long() -> None:
    desk = Desk()
    desk.put("a", 1, 2)
    await desk.inbox.settle(0.01)
    assert not desk.inbox._waiting["a"]
    await desk.finish()
    assert desk.handled == [("a", 1)]


async def test_stopping_leaves_no_worker() -> None:
    desk = Desk()
    desk.put("a", 1)
    desk.put("b", 2)
    await desk.inbox.stop()
    assert not desk.inbox._workers
    assert desk.inbox.cost == 0


async def test_a_handler_that_fails_does_not_lose_the_count() -> None:
    async def fail(device_id: str, message: Incoming) -> None:
        raise RuntimeError

    inbox = Inbox(fail)
    link: Any = Link()
    inbox.put("a", link, Incoming("t", b"", 1, False, 1))
    workers = list(inbox._workers)
    assert isinstance((await asyncio.gather(*workers, return_exceptions=True))[0], RuntimeError)
    assert inbox.cost == 0
    assert not inbox._waiting

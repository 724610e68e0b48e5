"""How a link comes back, and how a sender chooses among links."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from typing import Any

import pytest

from doorlock.device.backoff import Backoff
from doorlock.device.core import Identity
from doorlock.device.link import AuthRefused, Credentials, Link, LinkDown, LinkEvents
from doorlock.device.outbox import Outgoing
from doorlock.device.sender import Sender
from doorlock.protocol import Transport

WS, MQTT = Transport.WEBSOCKET, Transport.MQTT
NOBODY = LinkEvents(lambda _: None, lambda _: None, lambda _via, _event, _data: None)


class Stop(BaseException):
    """Ends a link's endless run."""


class ScriptedLink(Link):
    """Its sessions end as the script says; the pauses between them are written down."""

    transport = WS

    def __init__(self, script: list[Exception | None], backoff: Backoff) -> None:
        identity = Identity("6561d2a8c0ffee0000000001", "ESP")
        super().__init__(Credentials(identity, "token"), NOBODY, backoff, random.Random(1))
        self.script = script
        self.pauses: list[float] = []

    async def session(self) -> None:
        if not self.script:
            raise Stop
        if step := self.script.pop(0):
            raise step
        self.up()

    async def send(self, event: str, data: Mapping[str, Any], *, confirm: bool) -> None:
        raise LinkDown

    def drop(self) -> None:
        pass

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def pauses(script: list[Exception | None], backoff: Backoff) -> list[float]:
    link = ScriptedLink(script, backoff)
    with pytest.raises(Stop):
        await link.run()
    return link.pauses


async def test_it_waits_longer_each_time_up_to_the_cap() -> None:
    waited = await pauses([OSError()] * 300, Backoff(base=0.5, cap=30))
    assert waited[0] <= 0.5
    assert max(waited[10:]) > 25
    assert max(waited) <= 30


async def test_a_refusal_waits_long_whatever_the_count() -> None:
    waited = await pauses([AuthRefused("Invalid device token")] * 5, Backoff(refused=60))
    assert all(45 <= seconds <= 75 for seconds in waited)


async def test_a_session_that_fell_at_once_does_not_start_the_count_again() -> None:
    waited = await pauses([None] * 200, Backoff(base=0.5, cap=30, steady=60))
    assert max(waited) > 25


async def test_a_steady_session_does() -> None:
    waited = await pauses([None] * 200, Backoff(base=0.5, cap=30, steady=0))
    assert max(waited) <= 0.5


async def test_what_was_cut_while_connecting_does_not_come_up() -> None:
    link = ScriptedLink([None], Backoff())
    link.cut()
    with pytest.raises(LinkDown):
        await link.session()
    assert not link.live


class FakeLink(Link):
    """Live, and takes what it is given, unless told to be deaf."""

    def __init__(self, transport: Transport, taken: list[tuple[Transport, str]]) -> None:
        identity = Identity("6561d2a8c0ffee0000000001", "ESP")
        super().__init__(Credentials(identity, "token"), NOBODY, Backoff(), random.Random(1))
        self.transport = transport  # type: ignore[misc]
        self.deaf = False
        self.tries = 0
        self._taken = taken
        self.up()

    async def session(self) -> None: ...

    async def send(self, event: str, data: Mapping[str, Any], *, confirm: bool) -> None:
        self.tries += 1
        if self.deaf:
            self.suspect = True
            raise LinkDown
        self._taken.append((self.transport, event))

    def drop(self) -> None: ...


class Sending:
    """A sender with two links, run until it has nothing more to do."""

    def __init__(self) -> None:
        self.taken: list[tuple[Transport, str]] = []
        self.delivered: list[str] = []
        self.links = {via: FakeLink(via, self.taken) for via in (WS, MQTT)}
        self.sender = Sender(self.delivered.append)
        self.sender.links = tuple(self.links.values())

    async def say(self, *items: Outgoing) -> None:
        for item in items:
            self.sender.say(item)
        task = asyncio.ensure_future(self.sender.run())
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()


async def test_an_ack_goes_back_the_way_its_command_came() -> None:
    sending = Sending()
    await sending.say(Outgoing("a", {}, WS, "c1"), Outgoing("b", {}, MQTT, "c2"))
    assert sending.taken == [(WS, "a"), (MQTT, "b")]
    assert sending.delivered == ["c1", "c2"]


async def test_or_the_other_way_when_that_is_gone() -> None:
    sending = Sending()
    sending.links[WS].down()
    await sending.say(Outgoing("a", {}, WS, "c1"))
    assert sending.taken == [(MQTT, "a")]


async def test_a_link_that_does_not_confirm_is_not_asked_first_again() -> None:
    sending = Sending()
    sending.links[WS].deaf = True
    await sending.say(Outgoing("a", {}, WS, "c1"), Outgoing("b", {}, WS, "c2"))
    assert sending.taken == [(MQTT, "a"), (MQTT, "b")]
    assert sending.links[WS].tries == 1


async def test_progress_is_not_kept_but_outcomes_and_events_are() -> None:
    sending = Sending()
    for link in sending.links.values():
        link.down()
    progress = Outgoing("progress", {}, WS, is_progress=True)
    await sending.say(progress, Outgoing("bell", {}), Outgoing("outcome", {}, WS, "c1"))
    assert sending.taken == []
    sending.links[MQTT].up()
    sending.sender.wake()
    await sending.say()
    assert sending.taken == [(MQTT, "bell"), (MQTT, "outcome")]


async def test_it_gives_up_what_nobody_ever_confirms() -> None:
    sending = Sending()
    for link in sending.links.values():
        link.deaf = True
    await sending.say(Outgoing("a", {}, WS, "c1"))
    assert sending.delivered == []
    assert sum(link.tries for link in sending.links.values()) == 2 * 4


class Greedy(FakeLink):
    """Swallows one cancellation while it sends, as wait_for in Python 3.11 may."""

    async def send(self, event: str, data: Mapping[str, Any], *, confirm: bool) -> None:
        self.tries += 1
        if self.tries > 1:
            await asyncio.Event().wait()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def session(self) -> None:
        await self.send("", {}, confirm=False)
        self.up()


@pytest.mark.parametrize("sent", [True, False])
async def test_a_swallowed_cancellation_is_heeded_all_the_same(sent: bool) -> None:
    sending = Sending()
    link = Greedy(WS, [])
    sending.sender.links = (link,)
    if not sent:
        link.down()
    sending.sender.say(Outgoing("a", {}, WS, "c1"))
    tasks = [asyncio.ensure_future(sending.sender.run())] if sent else []
    tasks.append(asyncio.ensure_future(link.run()))
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)

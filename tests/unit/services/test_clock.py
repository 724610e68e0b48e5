"""The agenda: every action at its moment, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from doorlock.daemon.services.clock import Agenda, SystemClock
from tests.support.clock import START, FakeClock


@pytest.fixture
async def agenda(clock: FakeClock) -> AsyncIterator[Agenda]:
    it = Agenda(clock)
    running = asyncio.create_task(it.run())
    yield it
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def test_each_at_its_moment_and_the_earliest_first(clock: FakeClock, agenda: Agenda) -> None:
    done: list[tuple[str, datetime]] = []

    def note(name: str, moment: float) -> None:
        async def act() -> None:
            done.append((name, clock.now()))

        agenda.at(at(moment), act)

    note("late", 10)
    await clock.settle()
    note("early", 5)
    note("twin", 5)
    note("past", -1)
    await clock.advance(4.999)
    assert [name for name, _ in done] == ["past"]
    await clock.advance(100)
    assert done[1:] == [("early", at(5)), ("twin", at(5)), ("late", at(10))]


async def test_one_that_fails_or_hangs_keeps_nobody_waiting(
    clock: FakeClock, agenda: Agenda
) -> None:
    done = []

    async def fails() -> None:
        raise RuntimeError("no")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def works() -> None:
        done.append(clock.now())

    for act in (fails, hangs, works):
        agenda.at(at(1), act)
    agenda.at(at(2), works)
    await clock.advance(3)
    assert done == [at(1), at(2)]


async def test_an_action_may_put_in_the_next(clock: FakeClock, agenda: Agenda) -> None:
    done = []

    async def again() -> None:
        done.append(clock.now())
        agenda.at(clock.now() + timedelta(seconds=1), again)

    agenda.at(at(1), again)
    await clock.advance(3)
    assert done == [at(1), at(2), at(3)]


async def test_the_real_clock_knows_the_time_and_does_not_sleep_for_the_past() -> None:
    clock = SystemClock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    async with asyncio.timeout(5):
        await clock.sleep_until(clock.now() - timedelta(days=1))
        begun = clock.now()
        await clock.sleep_until(begun + timedelta(milliseconds=5))
        assert clock.now() >= begun + timedelta(milliseconds=5)

"""How many durable events a second the store takes, and how long one append takes."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter

from doorlock.daemon.domain.events import EventType, NewEvent
from doorlock.daemon.stores.sqlite import SqliteStore
from doorlock.times import utc_now
from tests.bench.report import Figure, Goal, quantile

NAME = "durable events"
PRODUCERS = 50


async def run(quick: bool) -> list[Figure]:
    """By one producer, and by fifty."""
    single, each = (500, 200) if quick else (3_000, 1_000)
    with tempfile.TemporaryDirectory(prefix="dl") as folder:
        store = SqliteStore(Path(folder) / "bench.db")
        await store.open()
        try:
            took = await _produce(store, single)
            begin = perf_counter()
            await asyncio.gather(*(_produce(store, each) for _ in range(PRODUCERS)))
            rate = PRODUCERS * each / (perf_counter() - begin)
        finally:
            await store.close()
    return [
        Figure(NAME, "one append, p50", quantile(took, 0.5) * 1000, "ms"),
        Figure(NAME, "one append, p99", quantile(took, 0.99) * 1000, "ms"),
        Figure(NAME, "one producer", single / sum(took), "a second"),
        Figure(NAME, "fifty producers", rate, "a second", Goal(20_000, at_least=True)),
    ]


async def _produce(store: SqliteStore, count: int) -> list[float]:
    took = []
    for number in range(count):
        begin = perf_counter()
        await store.append([event(number)])
        took.append(perf_counter() - begin)
    return took


def event(number: int) -> NewEvent:
    """An event of ordinary size."""
    return NewEvent(
        EventType.STATUS_CHANGED,
        utc_now(),
        device_id=f"{number % 100:024x}",
        user_id=f"{number % 7:024x}",
        payload={"status": "locked", "batteryLevel": 87, "triggeredBy": "manual"},
        metadata={"source": "mqtt", "ipAddress": "192.0.2.7", "socketId": None},
    )

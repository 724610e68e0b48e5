"""What connected devices cost in memory, and what a command takes among five thousand of them."""

from __future__ import annotations

import asyncio
import random
import resource
from contextlib import ExitStack, closing
from statistics import fmean
from time import perf_counter
from typing import Any

from tests.bench.daemon import Daemon, closed, daemon
from tests.bench.report import Figure, Goal, quantile
from tests.bench.wire import Device, Http

NAME = "connected devices"
SMALL = 100
SIZES = (1_000, 5_000)
WARM = 100  # connected before the first look, so that what is loaded once is not counted
BEAT = 30.0
SETTLING = 15.0  # what the daemon does once for a fleet that has just come is not what is asked
A_SECOND = 100
SLOTS = 200  # commands that may be waited for at the same time


async def run(quick: bool) -> list[Figure]:
    """Memory as the fleet grows, then commands while it beats."""
    sizes = SIZES[:1] if quick else SIZES
    _allow_files(sizes[-1] + WARM + 500)
    few = [await _few(WARM + more) for more in (0, 50, 100)]
    async with daemon(sizes[-1] + WARM) as running:
        with ExitStack() as stack:
            stack.enter_context(closed(await running.connect(0, WARM)))
            figures, fleet = await _grow(running, sizes, stack)
            figures.insert(0, _memory(SMALL, fmean(few)))
            for device in fleet:
                device.beat_from(random.uniform(0, BEAT))
            await asyncio.sleep(SETTLING)
            figures += await _commands(running, fleet, 3 if quick else 20)
    return figures


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


async def _few(warm: int) -> float:
    """Bytes each of a hundred. Memory grows by the mebibyte, which is much among so few: hence in
    several daemons, each of which is somewhere else in its mebibyte."""
    async with daemon(warm + SMALL) as running:
        with (
            closed(await running.connect(0, warm)),
            closing(await Http.over(running.socket)) as http,
        ):
            await _settled(http, running.known[warm - 1][0])
            before = running.rss()
            with closed(await running.connect(warm, warm + SMALL)) as few:
                await _settled(http, few[-1].id)
                return (running.rss() - before) / SMALL


def _memory(size: int, each: float) -> Figure:
    return Figure(NAME, f"memory, {size:,} connected", each / 1024, "KiB each", Goal(45))


async def _grow(
    running: Daemon, sizes: tuple[int, ...], stack: ExitStack
) -> tuple[list[Figure], list[Device]]:
    fleet: list[Device] = []
    figures: list[Figure] = []
    with closing(await Http.over(running.socket)) as http:
        await _settled(http, running.known[WARM - 1][0])
        before = running.rss()
        for size in sizes:
            more = await running.connect(WARM + len(fleet), WARM + size)
            fleet += stack.enter_context(closed(more))
            await _settled(http, fleet[-1].id)
            figures.append(_memory(size, (running.rss() - before) / size))
    return figures, fleet


async def _settled(http: Http, device_id: str) -> None:
    """Until the device that connected last can be reached."""
    for _ in range(100):
        try:
            await _told(http, device_id, dryRun=True)
            return
        except RuntimeError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the devices do not come online")


async def _told(http: Http, device_id: str, **how: Any) -> None:
    await http.post(f"/api/device/{device_id}/command", {"command": "unlock_door", **how})


async def _commands(running: Daemon, fleet: list[Device], seconds: int) -> list[Figure]:
    """Commands at a fixed pace, timed from when each was due: a stall counts in full."""
    slots: asyncio.Queue[Http] = asyncio.Queue()
    with ExitStack() as stack:
        for _ in range(SLOTS):
            slots.put_nowait(stack.enter_context(closing(await Http.over(running.socket))))
        used, begin = running.cpu(), perf_counter()
        chosen = random.choices(fleet, k=seconds * A_SECOND)
        tasks = []
        for number, device in enumerate(chosen):
            due = begin + number / A_SECOND
            await asyncio.sleep(due - perf_counter())
            tasks.append(asyncio.ensure_future(_command(slots, device, due)))
        took = await asyncio.gather(*tasks)
        busy = (running.cpu() - used) / (perf_counter() - begin)
    kind = f"a command among {len(fleet):,} that beat"
    return [
        Figure(NAME, f"{kind}, p50", quantile(took, 0.5) * 1000, "ms"),
        Figure(NAME, f"{kind}, p99", quantile(took, 0.99) * 1000, "ms", Goal(25)),
        Figure(NAME, f"{kind}, worst", max(took) * 1000, "ms"),
        Figure(NAME, f"the daemon's share of a core, {A_SECOND} commands a second", busy, ""),
    ]


async def _command(slots: asyncio.Queue[Http], device: Device, due: float) -> float:
    http = await slots.get()
    await _told(http, device.id, wait=True)
    slots.put_nowait(http)
    return perf_counter() - due

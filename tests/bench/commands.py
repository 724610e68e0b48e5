"""From the Unix socket to a device and back, beside the parts that it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from time import perf_counter

from tests.bench.daemon import Daemon, closed, daemon
from tests.bench.parts import Parts, bare_parts
from tests.bench.report import Figure, Goal, quantile
from tests.bench.wire import Device, Http

NAME = "command round trip"
IN_FLIGHT = 64
IN_STEPS = ("received", "executing", "executed")


async def run(quick: bool) -> list[Figure]:
    """One in flight in turn with the bare parts, then 64 in flight."""
    rounds, times, many = (2, 100, 1_500) if quick else (6, 200, 10_000)
    async with daemon(IN_FLIGHT) as running:
        with closed(await running.connect(0, IN_FLIGHT)) as devices:
            await together(running, devices, 200)  # warms up
            async with bare_parts(running) as parts:
                alone, steps = await _in_turn(running, devices[0], parts, rounds, times)
            took, rate, busy = await _rate(running, devices, many)
    return [*_parts(parts), *_alone(alone, steps, parts), *_many(took, rate, busy)]


async def one_by_one(http: Http, device: Device, times: int) -> list[float]:
    """Seconds that each of so many unlocks took."""
    return [await _unlock(http, device) for _ in range(times)]


async def together(running: Daemon, devices: Sequence[Device], times: int) -> list[float]:
    """As `one_by_one`, on all devices at the same time, each on a connection of its own."""
    each = -(-times // len(devices))

    async def worker(device: Device) -> list[float]:
        with closing(await Http.over(running.socket)) as http:
            return await one_by_one(http, device, each)

    took = await asyncio.gather(*map(worker, devices))
    return [seconds for sample in took for seconds in sample]


async def _unlock(http: Http, device: Device) -> float:
    begin = perf_counter()
    path = f"/api/device/{device.id}/command"
    done = await http.post(path, {"command": "unlock_door", "wait": True})
    if done["status"] != "executed":
        raise RuntimeError(f"a command ended as {done['status']}")
    return perf_counter() - begin


async def _in_turn(
    running: Daemon, device: Device, parts: Parts, rounds: int, times: int
) -> tuple[list[float], list[float]]:
    """In rounds, so that what else the machine does falls on everything alike."""
    alone: list[float] = []
    steps: list[float] = []
    with closing(await Http.over(running.socket)) as http:
        for _ in range(rounds):
            await parts.measure(times)
            device.steps = ("executed",)
            alone += await one_by_one(http, device, times)
            device.steps = IN_STEPS
            steps += await one_by_one(http, device, times)
    device.steps = ("executed",)
    return alone, steps


async def _rate(
    running: Daemon, devices: Sequence[Device], times: int
) -> tuple[list[float], float, float]:
    """Seconds of each command, commands a second, and the share of a core that it took."""
    begin, used = perf_counter(), running.cpu()
    took = await together(running, devices, times)
    seconds = perf_counter() - begin
    return took, len(took) / seconds, (running.cpu() - used) / seconds


def _parts(parts: Parts) -> list[Figure]:
    named = {
        "part: an HTTP call over the Unix socket, p50": parts.http,
        "part: two durable commits, p50": parts.commits,
        "part: a WebSocket round trip, p50": parts.websocket,
    }
    return [_ms(what, quantile(sample, 0.5)) for what, sample in named.items()]


def _alone(alone: list[float], steps: list[float], parts: Parts) -> list[Figure]:
    commits = quantile(parts.commits, 0.5)
    bare = quantile(parts.http, 0.5) + commits + quantile(parts.websocket, 0.5)
    return [
        _ms("the parts together", bare),
        *_against(bare, alone, "one in flight"),
        # each acknowledgement before the last is one durable commit more
        *_against(bare + commits, steps, "one in flight, three acks"),
    ]


def _against(bare: float, sample: list[float], kind: str) -> list[Figure]:
    middle, high = quantile(sample, 0.5), quantile(sample, 0.99)
    return [
        _ms(f"{kind}, p50", middle),
        _ms(f"{kind}, p99", high),
        _times(f"{kind}, p50 to its parts", middle / bare),
        _times(f"{kind}, p99 to p50", high / middle),
    ]


def _many(took: list[float], rate: float, busy: float) -> list[Figure]:
    middle, high = quantile(took, 0.5), quantile(took, 0.99)
    kind = f"{IN_FLIGHT} in flight"
    return [
        _ms(f"{kind}, p50", middle),
        _ms(f"{kind}, p99", high),
        _times(f"{kind}, p99 to p50", high / middle),
        Figure(NAME, f"{kind}, the daemon's share of a core", round(busy, 2), ""),
        Figure(NAME, f"{kind}, commands", rate, "a second", Goal(1_000, at_least=True)),
    ]


def _ms(what: str, seconds: float) -> Figure:
    return Figure(NAME, what, seconds * 1000, "ms")


def _times(what: str, ratio: float) -> Figure:
    return Figure(NAME, what, ratio, "times", Goal(4))

"""The wall time of a verb of the command line, beside the bare interpreter's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from tests.bench.daemon import closed, daemon
from tests.bench.report import Figure, Goal, quantile

NAME = "command line"
DEVICES = 4


async def run(quick: bool) -> list[Figure]:
    """In turn, so that what else the machine does falls on everything alike."""
    async with daemon(DEVICES) as running:
        with closed(await running.connect(0, DEVICES)):
            doorlock = str(Path(sys.executable).with_name("doorlock"))
            programs = {
                "python -c pass": [sys.executable, "-c", "pass"],
                "doorlock ls": [doorlock, "ls"],
                "doorlock unlock": [doorlock, "unlock", "door-0"],
            }
            took: dict[str, list[float]] = {name: [] for name in programs}
            for _ in range(6 if quick else 21):
                for name, program in programs.items():
                    took[name].append(await asyncio.to_thread(_seconds, program, running.socket))
    return _figures({name: quantile(sample[1:], 0.5) for name, sample in took.items()})


def _seconds(program: list[str], socket: Path) -> float:
    environment = {**os.environ, "DOORLOCK_SOCKET": str(socket)}
    begin = perf_counter()
    subprocess.run(program, env=environment, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - begin


def _figures(middle: dict[str, float]) -> list[Figure]:
    bare = middle["python -c pass"]
    figures = [Figure(NAME, name, took * 1000, "ms") for name, took in middle.items()]
    for name, took in list(middle.items())[1:]:
        what = f"{name} to python -c pass"
        figures.append(Figure(NAME, what, took / bare, "times", Goal(8)))
    return figures

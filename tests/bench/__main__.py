"""The benchmarks: they print what they find, and never fail a build.

python -m tests.bench [--quick] [--only NAME]... [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from time import perf_counter

import uvloop

from doorlock.daemon.app import tune_interpreter
from tests.bench import cli, commands, events, fleet, report

_BENCHES = {"commands": commands, "fleet": fleet, "events": events, "cli": cli}


def main() -> None:
    options = _parser().parse_args()
    tune_interpreter()  # as the daemon's own, for the store is measured in this process
    gc.disable()
    begin = perf_counter()
    figures: list[report.Figure] = []
    for name in options.only or _BENCHES:
        found = uvloop.run(_BENCHES[name].run(options.quick))
        print(report.table(found), end="\n\n", flush=True)
        figures += found
    report.write_json(figures, options.json)
    print(f"{perf_counter() - begin:.0f} s; the figures are in {options.json}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=_BENCHES, help="this one alone")
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"))
    return parser


if __name__ == "__main__":
    main()

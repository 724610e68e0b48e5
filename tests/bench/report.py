"""What was measured, as a table for people and as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to reach: at most `limit`, or at least."""

    limit: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {_number(self.limit)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing; figures without a goal are there to compare with."""

    bench: str
    what: str
    value: float
    unit: str
    goal: Goal | None = None

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.goal.met_by(self.value) else "MISSED"


def quantile(sample: Sequence[float], share: float) -> float:
    """The value that `share` of the sample does not exceed."""
    ordered = sorted(sample)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(figures: Sequence[Figure]) -> str:
    """A heading for each benchmark, and a row for each of its figures."""
    lines: list[str] = []
    width = max(len(figure.what) for figure in figures)
    bench = ""
    for figure in figures:
        if figure.bench != bench:
            bench = figure.bench
            lines += ["", bench]
        value = f"{_number(figure.value)} {figure.unit}".rstrip()
        goal = f"{figure.goal} {figure.unit}" if figure.goal else ""
        lines.append(f"  {figure.what:{width}}  {value:>16}  {goal:20} {figure.verdict}".rstrip())
    return "\n".join(lines[1:])


def write_json(figures: Sequence[Figure], path: Path) -> None:
    rows = [{**asdict(figure), "met": _met(figure)} for figure in figures]
    machine = {"python": platform.python_version(), "system": platform.platform()}
    path.write_text(json.dumps({"machine": machine, "figures": rows}, indent=2) + "\n")


def _met(figure: Figure) -> bool | None:
    return figure.goal.met_by(figure.value) if figure.goal else None


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"

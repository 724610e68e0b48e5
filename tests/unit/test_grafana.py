"""The Grafana dashboard shows what `/metrics` tells: the same names, the same labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.api.metrics import text_of
from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.reports import BellPressed
from doorlock.daemon.ports import PartHealth
from doorlock.daemon.services.metrics import Family, Sample
from doorlock.protocol import DeviceType
from tests.support.house import house

BOARD = Path(__file__).parents[2] / "contrib" / "grafana" / "doorlock.json"
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def queries() -> list[dict[str, Any]]:
    panels = json.loads(BOARD.read_text())["panels"]
    return [target for panel in panels for target in panel["targets"]]


@pytest.fixture
async def told(tmp_path: Path) -> str:
    """The metrics of a house where something happened."""
    async with house(tmp_path) as it:
        it.health._probes = [lambda: PartHealth("store", "ok", "sqlite")]
        ada = await it.person("ada")
        gate = await it.door(ada, "gate-of-ada", device_type=DeviceType.CAMERA, battery_level=3)
        await it.person("bob")
        await it.sharing.grant(ada, gate.id, "bob", Permission.VIEW, None, None)
        session = await it.connect(gate)
        await it.says(session, BellPressed())
        submitted = await it.unlock(ada, gate)
        await it.clock.advance(2)
        await it.ack(session, submitted.command.id, "executed")
        return text_of(await it.metrics.families())


def families(text: str) -> dict[str, str]:
    """The kind of each name."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))


async def test_every_query_asks_for_what_is_told(told: str) -> None:
    known = families(told)
    asked = set()
    for query in queries():
        for name in re.findall(r"doorlock_\w+", query["expr"]):
            family = name if name in known else _SUFFIX.sub("", name)
            assert family in known, name
            assert (family == name) is (known[family] != "histogram")
            asked.add(family)
        labels = re.findall(r"{{(\w+)}}", query["legendFormat"])
        assert all(f'{label}="' in told for label in labels)
    assert asked == set(known), "what is told is shown"


async def test_the_figures_are_true(told: str) -> None:
    lines = dict(line.rsplit(" ", 1) for line in told.splitlines() if not line.startswith("#"))
    assert lines['doorlock_devices{status="online"}'] == "1"
    assert lines["doorlock_visitors_pending"] == "1"
    assert lines["doorlock_devices_low_battery"] == "1"
    assert lines['doorlock_commands_total{command="unlock_door",status="executed"}'] == "1"
    assert lines['doorlock_events_total{type="visitor_arrived"}'] == "1"
    assert lines['doorlock_command_answer_seconds_bucket{le="1"}'] == "0"
    assert lines['doorlock_command_answer_seconds_bucket{le="2.5"}'] == "1"
    assert lines['doorlock_command_answer_seconds_bucket{le="+Inf"}'] == "1"
    assert lines["doorlock_command_answer_seconds_sum"] == "2"


async def test_no_name_of_a_door_or_a_person_is_told(told: str) -> None:
    assert "ada" not in told and "bob" not in told and "gate" not in told


def test_a_label_is_one_label_whatever_is_in_it() -> None:
    family = Family("doorlock_x", "gauge", "X.", [Sample(1, {"a": 'b"} 1\n\\'})])
    assert text_of([family]).splitlines()[-1] == r'doorlock_x{a="b\"} 1\n\\"} 1'

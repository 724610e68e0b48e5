"""What `doorlock simulate` makes of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from doorlock.device.fleet import Enrolled, addresses, enrol
from doorlock.device.simulator import Wishes, check, choose_addresses, look_up, make_specs
from doorlock.errors import BadInput, DaemonUnreachable
from doorlock.protocol import DeviceType

HTTP, MQTT = "http://127.0.0.1:3000", "mqtt://127.0.0.1:1883"


class Answer:
    def __init__(self, data: Any) -> None:
        self.data = data


class FakeApi:
    """Answers as the daemon's local API does."""

    def __init__(self, mqtt_url: str | None = MQTT) -> None:
        self.mqtt_url = mqtt_url
        self.calls: list[tuple[str, str, Any]] = []

    def get(self, path: str) -> Answer:
        self.calls.append(("GET", path, None))
        return Answer({"version": "0", "api": 1, "url": HTTP, "mqttUrl": self.mqtt_url})

    def post(self, path: str, body: Any = None) -> Answer:
        self.calls.append(("POST", path, body))
        return Answer({"id": "6561d2a8c0ffee0000000001", "deviceToken": "5e" * 32})

    def delete(self, path: str) -> Answer:
        self.calls.append(("DELETE", path, None))
        return Answer(None)


@pytest.mark.parametrize(
    ("wishes", "offered", "chosen"),
    [
        (Wishes(count=1), (HTTP, MQTT), (HTTP, MQTT)),
        (Wishes(count=1), (HTTP, None), (HTTP, None)),
        (Wishes(count=1, transport="websocket"), (HTTP, MQTT), (HTTP, None)),
        (Wishes(count=1, transport="mqtt"), (HTTP, MQTT), (None, MQTT)),
        (Wishes(device_id="a"), (None, None), (HTTP, None)),
        (Wishes(device_id="a", mqtt=MQTT), (None, None), (None, MQTT)),
        (Wishes(device_id="a", transport="both"), (None, None), (HTTP, MQTT)),
        (
            Wishes(device_id="a", url="http://x", mqtt="mqtt://y"),
            (None, None),
            ("http://x", "mqtt://y"),
        ),
    ],
)
def test_which_addresses_are_used(wishes: Wishes, offered: Any, chosen: Any) -> None:
    assert choose_addresses(wishes, *offered) == chosen


def test_no_broker_is_said() -> None:
    with pytest.raises(BadInput, match="no MQTT broker"):
        choose_addresses(Wishes(count=1, transport="mqtt"), HTTP, None)


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(),
        Wishes(device_id="a", count=1),
        Wishes(device_id="a", remove=True),
        Wishes(device_id="a", transport="pigeon"),
    ],
)
def test_wishes_that_contradict_each_other(wishes: Wishes) -> None:
    with pytest.raises(BadInput):
        check(wishes)


def test_each_device_has_its_own_folder_and_seed(tmp_path: Path) -> None:
    devices = [Enrolled(f"d{n}", f"door-{n}", "SIM", "token") for n in range(3)]
    wishes = Wishes(count=3, seed=10, faults=("jam:0.5",))
    specs = make_specs(wishes, devices, tmp_path, HTTP, None)
    assert [spec.seed for spec in specs] == [10, 11, 12]
    assert len({spec.state_dir for spec in specs}) == 3


def test_registering_and_asking_for_addresses() -> None:
    api = FakeApi()
    device = enrol(api, "front", "SIM-1", DeviceType.DOOR_LOCK)
    assert device.device_id == "6561d2a8c0ffee0000000001"
    assert "5e5e" not in repr(device)
    assert addresses(api) == (HTTP, MQTT)
    assert api.calls[0] == (
        "POST",
        "/api/device/register",
        {"name": "front", "espId": "SIM-1", "deviceType": "door-lock"},
    )


class Daemon:
    """What `look_up` asks, answered from a table; None is a daemon that is down."""

    def __init__(self, answers: dict[str, Any] | None) -> None:
        self.answers, self.asked = answers, []  # type: ignore[var-annotated]

    def get(self, path: str) -> Any:
        self.asked.append(path)
        if self.answers is None:
            raise DaemonUnreachable("nobody answers")
        return Answer(self.answers[path])

    post = delete = get


VERSION = {"url": HTTP, "mqttUrl": None}


def test_a_device_is_found_by_its_name() -> None:
    found = {"id": "a" * 24, "espId": "ESP32-001"}
    api = Daemon({"/api/device/front%20door": found, "/api/version": VERSION})
    wishes, offered = look_up(Wishes(device_id="front door"), api)
    assert (wishes.device_id, wishes.esp_id) == ("a" * 24, "ESP32-001")
    assert offered == (HTTP, None)


def test_an_id_with_an_address_asks_nobody() -> None:
    api = Daemon(None)
    wishes = Wishes(device_id="a" * 24, url=HTTP)
    assert look_up(wishes, api) == (wishes, (None, None))
    assert api.asked == []


def test_an_id_needs_no_daemon_but_a_name_does() -> None:
    wishes = Wishes(device_id="a" * 24)
    assert look_up(wishes, Daemon(None)) == (wishes, (None, None))
    for asked in (Wishes(device_id="front"), Wishes(count=1)):
        with pytest.raises(DaemonUnreachable):
            look_up(asked, Daemon(None))

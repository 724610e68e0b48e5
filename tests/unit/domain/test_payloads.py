"""What each command may carry, to the last permitted value."""

from __future__ import annotations

from typing import Any

import pytest

from doorlock.daemon.domain.payloads import checked, command_named, settings_checked
from doorlock.errors import BadInput
from doorlock.protocol import CommandName

FIRMWARE = {"version": "2.0", "url": "https://x/fw", "checksum": "a" * 64, "signature": "s"}
C = CommandName


@pytest.mark.parametrize(
    ("name", "payload", "wanted"),
    [
        (C.UNLOCK_DOOR, {}, {"duration": 5000}),
        (C.UNLOCK_DOOR, {"duration": 1000}, {"duration": 1000}),
        (C.UNLOCK_DOOR, {"duration": 30_000}, {"duration": 30_000}),
        (C.LOCK_DOOR, {}, {}),
        (C.RESTART_DEVICE, {}, {}),
        (C.REQUEST_SNAPSHOT, {}, {"quality": "high"}),
        (C.REQUEST_SNAPSHOT, {"quality": "low"}, {"quality": "low"}),
        (C.FIRMWARE_UPDATE, FIRMWARE, FIRMWARE),
        (
            C.UPDATE_SETTINGS,
            {"settings": {"autoLockTimeout": 60_000, "motionSensitivity": 0}},
            {"settings": {"autoLockTimeout": 60_000, "motionSensitivity": 0}},
        ),
        (
            C.UPDATE_SETTINGS,
            {"settings": {"captureMode": "manual", "enableNotifications": False}},
            {"settings": {"captureMode": "manual", "enableNotifications": False}},
        ),
    ],
)
def test_what_is_right_goes_through_with_its_defaults(
    name: CommandName, payload: dict[str, Any], wanted: dict[str, Any]
) -> None:
    assert checked(name, payload) == wanted


@pytest.mark.parametrize(
    ("name", "payload", "field"),
    [
        (C.UNLOCK_DOOR, {"duration": 999}, "duration"),
        (C.UNLOCK_DOOR, {"duration": 30_001}, "duration"),
        (C.UNLOCK_DOOR, {"duration": True}, "duration"),
        (C.UNLOCK_DOOR, {"duration": "soon"}, "duration"),
        (C.UNLOCK_DOOR, {"duration": None}, "duration"),
        (C.UNLOCK_DOOR, {"duration": float("nan")}, "duration"),
        (C.REQUEST_SNAPSHOT, {"quality": "best"}, "quality"),
        (C.UPDATE_SETTINGS, {}, "settings"),
        (C.UPDATE_SETTINGS, {"settings": {"autoLockTimeout": 999}}, "autoLockTimeout"),
        (C.UPDATE_SETTINGS, {"settings": {"autoLockTimeout": 60_001}}, "autoLockTimeout"),
        (C.UPDATE_SETTINGS, {"settings": {"motionSensitivity": 101}}, "motionSensitivity"),
        (C.UPDATE_SETTINGS, {"settings": {"captureMode": "never"}}, "captureMode"),
        (C.UPDATE_SETTINGS, {"settings": {"selfDestruct": True}}, "selfDestruct"),
        (C.FIRMWARE_UPDATE, {**FIRMWARE, "url": "file:///etc/shadow"}, "url"),
        (C.FIRMWARE_UPDATE, {**FIRMWARE, "checksum": "a" * 63}, "checksum"),
        (C.FIRMWARE_UPDATE, {k: v for k, v in FIRMWARE.items() if k != "signature"}, "signature"),
    ],
)
def test_what_is_wrong_is_refused_by_the_name_of_its_field(
    name: CommandName, payload: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        checked(name, payload)
    assert field in refused.value.details["errors"][0]["field"]


def test_what_older_clients_add_beside_the_fields_does_not_reach_the_device() -> None:
    sent = checked(C.UNLOCK_DOOR, {"duration": 2000, "deviceId": "x", "commandId": "forged"})
    assert sent == {"duration": 2000}


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(BadInput) as refused:
        checked(C.FIRMWARE_UPDATE, {**FIRMWARE, "url": "ftp://user:hunter2@host/"})
    assert "hunter2" not in f"{refused.value.message}{refused.value.hint}{refused.value.details}"


@pytest.mark.parametrize("settings", [{}, {"autoLockTimeout": None}])
def test_settings_hold_at_least_one(settings: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        settings_checked(settings)


def test_short_names_are_taken_and_unknown_ones_refused_with_the_known() -> None:
    assert command_named("unlock") is C.UNLOCK_DOOR
    assert command_named("lock") is C.LOCK_DOOR
    for name in C:
        assert command_named(name.value) is name
    with pytest.raises(BadInput) as refused:
        command_named("open_sesame")
    assert "unlock_door" in (refused.value.hint or "")

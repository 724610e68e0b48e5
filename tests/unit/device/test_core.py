"""The device's rules, as scripted conversations with its pure core."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from doorlock.device import actions as do
from doorlock.device.state import Settings
from doorlock.protocol import LockValue
from doorlock.times import iso
from tests.unit.device.conftest import DEVICE_ID, MQTT, START, WS, World

LOCKED, UNLOCKED, JAMMED = LockValue.LOCKED, LockValue.UNLOCKED, LockValue.JAMMED


def unlocked(world: World, **fields: Any) -> Any:
    """A world in which an unlock has just opened the door."""
    command = world.make(**fields)
    world.command(command)
    world.arrive()
    return command


class TestUnlock:
    def test_it_is_executed_only_when_the_door_has_locked_again(self, world: World) -> None:
        command = world.make(duration=2000)
        world.command(command)
        world.arrive()
        world.pass_time(1.9)
        assert world.told(command) == ["received", "executing"]
        world.pass_time(0.2)
        assert world.told(command) == ["received", "executing"]
        world.arrive()
        assert world.told(command) == ["received", "executing", "executed"]
        assert world.door() == [
            ("unlocking", "remote"),
            ("unlocked", "remote"),
            ("locking", "auto"),
            ("locked", "auto"),
        ]

    def test_it_is_written_down_before_the_bolt_moves(self, world: World) -> None:
        actions = world.core.command(world.make(), WS, world.now)
        kinds = [type(action) for action in actions]
        assert kinds == [do.SendAck, do.Remember, do.Begin]

    def test_it_does_not_move_when_it_cannot_be_written_down(self, world: World) -> None:
        command = world.make()
        world.broken_disk = True
        world.command(command)
        world.broken_disk = False
        world.command(command)
        assert world.moves == []
        assert world.told(command) == ["received", "failed", "failed"]

    @pytest.mark.parametrize(("sent", "held"), [({}, 5.0), ({"payload": {"duration": 7000}}, 7.0)])
    def test_how_long_it_holds(self, world: World, sent: Any, held: float) -> None:
        unlocked(world, **sent)
        assert world.timers[do.Timer.RELOCK] == START + timedelta(seconds=held)

    @pytest.mark.parametrize("duration", [999, 30_001, -1, True, "5000", 2000.5, None])
    def test_a_wrong_duration_is_refused(self, world: World, duration: object) -> None:
        command = world.make(duration=duration)
        world.command(command)
        assert world.told(command) == ["failed"]
        assert world.error(command) == "duration must be 1000 to 30000 ms"
        assert world.moves == []

    def test_past_its_time_it_is_refused(self, world: World) -> None:
        command = world.make(lifetime=1)
        world.pass_time(1)
        world.command(command)
        assert world.told(command) == ["failed"]
        assert world.error(command) == "expired before it could be carried out"
        assert world.moves == []

    def test_past_its_time_after_a_slow_disk_it_is_refused(self, world: World) -> None:
        command = world.make(lifetime=1)
        world.core.command(command, WS, world.now)
        world.now += timedelta(seconds=1)
        world.play(world.core.begin(command["commandId"], world.now))
        assert world.told(command) == ["failed"]
        assert world.moves == []

    @pytest.mark.parametrize("expires", [None, "", "soon", 12, [], {}])
    @pytest.mark.parametrize("name", ["unlock_door", "lock_door"])
    def test_without_a_deadline_no_bolt_moves(self, world: World, name: str, expires: Any) -> None:
        command = {**world.make(name), "expiresAt": expires}
        world.command(command)
        assert world.told(command) == ["failed"]
        assert world.moves == []

    def test_a_clock_that_is_far_behind_is_no_judge(self, world: World) -> None:
        command = world.make()
        world.now -= timedelta(hours=1)
        world.command(command)
        assert world.told(command) == ["failed"]
        assert "clock is 3600 s behind" in str(world.error(command))
        assert world.moves == []

    def test_a_jam_is_a_failure_and_the_relay_is_off(self, world: World) -> None:
        command = world.make()
        world.command(command)
        world.sense(JAMMED)
        assert world.told(command)[-1] == "failed"
        assert world.error(command) == "the bolt jammed"
        assert world.door()[-1] == ("jammed", "remote")
        assert world.relay is LOCKED
        assert [data["errorCode"] for event, data in world.events if event == "error_occurred"] == [
            "bolt_jammed"
        ]

    def test_a_sensor_that_never_speaks_is_a_jam(self, world: World) -> None:
        command = world.make()
        world.command(command)
        world.pass_time(3)
        assert world.told(command)[-1] == "failed"
        assert world.relay is LOCKED
        assert world.door()[-1] == ("jammed", "remote")

    def test_a_jam_while_locking_says_that_it_opened(self, world: World) -> None:
        command = unlocked(world)
        world.pass_time(5)
        world.sense(JAMMED)
        assert world.told(command)[-1] == "failed"
        assert world.error(command) == "it opened, but the bolt jammed when it locked"
        world.arrive()
        assert world.door()[-1] == ("locked", "auto")

    def test_a_second_one_joins_and_the_bolt_stays(self, world: World) -> None:
        first = unlocked(world, duration=2000)
        world.pass_time(1)
        second = world.make(duration=3000)
        world.command(second)
        assert world.unlocks(second) == 0
        world.pass_time(2.9)
        assert world.relay is UNLOCKED
        world.pass_time(0.1)
        world.arrive()
        assert world.told(first)[-1] == world.told(second)[-1] == "executed"

    def test_a_shorter_second_one_does_not_cut_the_first_short(self, world: World) -> None:
        unlocked(world, duration=9000)
        world.command(world.make(duration=1000))
        assert world.timers[do.Timer.RELOCK] == START + timedelta(seconds=9)


class TestLock:
    def test_it_ends_an_unlock_and_its_timer(self, world: World) -> None:
        opened = unlocked(world)
        lock = world.make("lock_door")
        world.command(lock)
        assert do.Timer.RELOCK not in world.timers
        world.arrive()
        assert world.told(lock)[-1] == world.told(opened)[-1] == "executed"
        moves = len(world.moves)
        world.pass_time(60)
        assert len(world.moves) == moves

    def test_it_stops_an_unlock_that_has_not_opened(self, world: World) -> None:
        opening, lock = world.make(), world.make("lock_door")
        world.command(opening)
        world.command(lock)
        assert world.told(lock)[-1] == "executed"
        assert world.told(opening)[-1] == "failed"
        assert world.error(opening) == "it was locked again before it opened"

    def test_a_locked_door_is_left_alone(self, world: World) -> None:
        lock = world.make("lock_door")
        world.command(lock)
        assert world.told(lock) == ["received", "executing", "executed"]
        assert world.door() == [("locked", "remote")]
        assert world.moves == []

    def test_it_joins_a_door_that_is_locking(self, world: World) -> None:
        unlocked(world)
        world.pass_time(5)
        lock = world.make("lock_door")
        world.command(lock)
        world.arrive()
        assert world.told(lock)[-1] == "executed"

    def test_an_unlock_overtakes_it(self, world: World) -> None:
        unlocked(world)
        lock, again = world.make("lock_door"), world.make()
        world.command(lock)
        world.command(again)
        assert world.told(lock)[-1] == "failed"
        assert world.relay is UNLOCKED
        assert do.Timer.RELOCK in world.timers


class TestByHand:
    def test_a_sensor_that_falters_does_not_hold_the_door_open(self, world: World) -> None:
        unlocked(world)
        world.sense(JAMMED)
        world.sense(UNLOCKED)
        world.pass_time(5)
        assert world.relay is LOCKED

    def test_a_door_opened_by_hand_is_reported(self, world: World) -> None:
        world.sense(UNLOCKED)
        world.sense(LOCKED)
        assert world.door() == [("unlocked", "manual"), ("locked", "manual")]
        assert world.moves == []

    def test_it_locks_by_itself_where_that_is_set(self, world: World) -> None:
        world.command(world.make("update_settings", settings={"autoLockTimeout": 2000}))
        world.sense(UNLOCKED)
        world.pass_time(2)
        world.arrive()
        assert world.door()[-2:] == [("locking", "auto"), ("locked", "auto")]

    def test_closing_it_in_time_stops_that(self, world: World) -> None:
        world.command(world.make("update_settings", settings={"autoLockTimeout": 2000}))
        world.sense(UNLOCKED)
        world.sense(LOCKED)
        world.pass_time(10)
        assert world.moves == []

    def test_a_held_door_locked_by_hand_is_done(self, world: World) -> None:
        command = unlocked(world)
        world.sense(LOCKED)
        assert world.told(command)[-1] == "executed"
        assert world.door()[-1] == ("locked", "manual")
        assert world.relay is LOCKED
        world.pass_time(60)
        assert world.unlocks(command) == 1


class TestOnce:
    def test_the_same_id_over_the_other_transport_acts_once(self, world: World) -> None:
        command = unlocked(world)
        world.command(command, MQTT)
        world.pass_time(5)
        world.arrive()
        assert world.unlocks(command) == 1
        assert [(status, via) for _, status, via, _ in world.acks] == [
            ("received", WS),
            ("executing", WS),
            ("executing", MQTT),
            ("executed", MQTT),
        ]

    def test_a_known_outcome_is_told_again(self, world: World) -> None:
        command = unlocked(world)
        world.pass_time(5)
        world.arrive()
        world.boot()
        world.acks.clear()
        world.command(command)
        assert world.told(command) == ["executed"]
        assert world.unlocks(command) == 1

    def test_an_id_used_again_for_something_else_does_nothing(self, world: World) -> None:
        lock = world.make("lock_door")
        world.command(lock)
        world.command({**lock, "command": "unlock_door"})
        assert world.moves == []
        assert world.told(lock)[-1] == "executed"

    def test_a_refusal_stands_when_the_clock_is_set_back(self, world: World) -> None:
        command = world.make(lifetime=10)
        world.now += timedelta(seconds=20)
        world.command(command)
        world.now -= timedelta(seconds=20)
        world.command(command)
        assert world.told(command) == ["failed", "failed"]
        assert world.moves == []

    def test_beyond_its_memory_it_does_nothing(self, make_world: Callable[..., World]) -> None:
        world = make_world(capacity=1)
        first, second = world.make("lock_door"), world.make()
        world.command(first)
        world.command(second)
        assert world.told(second) == []
        assert world.moves == []
        world.pass_time(31)
        third = world.make()
        world.command(third)
        assert world.unlocks(third) == 1

    def test_a_command_for_somebody_else_is_ignored(self, world: World) -> None:
        command = world.make(deviceId="6561d2a8c0ffee0000000002")
        world.command(command)
        assert world.told(command) == []
        assert world.moves == []
        assert isinstance(world.others[-1], do.Ignore)

    def test_a_command_for_itself_is_not(self, world: World) -> None:
        command = world.make(deviceId=DEVICE_ID)
        world.command(command)
        assert world.unlocks(command) == 1

    @pytest.mark.parametrize("command_id", [None, "", 5, "x" * 65, ["a"], {}])
    def test_without_a_usable_id_nothing_happens(self, world: World, command_id: Any) -> None:
        world.command({**world.make(), "commandId": command_id})
        assert world.moves == world.acks == []


class TestReboot:
    def test_in_the_middle_of_an_unlock_it_locks_and_owns_up(self, world: World) -> None:
        command = unlocked(world)
        world.boot()
        assert world.told(command) == ["received", "executing", "failed"]
        assert world.error(command) == "the device restarted in the middle of it"
        assert world.relay is LOCKED
        world.arrive()
        assert world.door()[-1] == ("locked", "auto")
        world.command(command)
        assert world.unlocks(command) == 1

    def test_an_undisturbed_door_is_left_alone(self, world: World) -> None:
        world.boot()
        assert world.moves == world.acks == []

    def test_an_outcome_that_nobody_confirmed_is_told_again(self, world: World) -> None:
        command = world.make("lock_door")
        world.command(command)
        world.acks.clear()
        world.boot()
        assert world.told(command) == ["executed"]

    def test_a_restart_is_executed_once_it_is_back(self, world: World) -> None:
        command = world.make("restart_device")
        world.command(command)
        assert isinstance(world.others[-1], do.Restart)
        assert world.told(command) == ["received", "executing"]
        world.boot()
        assert world.told(command)[-1] == "executed"
        world.command(command)
        assert sum(isinstance(action, do.Restart) for action in world.others) == 1

    def test_without_a_sensor_it_locks_at_every_start(
        self, make_world: Callable[..., World]
    ) -> None:
        world = make_world(has_sensor=False)
        assert [(command_id, target) for _, command_id, target in world.moves] == [(None, LOCKED)]


class TestWithoutASensor:
    def test_it_claims_no_door_status(self, make_world: Callable[..., World]) -> None:
        world = make_world(has_sensor=False)
        world.pass_time(3)
        command = world.make(duration=1000)
        world.command(command)
        world.pass_time(60)
        assert world.told(command)[-1] == "executed"
        assert world.unlocks(command) == 1
        assert world.relay is LOCKED
        assert world.events == []


class TestOtherCommands:
    @pytest.mark.parametrize(("quality", "width"), [("low", 160), ("high", 640)])
    def test_a_snapshot_is_a_picture(self, world: World, quality: str, width: int) -> None:
        command = world.make("request_snapshot", quality=quality)
        world.command(command)
        [(event, data)] = world.events
        assert event == "snapshot"
        assert base64.b64decode(data["image"]).startswith(b"\xff\xd8\xff")
        assert data["metadata"]["width"] == width
        assert world.told(command)[-1] == "executed"

    def test_settings_are_kept(self, world: World) -> None:
        sent = {"autoLockTimeout": 4000, "motionSensitivity": 0, "captureMode": "manual", "x": 1}
        command = world.make("update_settings", payload={"settings": sent})
        world.command(command)
        assert world.told(command)[-1] == "executed"
        assert world.state.settings == Settings(4000, 0, "manual", True)

    @pytest.mark.parametrize(
        "settings",
        [
            None,
            [],
            {"autoLockTimeout": 999},
            {"motionSensitivity": 101},
            {"captureMode": "never"},
            {"enableNotifications": 1},
        ],
    )
    def test_wrong_settings_change_nothing(self, world: World, settings: Any) -> None:
        command = world.make("update_settings", settings=settings)
        world.command(command)
        assert world.told(command) == ["failed"]
        assert world.state.settings == Settings()

    def test_settings_that_cannot_be_saved_are_not_used(self, world: World) -> None:
        command = world.make("update_settings", settings={"autoLockTimeout": 4000})
        world.core.command(command, WS, world.now)
        [*_, save] = world.core.begin(command["commandId"], world.now)
        assert isinstance(save, do.SaveState)
        world.play(world.core.saved(command["commandId"], save.state, "disk full", world.now))
        assert world.told(command) == ["failed"]
        assert world.core.state.settings == Settings()

    def test_queued_settings_need_no_deadline(self, world: World) -> None:
        command = world.make("update_settings", settings={})
        del command["expiresAt"]
        world.command(command)
        assert world.told(command)[-1] == "executed"

    @pytest.mark.parametrize(
        "wrong",
        [{"version": ""}, {"url": "ftp://x/y"}, {"url": None}, {"checksum": "abc"}],
    )
    def test_a_firmware_update_needs_all_its_parts(self, world: World, wrong: Any) -> None:
        right = {"version": "2", "url": "http://x/y", "checksum": "0a" * 32}
        command = world.make("firmware_update", **{**right, **wrong})
        world.command(command)
        assert world.told(command) == ["failed"]
        assert world.others == []

    def test_a_firmware_update_changes_the_version(self, world: World) -> None:
        update = {"version": "2", "url": "http://x/y", "checksum": "0A" * 32}
        command = world.make("firmware_update", **update)
        world.play(world.core.connected(WS, world.now))
        world.command(command)
        assert do.Download(command["commandId"], "http://x/y", "0a" * 32) in world.others
        world.play(world.core.downloaded(command["commandId"], None, world.now))
        assert world.told(command)[-1] == "executed"
        last = world.others[-1]
        assert isinstance(last, do.SendTo)
        assert last.data["firmwareVersion"] == "2"

    def test_an_unknown_command_is_refused(self, world: World) -> None:
        command = world.make("open_sesame")
        world.command(command)
        assert world.told(command) == ["failed"]


class TestOwnEvents:
    def test_the_first_link_hears_how_the_door_stands(self, world: World) -> None:
        world.play(world.core.connected(WS, world.now))
        world.play(world.core.connected(MQTT, world.now))
        assert world.door() == [("locked", "auto")]
        registered = [a.via for a in world.others if isinstance(a, do.SendTo)]
        assert registered == [WS, WS, MQTT, MQTT]

    def test_a_low_battery_is_told_once(self, world: World) -> None:
        for level in (50, 20, 15, 60, 10):
            world.play(world.core.battery(level, world.now))
        levels = [data["batteryLevel"] for event, data in world.events if event == "low_battery"]
        assert levels == [20, 10]

    def test_motion_is_told_when_it_is_sure_enough(self, world: World) -> None:
        for confidence in (49, 50):
            world.play(world.core.motion(confidence, world.now))
        assert [data["confidence"] for _, data in world.events] == [50]

    def test_an_event_says_who_and_when(self, world: World) -> None:
        world.play(world.core.bell(world.now))
        [(event, data)] = world.events
        assert (event, data["deviceId"], data["timestamp"]) == (
            "bell-pressed",
            DEVICE_ID,
            iso(START),
        )


def test_a_slow_disk_never_stands_between_the_check_and_the_bolt(world: World) -> None:
    unlocked(world)
    world.command(world.make("lock_door"))
    again = world.make()
    world.core.command(again, WS, world.now)
    kinds = [type(action) for action in world.core.begin(again["commandId"], world.now)]
    assert do.Remember not in kinds[: kinds.index(do.MoveBolt)]

"""A device over Socket.IO, against a small daemon."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from doorlock.device.faults import FaultSpec
from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from tests.integration.device.conftest import DEVICE_ID, TOKEN, Daemon, eventually, make_command

Maker = Callable[..., DeviceSpec]


def unlocks(device: Device, command_id: str) -> int:
    return sum(a["commandId"] == command_id and a["action"] == "unlock" for a in device.actuations)


async def test_it_proves_itself_and_says_who_it_is(daemon: Daemon, make_spec: Maker) -> None:
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await eventually(lambda: daemon.all("door_status_changed"))
    assert daemon.proofs == [{"clientType": "device", "deviceId": DEVICE_ID, "token": TOKEN}]
    [registration] = daemon.all("device_register")
    assert registration["espId"] == "ESP32-REF"
    assert daemon.all("device_heartbeat")[0]["batteryLevel"] == 100
    assert daemon.all("door_status_changed")[0]["status"] == "locked"


async def test_an_unlock_runs_to_its_end(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))
        actions = [(a["commandId"], a["action"]) for a in device.actuations]
    assert daemon.acks(command["commandId"]) == ["received", "executing", "executed"]
    states = [d["status"] for d in daemon.all("door_status_changed")][1:]
    assert states == ["unlocking", "unlocked", "locking", "locked"]
    assert actions == [(command["commandId"], "unlock"), (command["commandId"], "lock")]


async def test_the_token_shows_nowhere(
    daemon: Daemon, make_spec: Maker, caplog: Any, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        device.press_bell()
        await eventually(lambda: daemon.all("bell-pressed"))
        assert TOKEN not in repr(device.spec)
    assert TOKEN not in caplog.text
    assert TOKEN not in str(daemon.heard)
    kept = [p.read_text() for p in (tmp_path / "state").iterdir()]
    assert not any(TOKEN in text for text in kept)


async def test_what_happens_offline_is_said_once_it_is_back(
    daemon: Daemon, make_spec: Maker
) -> None:
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        device.cut("websocket")
        await device.disconnected("websocket")
        await eventually(lambda: daemon.sid is None)
        device.press_bell()
        device.motion()
        device.restore("websocket")
        await eventually(lambda: daemon.all("motion_detected"))
        device.battery(5)
        await eventually(lambda: daemon.all("low_battery"))
    assert len(daemon.all("bell-pressed")) == 1
    assert len(daemon.all("motion_detected")) == 1


async def test_an_outcome_waits_for_the_link(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await device.until(lambda: device.lock_value == "unlocked")
        device.cut("websocket")
        await device.until(lambda: device.outcome(command["commandId"]) == "executed")
        assert "executed" not in daemon.acks(command["commandId"])
        device.restore("websocket")
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))


async def test_it_comes_back_when_the_daemon_does(make_spec: Maker) -> None:
    first = Daemon()
    async with first.serve():
        port = first.port
        device = Device(make_spec(url=first.url))
        await device.__aenter__()
        try:
            await device.connected("websocket")
        except BaseException:
            await device.__aexit__()
            raise
    await device.disconnected("websocket")
    second = Daemon()
    async with second.serve(port):
        await device.connected("websocket")
        await eventually(lambda: second.all("device_register"))
        await device.__aexit__()


async def test_a_refusal_is_not_tried_again_hot(
    daemon: Daemon, make_spec: Maker, caplog: Any
) -> None:
    caplog.set_level(logging.ERROR, "doorlock.device")
    daemon.refusal = "Invalid device token"
    async with Device(make_spec(url=daemon.url)) as device:
        await eventually(lambda: "Invalid device token" in caplog.text)
        assert len(daemon.proofs) == 1
        daemon.refusal = None
        device.use_token("7a" * 32)
        await device.connected("websocket")
    assert [proof["token"] for proof in daemon.proofs] == [TOKEN, "7a" * 32]


async def test_a_refused_device_stays_away(daemon: Daemon, make_spec: Maker, caplog: Any) -> None:
    daemon.refusal = "Device not activated"
    async with (
        Device(make_spec(url=daemon.url)),
        Device(make_spec(url=daemon.url, state_dir=make_spec().state_dir / "other")) as second,
    ):
        await eventually(lambda: caplog.text.count("Device not activated") == 2)
        daemon.refusal = None
        second.use_token(TOKEN)
        await second.connected("websocket")
    assert len(daemon.proofs) == 3


async def test_a_redelivery_acts_once(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))
        await daemon.send(command)
        await eventually(lambda: daemon.acks(command["commandId"]).count("executed") == 2)
        assert unlocks(device, command["commandId"]) == 1


async def test_a_reboot_in_the_middle_locks_and_owns_up(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    faults = (FaultSpec.parse("reboot-in-the-middle"),)
    async with Device(make_spec(url=daemon.url, faults=faults)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "failed" in daemon.acks(command["commandId"]))
        await device.until(lambda: device.lock_value == "locked")
        await daemon.send(command)
        await eventually(lambda: daemon.acks(command["commandId"]).count("failed") == 2)
        assert unlocks(device, command["commandId"]) == 1
    last = daemon.all("command_ack")[-1]
    assert last["errorMessage"] == "the device restarted in the middle of it"


async def test_what_it_did_outlives_its_process(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))
    daemon.heard.clear()
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))
        assert set(daemon.acks(command["commandId"])) == {"executed"}
        assert unlocks(device, command["commandId"]) == 1


async def test_a_restart_happens_once(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command("restart_device")
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))
        await eventually(lambda: len(daemon.all("device_register")) == 2)
        assert daemon.acks(command["commandId"])[:3] == ["received", "executing", "executed"]
        await daemon.send(command)
        await eventually(lambda: daemon.acks(command["commandId"]).count("executed") == 2)
        assert device.is_connected("websocket")
        assert len(daemon.acks(command["commandId"])) <= 4
    assert len(daemon.all("device_register")) == 2


async def test_a_jammed_bolt_is_a_failure(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    spec = make_spec(url=daemon.url, faults=(FaultSpec.parse("jam"),))
    async with Device(spec) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "failed" in daemon.acks(command["commandId"]))
        await eventually(lambda: daemon.all("error_occurred"))
        assert device.lock_value == "jammed"


async def test_a_silent_device_does_and_says_nothing(daemon: Daemon, make_spec: Maker) -> None:
    silent, spec = make_command(), make_spec(url=daemon.url, faults=(FaultSpec.parse("silent"),))
    async with Device(spec) as device:
        await device.connected("websocket")
        await daemon.send(silent)
        await device.until(lambda: len(device.heard) == 1)
        device.press_bell()
        await eventually(lambda: daemon.all("bell-pressed"))
        assert device.actuations == []
    assert daemon.acks(silent["commandId"]) == []


async def test_a_lost_ack_moves_the_bolt_all_the_same(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    async with Device(make_spec(url=daemon.url, faults=(FaultSpec.parse("lost-ack"),))) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await device.until(lambda: device.outcome(command["commandId"]) == "executed")
        assert unlocks(device, command["commandId"]) == 1
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        device.press_bell()
        await eventually(lambda: daemon.all("bell-pressed"))
    assert daemon.acks(command["commandId"]) == []


async def test_acks_twice_late_and_under_a_wrong_id(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command("lock_door")
    texts = ("ack-twice", "late-ack=0.05", "wrong-device-id", "sensor-disagrees")
    faults = tuple(FaultSpec.parse(text) for text in texts)
    async with Device(make_spec(url=daemon.url, faults=faults)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await device.until(lambda: device.outcome(command["commandId"]) == "executed")
        assert daemon.acks(command["commandId"]) == []
        await eventually(lambda: daemon.acks(command["commandId"]).count("executed") == 2)
    assert all(ack["deviceId"] != DEVICE_ID for ack in daemon.all("command_ack"))
    assert daemon.all("door_status_changed")[0]["status"] == "unlocked"


async def test_a_clock_that_is_ahead_refuses(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    faults = (FaultSpec.parse("skewed-clock=60"),)
    async with Device(make_spec(url=daemon.url, faults=faults)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "failed" in daemon.acks(command["commandId"]))
        assert device.actuations == []


async def test_nagle_is_off(daemon: Daemon, make_spec: Maker) -> None:
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        link: Any = device._links[device.transports[0]]
        bare = link._client.eio.ws.get_extra_info("socket")
        assert bare.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_a_heartbeat_comes_again_and_again(daemon: Daemon, make_spec: Maker) -> None:
    async with Device(make_spec(url=daemon.url, heartbeat=0.02)) as device:
        await device.connected("websocket")
        await eventually(lambda: len(daemon.all("device_heartbeat")) >= 4)


async def test_a_firmware_update_says_what_it_found(
    daemon: Daemon, make_spec: Maker, tmp_path: Path
) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(b"not really firmware")
    good = "0e6a1e21fb3c5f2a5b7f8ce1c1d3a7c4" * 2
    update = {"version": "2.0.0", "url": image.as_uri(), "checksum": good}
    command = make_command("firmware_update", **update)
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await eventually(lambda: "failed" in daemon.acks(command["commandId"]))
    assert daemon.all("command_ack")[-1]["errorMessage"] == "the firmware's checksum does not fit"


async def test_settings_and_firmware_outlive_a_reboot(
    daemon: Daemon, make_spec: Maker, tmp_path: Path
) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(b"firmware")
    checksum = hashlib.sha256(b"firmware").hexdigest()
    update = make_command("firmware_update", version="2.0", url=image.as_uri(), checksum=checksum)
    settings = make_command("update_settings", settings={"autoLockTimeout": 1000})
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        for command in (update, settings):
            await daemon.send(command)
        await eventually(lambda: "executed" in daemon.acks(update["commandId"]))
        await eventually(lambda: "executed" in daemon.acks(settings["commandId"]))
        device.reboot()
        await eventually(lambda: len(daemon.all("device_register")) == 3)
        assert daemon.all("device_register")[-1]["firmwareVersion"] == "2.0"
        device.turn_by_hand("unlocked")
        await device.until(lambda: device.lock_value == "locked")
        assert device.actuations[-1]["action"] == "lock"


async def test_what_cannot_be_written_down_does_not_happen(
    daemon: Daemon, make_spec: Maker, monkeypatch: Any
) -> None:
    command = make_command()
    settings = make_command("update_settings", settings={"motionSensitivity": 0})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        monkeypatch.setattr(device._files, "remember", full)
        await daemon.send(command)
        await eventually(lambda: "failed" in daemon.acks(command["commandId"]))
        monkeypatch.undo()
        monkeypatch.setattr(device._files, "save_state", full)
        await daemon.send(settings)
        await eventually(lambda: "failed" in daemon.acks(settings["commandId"]))
        assert device.actuations == []
        device.motion()
        await eventually(lambda: daemon.all("motion_detected"))
    last = daemon.all("command_ack")[-1]
    assert last["errorMessage"] == "the device could not write it down"


async def test_a_slow_bolt_opens_in_the_end(daemon: Daemon, make_spec: Maker) -> None:
    command = make_command()
    async with Device(make_spec(url=daemon.url, faults=(FaultSpec.parse("slow=0.2"),))) as device:
        await device.connected("websocket")
        await daemon.send(command)
        await device.until(lambda: device.lock_value == "unlocking")
        device.press_bell()
        await eventually(lambda: daemon.all("bell-pressed"))
        assert device.lock_value == "unlocking"
        await eventually(lambda: "executed" in daemon.acks(command["commandId"]))


async def test_firmware_comes_over_http(daemon: Daemon, make_spec: Maker) -> None:
    async def image(_: web.Request) -> web.Response:
        return web.Response(body=b"firmware")

    server = web.Application()
    server.router.add_get("/image", image)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    checksum = hashlib.sha256(b"firmware").hexdigest()
    good, missing = (
        make_command("firmware_update", version="3", url=base + path, checksum=checksum)
        for path in ("/image", "/nothing")
    )
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        for command, outcome in ((good, "executed"), (missing, "failed")):
            await daemon.send(command)
            await eventually(lambda c=command, o=outcome: o in daemon.acks(c["commandId"]))
    await runner.cleanup()
    assert "could not be downloaded" in daemon.all("command_ack")[-1]["errorMessage"]


async def test_messages_that_make_no_sense_change_nothing(daemon: Daemon, make_spec: Maker) -> None:
    async with Device(make_spec(url=daemon.url)) as device:
        await device.connected("websocket")
        for data in (None, "x", 5, [], {}, {"commandId": 5}, {"commandId": {}}):
            await daemon.sio.emit("unlock_door", data, to=daemon.sid)
        await daemon.sio.emit("error", {"message": "no"}, to=daemon.sid)
        await device.until(lambda: len(device.heard) == 8)
        assert device.actuations == []
        assert device.is_connected("websocket")

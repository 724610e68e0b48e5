"""Whoever follows the event log misses nothing and is told nothing twice, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support.daemon import Daemon, frames
from tests.support.devices import BareSocket
from tests.support.waiting import until


class Follower:
    """Reads the stream, and reconnects with `Last-Event-ID` for as long as it lives."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.events: list[dict[str, Any]] = []
        self.gaps: list[Any] = []
        self.connections = 0

    async def follow(self) -> None:
        last = "0"
        while True:
            try:
                # the header wins over the query, which a client repeats as it was
                stale = {"after": 10**6}
                async for frame in frames(self._daemon.socket, stale, {"Last-Event-ID": last}):
                    self.connections += frame.name == "hello"
                    if frame.name == "gap":
                        self.gaps.append(frame.data)
                    if frame.id:
                        assert int(frame.id) == frame.data["seq"]
                        last = frame.id
                        self.events.append(frame.data)
            except OSError:
                pass
            await asyncio.sleep(0.005)


async def test_a_reader_across_kills_hears_each_event_once_in_order(
    new_daemon: Callable[..., Daemon],
) -> None:
    daemon = new_daemon(mqtt=False).start()
    follower = Follower(daemon)
    following = asyncio.ensure_future(follower.follow())
    door = await daemon.register()
    for run in range(3):
        async with BareSocket(daemon, door) as device:
            saying = [device.say("motion_detected", confidence=run, n=n) for n in range(60)]
            await asyncio.gather(*saying)
            seen = len(follower.events)
            await until(lambda seen=seen: len(follower.events) > seen + 10, "some are told")
            await asyncio.to_thread(daemon.kill)  # in the middle of the rest
        await asyncio.to_thread(daemon.start)
    written = await daemon.events()
    await until(lambda: len(follower.events) >= len(written), "everything was told")
    following.cancel()
    told = [(event["seq"], event["hash"], event["_id"]) for event in follower.events]
    assert told == [(event["seq"], event["hash"], event["_id"]) for event in written]
    assert [event["seq"] for event in written] == list(range(1, len(written) + 1))
    assert (follower.connections, follower.gaps) == (4, [])
    verified = await daemon.cli("events", "verify")
    assert verified.code == 0, verified


async def test_the_command_line_follows_across_a_kill(new_daemon: Callable[..., Daemon]) -> None:
    daemon = new_daemon(mqtt=False).start()
    process = await daemon.begin_cli("events", "--follow", "-o", "ndjson", "--since", "1h")

    async def registers(name: str) -> None:
        await daemon.register(name)
        text = await asyncio.wait_for(process.stdout.readuntil(b"device_registered"), 20)
        assert text.count(b"device_registered") == 1
        assert name.encode() in await asyncio.wait_for(process.stdout.readline(), 20)

    await registers("listed")
    await registers("followed")
    await asyncio.to_thread(daemon.kill)
    await asyncio.to_thread(daemon.start)
    await registers("after")
    process.kill()
    await process.communicate()


async def test_an_unlock_that_is_waited_for_across_a_kill(
    new_daemon: Callable[..., Daemon],
) -> None:
    """The command line goes on waiting, and tells what the device says to the next daemon."""
    daemon = new_daemon(mqtt=False).start()
    door = await daemon.register("front")
    async with BareSocket(daemon, door) as device:
        telling = asyncio.ensure_future(daemon.cli("unlock", "front", "--for", "1s"))
        sent = await device.command()
        await daemon.first_event(door, "command_sent")
        await asyncio.to_thread(daemon.kill)
    await asyncio.to_thread(daemon.start)
    async with BareSocket(daemon, door) as device:
        await device.ack(sent["commandId"], "executed")
        done = await telling
        assert device.all("unlock_door") == []
    assert done.code == 0, done
    assert "front: executed in" in done.out


async def test_the_position_of_an_answer_leads_to_what_comes_after_it(house: Daemon) -> None:
    door = await house.register()
    answer = await house.client().get(f"/api/device/{door.id}")
    async with BareSocket(house, door):
        await house.first_event(door, "device_connected")
        query = {"after": answer.position, "device": door.id}
        kinds = []
        async for frame in frames(house.socket, query):
            kinds.append(frame.name)
            if frame.name == "device_connected":
                break
    assert kinds == ["hello", "device_activated", "device_connected"]


async def test_whoever_hears_that_it_is_over_finds_it_over(
    new_daemon: Callable[..., Daemon],
) -> None:
    """The stream is told when a change is durable, which is before whoever made it goes on: from
    then on everybody reads the new state."""
    daemon = new_daemon(mqtt=False).start(fault="slow:update_device")
    door = await daemon.register("front")
    async with BareSocket(daemon, door) as device:
        await daemon.connections(door, "websocket")
        telling = asyncio.ensure_future(daemon.cli("unlock", "front", "--for", "1s"))
        sent = await device.command()
        await device.ack(sent["commandId"], "executed")
        done = await telling
    assert done.code == 0, done


async def test_a_daemon_that_dies_while_it_is_asked_leaves_the_outcome_unknown(
    new_daemon: Callable[..., Daemon],
) -> None:
    """Not "no daemon", which would say that nothing was sent: exit 3, and where to look."""
    daemon = new_daemon(mqtt=False, commands_timeout="500ms").start(fault="after:queued")
    door = await daemon.register("front")
    async with BareSocket(daemon, door):
        await daemon.connections(door, "websocket")
        done = await daemon.cli("unlock", "front", "--for", "1s")
    assert done.code == 3, done
    assert "unknown" in done.err

"""Live view: who watches gets frames, and the camera sends them only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.reports import Frame
from doorlock.daemon.domain.sessions import Session
from doorlock.daemon.domain.users import Caller
from doorlock.errors import BadInput, NotAuthenticated, NotFound
from doorlock.protocol import DeviceType
from tests.support.house import House, house
from tests.support.pictures import JPEG_1PX, data_url, jpeg, png, segment

ONE, TWO, THREE = jpeg(mark=b"1"), jpeg(mark=b"2"), jpeg(mark=b"3")


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


async def camera(it: House) -> tuple[Caller, Device, Session]:
    owner = await it.person("owner")
    device = await it.door(owner, "gate", device_type=DeviceType.CAMERA)
    return owner, device, await it.connect(device)


def frame(content: bytes) -> Frame:
    return Frame(image=data_url(content))


def told(it: House) -> list[str]:
    assert all(message.event == "backend-command" for message in it.websocket.told)
    return [message.data["command"] for message in it.websocket.told]


async def test_the_camera_sends_from_the_first_watcher_to_the_last(it: House) -> None:
    _, device, _ = await camera(it)
    async with it.frames.watch(device.id):
        assert told(it) == ["start_stream"]
        async with it.frames.watch(device.id):
            pass
        assert told(it) == ["start_stream"]
    assert told(it) == ["start_stream", "stop_stream"]
    async with it.frames.watch(device.id):
        pass
    assert told(it) == ["start_stream", "stop_stream"] * 2


async def test_many_who_come_and_go_at_once_leave_it_stopped(it: House) -> None:
    _, device, _ = await camera(it)

    async def look() -> None:
        async with it.frames.watch(device.id):
            await asyncio.sleep(0)

    looking = [asyncio.ensure_future(look()) for _ in range(20)]
    for task in looking[::3]:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    await it.clock.settle()
    assert not it.frames.watched(device.id)
    assert told(it) in ([], ["start_stream", "stop_stream"])


async def test_a_camera_that_comes_back_is_told_again_while_it_is_watched(it: House) -> None:
    _, device, session = await camera(it)
    async with it.frames.watch(device.id):
        await it.ingest.disconnected(session, "gone")
        await it.connect(device, name="two")
        await it.connect(device, name="three")
        assert told(it) == ["start_stream"] * 3
    await it.connect(device, name="four")
    assert told(it)[3:] == ["stop_stream"]


async def test_frames_go_to_who_watches_that_camera_cleared_of_metadata(it: House) -> None:
    owner, device, session = await camera(it)
    other = await it.door(owner, "other", device_type=DeviceType.CAMERA)
    async with (
        it.frames.watch(device.id) as one,
        it.frames.watch(device.id) as two,
        it.frames.watch(other.id) as elsewhere,
    ):
        await it.says(session, frame(jpeg([segment(0xFE, b"here")])))
        assert await one.next() == await two.next() == JPEG_1PX
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(elsewhere.next(), 0)


async def test_whoever_is_slow_sees_the_newest(it: House) -> None:
    _, device, session = await camera(it)
    async with it.frames.watch(device.id) as watch:
        for content in (ONE, TWO, THREE):
            await it.says(session, frame(content))
        assert [await watch.next(), await watch.next()] == [TWO, THREE]


async def test_frames_that_nobody_watches_are_nothing(it: House) -> None:
    _, device, session = await camera(it)
    before = len(await it.log())
    await it.says(session, frame(ONE))
    await it.says(session, Frame(image="not even a picture"))
    assert len(await it.log()) == before
    assert await it.pictures.latest(device.id) is None


@pytest.mark.parametrize("content", [b"<html>", png()], ids=["no picture", "no JPEG"])
async def test_a_frame_that_is_no_jpeg_is_rejected(it: House, content: bytes) -> None:
    _, device, session = await camera(it)
    async with it.frames.watch(device.id):
        with pytest.raises(BadInput):
            await it.says(session, frame(content))
    assert len(await it.log(EventType.MESSAGE_REJECTED)) == 1


# by a link


async def test_a_stream_ends_with_the_share(it: House) -> None:
    _, device, session = await camera(it)
    viewer = await it.person("viewer")
    await it.share(device, viewer, Permission.VIEW)
    async with aclosing(await opened(it, viewer, device)) as frames:
        assert await coming(it, session, frames, ONE) == ONE
        await it.store.remove_share(device.id, viewer.user.id)
        assert await coming(it, session, frames, TWO) is None
    assert told(it) == ["start_stream", "stop_stream"]


async def test_a_stream_ends_with_the_tokens_of_its_reader_or_its_reader(it: House) -> None:
    owner, device, session = await camera(it)
    async with aclosing(await opened(it, owner, device)) as frames:
        assert await coming(it, session, frames, ONE) == ONE
        await it.links.ended(owner.user.id, "some token")
        assert await coming(it, session, frames, TWO) is None
    async with aclosing(await opened(it, owner, device)) as frames:
        await it.store.update_user(owner.user.id, {"is_active": False})
        assert await coming(it, session, frames, ONE) is None


async def test_a_link_opens_that_camera_for_a_minute(it: House) -> None:
    owner, device, _ = await camera(it)
    other = await it.door(owner, "other", device_type=DeviceType.CAMERA)
    link = it.live_view.path(owner, device.id).partition("link=")[2]
    await it.live_view.opened(link, device.id)
    with pytest.raises(NotAuthenticated):
        await it.live_view.opened(link, other.id)
    await it.clock.advance(90)
    with pytest.raises(NotAuthenticated):
        await it.live_view.opened(link, device.id)


async def test_a_link_opens_nothing_that_its_reader_may_not_see(it: House) -> None:
    _, device, _ = await camera(it)
    stranger = await it.person("stranger")
    link = it.live_view.path(stranger, device.id).partition("link=")[2]
    with pytest.raises(NotFound):
        await it.live_view.opened(link, device.id)


async def opened(it: House, reader: Caller, device: Device) -> AsyncIterator[bytes]:  # type: ignore[type-arg]
    link = it.live_view.path(reader, device.id).partition("link=")[2]
    return it.live_view.frames(await it.live_view.opened(link, device.id), device.id)


async def coming(
    it: House, session: Session, frames: AsyncIterator[bytes], content: bytes
) -> bytes | None:
    """What the stream gives for this frame; None when it ends instead."""
    waiting = asyncio.ensure_future(anext(frames, None))
    await it.clock.settle()
    await it.says(session, frame(content))
    return await asyncio.wait_for(waiting, 5)

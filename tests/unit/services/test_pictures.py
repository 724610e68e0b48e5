"""Pictures: kept once, shown to who may see the camera, and gone in time."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from doorlock.daemon.domain.access import Permission
from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.ids import new_id
from doorlock.daemon.domain.pictures import BadPicture, Picture
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.domain.visitors import Arrival, Verdict
from doorlock.daemon.services.links import Links
from doorlock.errors import NotAuthenticated, NotFound, RateLimited
from doorlock.protocol import DeviceType
from tests.support.clock import FakeClock
from tests.support.house import WHERE, House, house
from tests.support.pictures import JPEG_1PX, jpeg, png, segment

HOUR = timedelta(hours=1)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        yield running


async def camera(it: House, name: str = "gate") -> tuple[Caller, Device]:
    owner = await it.person(f"owner-of-{name}")
    return owner, await it.door(owner, name, device_type=DeviceType.CAMERA)


async def take(it: House, device: Device, content: bytes = JPEG_1PX) -> Picture:
    return await it.pictures.keep(device.id, content, WHERE)


def link_of(path: str) -> str:
    return parse_qs(urlsplit(path).query)["link"][0]


# in


async def test_a_picture_is_kept_without_its_metadata(it: House) -> None:
    owner, device = await camera(it)
    picture = await take(it, device, jpeg([segment(0xE1, b"Exif\0\0here")]))
    assert await it.pictures.content(owner, device.id, picture.image) == JPEG_1PX
    assert await it.pictures.latest(device.id) == picture
    with pytest.raises(BadPicture):
        await take(it, device, b"<svg/>")


async def test_too_many_pictures_are_refused_and_noted_once(it: House) -> None:
    _, device = await camera(it)
    for _ in range(20):
        await take(it, device)
    for _ in range(5):
        with pytest.raises(RateLimited) as caught:
            await take(it, device)
        assert caught.value.details["retryAfter"] == 2
    assert len(await it.log(EventType.RATE_LIMITED)) == 1
    _, other = await camera(it, "other")
    await take(it, other)
    await it.clock.advance(2)
    await take(it, device)


# out


async def test_only_who_may_see_the_camera_gets_its_pictures(it: House) -> None:
    owner, device = await camera(it)
    _, other = await camera(it, "other")
    stranger = await it.person("stranger")
    await it.door(stranger, device.id, esp_id="ESP-trap")
    viewer = await it.person("viewer")
    share = await it.share(device, viewer, Permission.VIEW, expires_at=it.clock.now() + HOUR)
    picture = await take(it, device)
    for reader in (owner, viewer, device):
        assert await it.pictures.content(reader, device.id, picture.image) == JPEG_1PX
    for outsider in (stranger, other):
        for image in (picture.image, "0" * 64):
            with pytest.raises(NotFound, match="no such picture"):
                await it.pictures.content(outsider, device.id, image)
    with pytest.raises(NotFound):  # by the name of another camera's picture
        await it.pictures.content(other, other.id, picture.image)
    assert share.expires_at is not None
    await it.clock.advance(share.expires_at - it.clock.now())
    with pytest.raises(NotFound):
        await it.pictures.content(viewer, device.id, picture.image)


async def test_a_link_is_good_for_one_reader_and_one_picture(it: House) -> None:
    owner, device = await camera(it)
    one, two = await take(it, device), await take(it, device, png())
    link = link_of(it.pictures.path(owner, device.id, one.image))
    assert await it.pictures.linked(link, device.id, one.image) == JPEG_1PX
    assert it.pictures.path(owner, device.id, one.image).endswith(link)  # as it is in the cache
    wrong = [link[:-1] + ("0" if link[-1] != "0" else "1"), "", "a.b", "zz.x.y", "ü.ü.ü", "1.2"]
    swapped = link.replace(f"u{owner.user.id}", f"u{new_id()}")
    for bad in (*wrong, swapped):
        with pytest.raises(NotAuthenticated):
            await it.pictures.linked(bad, device.id, one.image)
    with pytest.raises(NotAuthenticated):
        await it.pictures.linked(link, device.id, two.image)
    of_device = link_of(it.pictures.path(device, device.id, one.image))
    assert await it.pictures.linked(of_device, device.id, one.image) == JPEG_1PX
    await it.clock.advance(HOUR)
    await it.pictures.linked(link, device.id, one.image)
    await it.clock.advance(HOUR)
    with pytest.raises(NotAuthenticated):
        await it.pictures.linked(link, device.id, one.image)


async def test_a_link_gives_no_more_than_its_reader_has(it: House) -> None:
    _, device = await camera(it)
    viewer = await it.person("viewer")
    await it.share(device, viewer, Permission.VIEW)
    picture = await take(it, device)
    link = link_of(it.pictures.path(viewer, device.id, picture.image))
    await it.store.remove_share(device.id, viewer.user.id)
    with pytest.raises(NotFound):
        await it.pictures.linked(link, device.id, picture.image)
    await it.share(device, viewer, Permission.VIEW)
    await it.store.update_user(viewer.user.id, {"is_active": False})
    with pytest.raises(NotAuthenticated):
        await it.pictures.linked(link, device.id, picture.image)


async def test_the_links_of_a_device_end_with_it(it: House) -> None:
    _, device = await camera(it)
    picture = await take(it, device)
    link = link_of(it.pictures.path(device, device.id, picture.image))
    await it.store.update_device(device.id, {"is_active": False})
    with pytest.raises(NotAuthenticated):
        await it.pictures.linked(link, device.id, picture.image)


async def test_links_end_with_the_tokens_of_their_reader() -> None:
    clock = FakeClock()
    links = Links(clock)
    mine, other = links.make("u1", "x", HOUR), links.make("u2", "x", HOUR)
    assert links.subject_of(mine, "x") == "u1"
    await links.ended("1", None)
    with pytest.raises(NotAuthenticated):
        links.subject_of(mine, "x")
    assert links.subject_of(other, "x") == "u2"
    assert links.subject_of(links.make("u1", "x", HOUR), "x") == "u1"
    with pytest.raises(NotAuthenticated):
        Links(clock).subject_of(other, "x")


# away


def age(it: House, days: float = 400) -> None:
    """Make every file look as old as that by the test's clock."""
    moment = it.clock.now().timestamp() - days * 86400
    for file in it.store.path.with_name("snapshots").rglob("*"):
        os.utime(file, (moment, moment))


async def files(it: House) -> int:
    return len(await it.snapshots.put_before(it.clock.now() + timedelta(days=10_000)))


async def test_a_picture_that_nobody_needs_goes_after_an_hour(it: House) -> None:
    owner, device = await camera(it)
    unused = await take(it, device)
    await it.clock.advance(1)
    shown = await take(it, device, png())
    await it.visitors.arrived(device.id, Arrival(image=shown.image), WHERE)
    await it.clock.advance(1)
    newest = await take(it, device, jpeg(mark=b"x"))
    age(it, days=1 / 48)
    assert await it.pictures.sweep() == 0
    await it.clock.advance(HOUR * 2)
    age(it, days=1 / 12)
    assert await it.pictures.sweep() == 1
    with pytest.raises(NotFound):
        await it.pictures.content(owner, device.id, unused.image)
    for picture in (shown, newest):
        await it.pictures.content(owner, device.id, picture.image)


async def test_a_picture_is_gone_with_its_retention_and_its_visitor_too(it: House) -> None:
    owner, device = await camera(it)
    picture = await take(it, device)
    visitor = await it.visitors.arrived(device.id, Arrival(image=picture.image), WHERE)
    await it.visitors.decide(owner, visitor.id, Verdict(False, owner.user.id))
    it.clock.jump(timedelta(days=89))
    age(it)
    assert await it.pictures.sweep() == 0
    assert await it.store.get_visitor(visitor.id) is not None
    it.clock.jump(timedelta(days=2))
    assert await it.pictures.sweep() == 1
    assert await files(it) == 0
    assert await it.store.get_visitor(visitor.id) is None
    assert await it.pictures.latest(device.id) is None


async def test_a_picture_of_two_cameras_stays_while_one_needs_it(it: House) -> None:
    owner, gate = await camera(it)
    _, back = await camera(it, "back")
    picture = await take(it, gate)
    assert (await take(it, back)).image == picture.image
    await it.store.remove_device(gate.id)
    it.clock.jump(HOUR * 2)
    age(it)
    assert await it.pictures.sweep() == 0
    assert await it.store.get_picture(gate.id, picture.image) is None
    with pytest.raises(NotFound):
        await it.pictures.content(owner, gate.id, picture.image)
    await it.store.remove_device(back.id)
    assert await it.pictures.sweep() == 1


async def test_a_file_that_belongs_to_nothing_goes(it: House) -> None:
    await it.snapshots.put(b"a write that was cut short after this")
    age(it, days=0)
    assert await it.pictures.sweep() == 0
    age(it, days=1)
    assert await it.pictures.sweep() == 1

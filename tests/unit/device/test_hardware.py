"""The simulated bolt and the pins of a Raspberry Pi, the latter on gpiozero's mock pins."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from doorlock.device.agent import Wiring, open_hardware
from doorlock.device.hardware import GpioBolt, SimulatedBolt
from doorlock.errors import BadConfig, BadInput
from doorlock.protocol import LockValue

LOCKED, UNLOCKED, JAMMED = LockValue.LOCKED, LockValue.UNLOCKED, LockValue.JAMMED


async def heard(bolt: Any) -> LockValue:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[LockValue] = loop.create_future()
    bolt.listen(lambda value: future.done() or future.set_result(value))
    async with asyncio.timeout(5):
        return await future


async def test_a_simulated_bolt_gets_there() -> None:
    bolt = SimulatedBolt(travel=0)
    bolt.drive(UNLOCKED)
    assert bolt.read() is LOCKED
    assert await heard(bolt) is UNLOCKED
    assert bolt.read() is UNLOCKED


async def test_a_jammed_one_stays_where_it_is() -> None:
    bolt = SimulatedBolt(travel=0)
    bolt.jammed = True
    bolt.drive(UNLOCKED)
    assert await heard(bolt) is JAMMED
    assert bolt.read() is LOCKED


async def test_a_new_order_replaces_the_one_under_way() -> None:
    bolt = SimulatedBolt(travel=0)
    bolt.drive(UNLOCKED)
    bolt.drive(LOCKED)
    assert await heard(bolt) is LOCKED


@pytest.fixture
def pins() -> Iterator[Any]:
    gpiozero = pytest.importorskip("gpiozero", reason="needs gpiozero: the Raspberry Pi's pins")
    from gpiozero.pins.mock import MockFactory

    before = gpiozero.Device.pin_factory
    gpiozero.Device.pin_factory = factory = MockFactory()
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


async def test_the_relay_is_off_until_it_unlocks(pins: Any) -> None:
    bolt = GpioBolt(17, 27)
    relay = pins.pin(17)
    assert relay.state == 0
    bolt.drive(UNLOCKED)
    assert relay.state == 1
    bolt.drive(LOCKED)
    assert relay.state == 0
    bolt.drive(UNLOCKED)
    bolt.close()
    assert relay.state == 0


async def test_a_relay_that_is_active_low(pins: Any) -> None:
    bolt = GpioBolt(17, None, active_high=False)
    assert pins.pin(17).state == 1
    bolt.drive(UNLOCKED)
    assert pins.pin(17).state == 0
    assert bolt.read() is None
    bolt.close()


async def test_the_contact_speaks_from_its_thread(pins: Any) -> None:
    bolt = GpioBolt(17, 27)
    contact = pins.pin(27)
    contact.drive_low()
    assert bolt.read() is LOCKED
    waiting = asyncio.ensure_future(heard(bolt))
    await asyncio.sleep(0)
    await asyncio.to_thread(contact.drive_high)
    assert await waiting is UNLOCKED
    bolt.close()


def test_pins_that_cannot_be_used(pins: Any) -> None:
    with pytest.raises(BadConfig, match="pins cannot be used"):
        GpioBolt(17, 17)


def test_without_gpiozero_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    with pytest.raises(BadConfig, match="gpiozero is not installed") as caught:
        open_hardware(Wiring(relay_pin=17))
    assert "--mock" in str(caught.value.hint)


def test_without_a_relay_pin_it_says_what_to_do() -> None:
    with pytest.raises(BadInput, match="relay"):
        open_hardware(Wiring())
    assert isinstance(open_hardware(Wiring(mock=True)), SimulatedBolt)

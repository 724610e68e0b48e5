from __future__ import annotations

import asyncio

import pytest

from doorlock.daemon.domain.devices import LockState
from doorlock.daemon.ports import EventFilter, Store, Taken
from doorlock.protocol import DeviceType, LockOrigin, LockValue
from tests.contract.build import NOON, NOON_KEPT, command, device, event, later, share

FULL = device(
    device_type=DeviceType.CAMERA,
    room="hall",
    location="ground floor",
    firmware_version="1.2.3",
    metadata={"macAddress": "aa:bb", "deep": {"list": [1, 2.5, None, True]}},
    settings={"autoLockTimeout": 5000},
    token_hash="0" * 64,
    is_active=False,
    activated_at=NOON_KEPT,
    maintenance=True,
    lock_state=LockState(LockValue.JAMMED, LockOrigin.SENSOR, NOON_KEPT),
    battery_level=87,
    last_seen=NOON_KEPT,
)


@pytest.mark.parametrize("front", [FULL, device()], ids=["full", "bare"])
async def test_a_device_comes_back_as_it_was(store: Store, front: object) -> None:
    await store.add_device(front, [event()])  # type: ignore[arg-type]
    kept = await store.get_device(front.id)  # type: ignore[attr-defined]
    assert kept == front
    assert kept is not None
    assert type(kept.device_type) is DeviceType
    assert type(kept.lock_state.value) is LockValue
    assert type(kept.lock_state.origin) is LockOrigin
    assert type(kept.metadata) is dict
    assert type(kept.is_active) is type(kept.maintenance) is bool


async def test_no_such_device_is_none(store: Store) -> None:
    assert await store.get_device(FULL.id) is None


async def test_an_esp_id_in_use_is_refused_and_nothing_is_written(store: Store) -> None:
    await store.add_device(FULL)
    with pytest.raises(Taken) as caught:
        await store.add_device(device("back", esp_id=FULL.esp_id), [event()])
    assert caught.value.field == "esp_id"
    assert await store.list_devices() == [FULL]
    assert (await store.bounds()).last == 0


async def test_devices_are_listed_by_name_then_id(store: Store) -> None:
    twins = sorted([device("b"), device("b")], key=lambda one: one.id)
    ordered = [device("a"), *twins, device("c")]
    for one in reversed(ordered):
        await store.add_device(one)
    assert await store.list_devices() == ordered
    wanted = [ordered[3].id, ordered[1].id, "0" * 24]
    assert await store.list_devices(wanted) == [ordered[1], ordered[3]]
    assert await store.list_devices([]) == []


async def test_more_ids_than_a_statement_has_places_for(store: Store) -> None:
    await store.add_device(FULL)
    ids = [f"{number:024x}" for number in range(40_000)]
    assert await store.list_devices([*ids, FULL.id]) == [FULL]


async def test_the_devices_of_an_owner_are_theirs_alone(store: Store) -> None:
    mine = [device("a", owner_id="1" * 24), device("b", owner_id="1" * 24)]
    for one in (mine[1], device("aa"), mine[0]):
        await store.add_device(one)
    assert await store.devices_of("1" * 24) == mine
    assert await store.devices_of("2" * 24) == []


async def test_a_device_is_changed_where_named_and_nowhere_else(store: Store) -> None:
    await store.add_device(FULL)
    state = LockState(LockValue.LOCKED, LockOrigin.ACK, later(1))
    changed = await store.update_device(
        FULL.id, {"name": "back", "lock_state": state, "metadata": {}, "battery_level": None}
    )
    assert changed == await store.get_device(FULL.id)
    assert changed == device(
        "back",
        **{
            name: getattr(FULL, name)
            for name in FULL.__slots__
            if name not in {"name", "lock_state", "metadata", "battery_level"}
        },
        lock_state=LockState(
            LockValue.LOCKED, LockOrigin.ACK, later(1).replace(microsecond=123000)
        ),
    )


async def test_a_change_and_its_events_go_together(store: Store) -> None:
    await store.add_device(FULL)
    await store.update_device(FULL.id, {"room": "x"}, [event(device_id=FULL.id), event()])
    assert await store.count_events(EventFilter()) == 2
    assert await store.update_device("0" * 24, {"room": "x"}, [event()]) is None
    assert await store.count_events(EventFilter()) == 2


async def test_a_change_that_changes_nothing_still_records_its_events(store: Store) -> None:
    await store.add_device(FULL)
    assert await store.update_device(FULL.id, {"room": FULL.room}, [event()]) == FULL
    assert await store.count_events(EventFilter()) == 1


async def test_a_change_to_an_esp_id_in_use_is_refused(store: Store) -> None:
    other = device()
    await store.add_device(FULL)
    await store.add_device(other)
    with pytest.raises(Taken):
        await store.update_device(other.id, {"esp_id": FULL.esp_id}, [event()])
    assert await store.get_device(other.id) == other
    assert (await store.bounds()).last == 0


@pytest.mark.parametrize(
    "expect",
    [
        {},
        {"token_hash": "0" * 64},
        {"activated_at": NOON, "is_active": False},
        {"lock_state": FULL.lock_state, "settings": {"autoLockTimeout": 5000}},
        {"metadata": {"deep": {"list": (1, 2.5, None, True)}, "macAddress": "aa:bb"}},
    ],
)
async def test_a_change_is_made_where_everything_is_as_expected(
    store: Store, expect: dict[str, object]
) -> None:
    await store.add_device(FULL)
    changed = await store.update_device(FULL.id, {"name": "new"}, [event()], expect=expect)
    assert changed is not None
    assert changed.name == "new"


@pytest.mark.parametrize(
    "expect",
    [
        {"token_hash": None},
        {"token_hash": "0" * 64, "is_active": True},
        {"activated_at": later(1)},
        {"metadata": {}},
    ],
)
async def test_a_change_is_not_made_where_something_is_not_as_expected(
    store: Store, expect: dict[str, object]
) -> None:
    await store.add_device(FULL)
    assert await store.update_device(FULL.id, {"name": "new"}, [event()], expect=expect) is None
    assert await store.get_device(FULL.id) == FULL
    assert (await store.bounds()).last == 0


async def test_of_fifty_guarded_changes_at_once_one_is_made(store: Store) -> None:
    await store.add_device(device(id=FULL.id))
    made = await asyncio.gather(
        *(
            store.update_device(
                FULL.id, {"activated_at": later(n)}, [event()], expect={"activated_at": None}
            )
            for n in range(50)
        )
    )
    (winner,) = [one for one in made if one is not None]
    assert await store.get_device(FULL.id) == winner
    assert (await store.bounds()).last == 1


async def test_devices_are_touched_many_at_once_and_never_back_in_time(store: Store) -> None:
    old, new, fresh = (
        device("a", last_seen=NOON_KEPT),
        device("b", last_seen=NOON_KEPT),
        device("c"),
    )
    for one in (old, new, fresh):
        await store.add_device(one)
    await store.touch_devices(
        {old.id: later(-5), new.id: later(5), fresh.id: later(1), "0" * 24: later(1)}
    )
    seen = [one.last_seen for one in await store.list_devices()]
    assert seen == [at.replace(microsecond=123000) for at in (NOON, later(5), later(1))]
    await store.touch_devices({})
    assert len(await store.list_devices()) == 3


async def test_removing_a_device_takes_its_shares_and_leaves_its_history(store: Store) -> None:
    other = device("other")
    asked = command(device_id=FULL.id)
    for one in (FULL, other):
        await store.add_device(one)
        await store.put_share(share(device_id=one.id, user_id="1" * 24))
    await store.add_command(asked, [event(device_id=FULL.id)])
    assert await store.remove_device(FULL.id, [event(device_id=FULL.id)]) is True
    assert await store.get_device(FULL.id) is None
    assert [one.device_id for one in await store.shares_of_user("1" * 24)] == [other.id]
    assert await store.get_command(asked.id) == asked
    assert await store.count_events(EventFilter(device=FULL.id)) == 2


async def test_removing_what_is_not_there_writes_nothing(store: Store) -> None:
    assert await store.remove_device(FULL.id, [event()]) is False
    assert (await store.bounds()).last == 0


async def test_the_esp_id_of_a_removed_device_is_free_again(store: Store) -> None:
    await store.add_device(FULL)
    await store.remove_device(FULL.id)
    again = device("again", esp_id=FULL.esp_id)
    await store.add_device(again)
    assert await store.list_devices() == [again]


async def test_devices_are_found_by_id_esp_id_or_name_in_any_case(store: Store) -> None:
    front = device(name="Front Door", esp_id="ESP32-A")
    other = device(name="front door", esp_id="ESP32-B")
    await store.add_device(front)
    await store.add_device(other)
    assert await store.find_devices(front.id) == [front]
    assert await store.find_devices("ESP32-B") == [other]
    assert await store.find_devices("esp32-b") == []
    assert await store.find_devices("FRONT door") == [front, other]
    assert await store.find_devices("front") == []

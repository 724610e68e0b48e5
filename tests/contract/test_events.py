from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from doorlock.daemon.domain.events import GENESIS, Event, EventType, NewEvent, verify
from doorlock.daemon.ports import EventFilter, LogBounds, Pruned, Store
from doorlock.errors import BadInput
from tests.contract.build import NOON, NOON_KEPT, device, event, later

FRONT, BACK, ADA, EVE = (digit * 24 for digit in "1234")
ALL = EventFilter()

FULL = event(
    EventType.COMMAND_EXECUTED,
    device_id=FRONT,
    user_id=ADA,
    command_id="a command",
    correlation_id="trace",
    payload={"status": "locked", "deep": {"list": [1, 2.5, None, True, "ü\0\U0001f512"]}},
    metadata={"source": "mqtt", "ipAddress": None},
)


async def _all(store: Store) -> Sequence[Event]:
    return await store.list_events(ALL, limit=100_000)


async def test_an_event_comes_back_as_it_was_and_as_append_gave_it(store: Store) -> None:
    written = await store.append([FULL, event(id="0" * 24)])
    assert [one.new for one in written] == [FULL, event(id="0" * 24)]
    kept = await _all(store)
    assert kept == written
    assert type(kept[0].new.type) is EventType
    assert type(kept[0].new.payload) is dict


async def test_appending_nothing_is_nothing(store: Store) -> None:
    assert list(await store.append([])) == []
    assert await store.bounds() == LogBounds(1, 0, GENESIS)


async def test_events_may_come_from_a_generator(store: Store) -> None:
    written = await store.append(event() for _ in range(3))
    assert [one.seq for one in written] == [1, 2, 3]


async def test_the_chain_holds_after_reading_back(store: Store) -> None:
    for moment in (NOON, later(0.000_999), NOON.astimezone(), NOON_KEPT - timedelta(days=40_000)):
        await store.append([event(at=moment, payload={"z": 1.10, "a": (1, 2), "n": float("nan")})])
    written = await _all(store)
    assert len(written) == 4
    assert verify(GENESIS, written) is None
    assert written[0].new.at == NOON_KEPT


async def test_what_its_maker_does_to_an_event_later_does_not_reach_the_log(store: Store) -> None:
    payload = {"status": ["locked"]}
    (written,) = await store.append([event(payload=payload)])
    payload["status"].append("unlocked")
    assert written.new.payload == {"status": ["locked"]}
    assert await _all(store) == [written]
    assert verify(GENESIS, [written]) is None


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, 1e300])
async def test_numbers_up_to_64_bits_come_back_as_they_were(store: Store, number: float) -> None:
    (written,) = await store.append([event(payload={"n": number})])
    assert written.new.payload == {"n": number}
    assert await _all(store) == [written]


_NESTED: dict[str, Any] = {}
for _ in range(2000):
    _NESTED = {"in": _NESTED}


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": {"n": 2**64}},
        {"payload": {"n": -(2**64)}},
        {"payload": {"text": "\ud800"}},
        {"metadata": {"\udfff": 1}},
        {"metadata": {1: 1}},
        {"payload": _NESTED},
        {"payload": {"what": object()}},
        {"device_id": "\ud800"},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_what_cannot_be_kept_is_refused_whole_and_harms_nothing(
    store: Store, fields: dict[str, Any]
) -> None:
    with pytest.raises(BadInput):
        await store.append([event(), event(**fields)])
    with pytest.raises(BadInput):
        await store.add_device(device(), [event(), event(**fields)])
    assert await store.list_devices() == []
    (written,) = await store.append([event()])
    assert written.seq == 1
    assert await _all(store) == [written]


LOG = [
    event(EventType.STATUS_CHANGED, device_id=FRONT, at=later(0)),
    event(EventType.COMMAND_SENT, device_id=FRONT, user_id=ADA, command_id="c", at=later(1)),
    event(EventType.COMMAND_SENT, device_id=BACK, user_id=EVE, command_id="d", at=later(2)),
    event(EventType.LOGIN_FAILED, user_id=ADA, at=later(3)),
    event(EventType.LOW_BATTERY, device_id=BACK, at=later(4)),
    event(EventType.LOG_PRUNED, at=later(5)),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EventFilter(), [1, 2, 3, 4, 5, 6]),
        (EventFilter(devices=frozenset()), []),
        (EventFilter(users=frozenset()), []),
        (EventFilter(devices=frozenset(), users=frozenset()), []),
        (EventFilter(devices=frozenset({FRONT})), [1, 2]),
        (EventFilter(devices=frozenset({FRONT, BACK})), [1, 2, 3, 5]),
        (EventFilter(users=frozenset({ADA})), [2, 4]),
        (EventFilter(devices=frozenset(), users=frozenset({ADA})), [2, 4]),
        (EventFilter(devices=frozenset({BACK}), users=frozenset({ADA})), [2, 3, 4, 5]),
        (EventFilter(devices=frozenset({BACK}), users=frozenset({ADA}), device=FRONT), [2]),
        (EventFilter(device=FRONT), [1, 2]),
        (EventFilter(device=FRONT, devices=frozenset({BACK})), []),
        (EventFilter(user=EVE), [3]),
        (EventFilter(command="c"), [2]),
        (EventFilter(types=frozenset({EventType.COMMAND_SENT, EventType.LOG_PRUNED})), [2, 3, 6]),
        (EventFilter(types=frozenset({EventType.COMMAND_SENT}), device=BACK), [3]),
        (EventFilter(after=2), [3, 4, 5, 6]),
        (EventFilter(after=0, before=3), [1, 2]),
        (EventFilter(after=3, before=4), []),
        (EventFilter(since=later(1)), [2, 3, 4, 5, 6]),
        (EventFilter(until=later(1)), [1]),
        (EventFilter(since=later(1), until=later(3)), [2, 3]),
        (EventFilter(device=FRONT, user=ADA, command="c", after=1, since=later(0)), [2]),
    ],
)
async def test_events_are_filtered(store: Store, wanted: EventFilter, expected: list[int]) -> None:
    await store.append(LOG)
    assert [one.seq for one in await store.list_events(wanted, limit=9)] == expected
    newest = await store.list_events(wanted, limit=9, newest_first=True)
    assert [one.seq for one in newest] == expected[::-1]
    assert await store.count_events(wanted) == len(expected)


async def test_events_come_in_pages(store: Store) -> None:
    await store.append(LOG)

    async def page(**how: Any) -> list[int]:
        return [one.seq for one in await store.list_events(ALL, **how)]

    assert await page(limit=2) == [1, 2]
    assert await page(limit=2, offset=2) == [3, 4]
    assert await page(limit=2, offset=5) == [6]
    assert await page(limit=2, offset=6) == []
    assert await page(limit=2, newest_first=True) == [6, 5]
    assert await page(limit=2, newest_first=True, offset=1) == [5, 4]
    assert await page(limit=0) == []


async def test_a_filter_may_name_more_doors_than_a_statement_has_places_for(store: Store) -> None:
    await store.append(LOG)
    doors = frozenset(f"{number:024x}" for number in range(40_000)) | {FRONT}
    assert await store.count_events(EventFilter(devices=doors)) == 2


# pruning


def _note(pruned: Pruned) -> NewEvent:
    return event(
        EventType.LOG_PRUNED,
        at=later(1000),
        payload={"count": pruned.count, "from": pruned.from_seq, "to": pruned.to_seq},
    )


async def _fill(store: Store, *seconds: float) -> Sequence[Event]:
    return await store.append([event(at=later(second)) for second in seconds])


async def test_bounds_follow_the_log(store: Store) -> None:
    assert await store.bounds() == LogBounds(1, 0, GENESIS)
    await _fill(store, 0, 1)
    assert await store.bounds() == LogBounds(1, 2, GENESIS)


async def test_pruning_takes_the_oldest_and_notes_it(store: Store) -> None:
    written = await _fill(store, 0, 1, 2, 3)
    pruned = await store.prune(later(2), 100, _note)
    assert pruned == Pruned(2, 1, 2, written[1].hash)
    kept = await _all(store)
    assert [one.seq for one in kept] == [3, 4, 5]
    assert kept[2].new.type is EventType.LOG_PRUNED
    assert kept[2].new.payload == {"count": 2, "from": 1, "to": 2}
    assert await store.bounds() == LogBounds(3, 5, written[1].hash)


async def test_the_chain_holds_across_pruning(store: Store) -> None:
    await _fill(store, 0, 1, 2, 3)
    await store.prune(later(2), 100, _note)
    await _fill(store, 4)
    kept, bounds = await _all(store), await store.bounds()
    assert len(kept) == 4
    assert verify(bounds.anchor, kept) is None
    assert verify(GENESIS, kept) == 3


async def test_pruning_goes_in_steps_of_the_limit(store: Store) -> None:
    await _fill(store, 0, 1, 2, 3, 4)
    steps = [await store.prune(later(4), 3, _note) for _ in range(3)]
    assert [step and (step.from_seq, step.to_seq, step.count) for step in steps] == [
        (1, 3, 3),
        (4, 4, 1),
        None,
    ]


async def test_pruning_stops_at_the_first_that_is_young_enough(store: Store) -> None:
    await _fill(store, 0, 9, 1)
    pruned = await store.prune(later(5), 100, _note)
    assert pruned is not None
    assert pruned.count == 1
    assert [one.seq for one in await _all(store)] == [2, 3, 4]
    assert await store.prune(later(5), 100, _note) is None


async def test_before_is_exclusive(store: Store) -> None:
    await _fill(store, 0)
    assert await store.prune(later(0), 100, _note) is None
    assert await store.prune(later(0.001), 100, _note) is not None


async def test_nothing_to_prune_writes_nothing(store: Store) -> None:
    assert await store.prune(later(1), 100, _note) is None
    await _fill(store, 5)
    assert await store.prune(later(1), 100, _note) is None
    assert (await store.bounds()).last == 1


async def test_notes_alone_are_left(store: Store) -> None:
    await _fill(store, 0)
    await store.prune(later(1), 100, _note)
    assert await store.prune(later(2000), 100, _note) is None
    assert await store.bounds() == LogBounds(2, 2, (await store.bounds()).anchor)


async def test_more_notes_than_a_step_takes_do_not_hide_what_is_behind_them(store: Store) -> None:
    await store.append([event(EventType.LOG_PRUNED, at=later(n)) for n in range(5)])
    await _fill(store, 6, 2001)
    taken = []
    for _ in range(20):
        pruned = await store.prune(later(100), 2, _note)
        if pruned is None:
            break
        taken.append(pruned.count)
    assert sum(taken) == 6
    assert pruned is None
    assert (await store.bounds()).first == 7


async def test_the_count_goes_on_where_everything_was_pruned(store: Store) -> None:
    written = await _fill(store, 0, 1, 2)
    await store.prune(later(5), 100, _note)
    bounds = await store.bounds()
    assert bounds == LogBounds(4, 4, written[2].hash)
    (following,) = await _fill(store, 6)
    assert following.seq == 5


async def test_a_note_that_cannot_be_kept_prunes_nothing(store: Store) -> None:
    written = await _fill(store, 0)
    with pytest.raises(BadInput):
        await store.prune(later(5), 100, lambda _: event(payload={"n": 2**64}))
    assert await _all(store) == written
    assert await store.bounds() == LogBounds(1, 1, GENESIS)
    (following,) = await _fill(store, 6)
    assert verify(GENESIS, [*written, following]) is None

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from doorlock.daemon.domain.commands import Command
from doorlock.daemon.ports import AlreadyAsked, CommandFilter, EventFilter, SlotBusy, Store
from doorlock.protocol import FINISHED, CommandName, CommandStatus, Transport
from tests.contract.build import NOON_KEPT, command, event, later

FRONT, ADA = "1" * 24, "2" * 24

FULL = command(
    device_id=FRONT,
    issued_by=ADA,
    wait=timedelta(seconds=5),
    payload={"duration": 5000},
    status=CommandStatus.EXECUTED,
    via=Transport.MQTT,
    tried=(Transport.WEBSOCKET, Transport.MQTT),
    sent_at=NOON_KEPT,
    acknowledged_at=NOON_KEPT,
    finished_at=NOON_KEPT,
    error_message="none to speak of",
    operator_id="3" * 24,
    correlation_id="trace",
    idempotency_key="key",
    version=4,
)


def _at(seconds: float, **fields: object) -> Command:
    return command(issued_at=NOON_KEPT + timedelta(seconds=seconds), **fields)


@pytest.mark.parametrize("asked", [FULL, command()], ids=["full", "bare"])
async def test_a_command_comes_back_as_it_was(store: Store, asked: Command) -> None:
    (written,) = await store.add_command(asked, [event(command_id=asked.id)])
    kept = await store.get_command(asked.id)
    assert kept == asked
    assert kept is not None
    assert type(kept.name) is CommandName
    assert type(kept.status) is CommandStatus
    assert all(type(one) is Transport for one in kept.tried)
    assert await store.list_events(EventFilter(command=asked.id), limit=9) == [written]


async def test_no_such_command_is_none(store: Store) -> None:
    assert await store.get_command(FULL.id) is None


async def test_a_device_has_one_slot(store: Store) -> None:
    running = command(device_id=FRONT)
    await store.add_command(running)
    with pytest.raises(SlotBusy) as caught:
        await store.add_command(command(device_id=FRONT, name=CommandName.LOCK_DOOR), [event()])
    assert caught.value.running == running
    assert await store.unfinished_commands() == [running]
    assert (await store.bounds()).last == 0


async def test_other_devices_and_what_may_queue_do_not_mind_the_slot(store: Store) -> None:
    await store.add_command(command(device_id=FRONT))
    await store.add_command(command())
    for _ in range(2):
        await store.add_command(command(device_id=FRONT, name=CommandName.UPDATE_SETTINGS))
    assert len(await store.unfinished_commands(FRONT)) == 3


@pytest.mark.parametrize("status", sorted(FINISHED))
async def test_a_finished_command_leaves_the_slot(store: Store, status: CommandStatus) -> None:
    running = command(device_id=FRONT)
    await store.add_command(running)
    ended = replace(running, status=status, version=1)
    assert await store.update_command(ended) is not None
    following = command(device_id=FRONT)
    await store.add_command(following)
    assert await store.unfinished_commands(FRONT) == [following]


async def test_a_key_is_used_once_by_the_same_caller_and_that_is_said_first(store: Store) -> None:
    first = command(device_id=FRONT, issued_by=ADA, idempotency_key="k")
    await store.add_command(first)
    with pytest.raises(AlreadyAsked) as caught:
        await store.add_command(
            command(device_id=FRONT, issued_by=ADA, idempotency_key="k"), [event()]
        )
    assert caught.value.earlier == first
    with pytest.raises(AlreadyAsked):
        await store.add_command(command(issued_by=ADA, idempotency_key="k"))
    assert (await store.bounds()).last == 0
    await store.add_command(command(idempotency_key="k"))
    await store.add_command(command(issued_by=ADA, idempotency_key="K"))
    await store.add_command(command(issued_by=ADA))
    await store.add_command(command(issued_by=ADA))


async def test_a_key_is_remembered_after_its_command_has_ended(store: Store) -> None:
    await store.add_command(FULL)
    with pytest.raises(AlreadyAsked) as caught:
        await store.add_command(command(issued_by=ADA, idempotency_key="key"))
    assert caught.value.earlier == FULL


async def test_of_fifty_for_one_slot_one_wins(store: Store) -> None:
    asked = [command(device_id=FRONT) for _ in range(50)]
    made = await asyncio.gather(
        *(store.add_command(one, [event(command_id=one.id)]) for one in asked),
        return_exceptions=True,
    )
    results = zip(asked, made, strict=True)
    (winner,) = [one for one, result in results if not isinstance(result, BaseException)]
    losers = [result for result in made if isinstance(result, SlotBusy)]
    assert len(losers) == 49
    assert all(loser.running == winner for loser in losers)
    assert await store.count_events(EventFilter()) == 1


async def test_of_fifty_changes_of_one_version_one_wins(store: Store) -> None:
    running = command(device_id=FRONT)
    await store.add_command(running)
    changes = [replace(running, version=1, error_message=str(n)) for n in range(50)]
    made = await asyncio.gather(*(store.update_command(one, [event()]) for one in changes))
    (winner,) = [one for one, events in zip(changes, made, strict=True) if events is not None]
    assert await store.get_command(running.id) == winner
    assert (await store.bounds()).last == 1


async def test_a_change_is_written_whole_over_the_version_before(store: Store) -> None:
    running = replace(FULL, status=CommandStatus.QUEUED, via=None, tried=(), version=0)
    await store.add_command(running)
    for version, status in enumerate((CommandStatus.SENT, CommandStatus.EXECUTED), 1):
        changed = replace(FULL, status=status, version=version)
        events = await store.update_command(changed, [event(), event()])
        assert events is not None
        assert [one.seq for one in events] == [version * 2 - 1, version * 2]
        assert await store.get_command(FULL.id) == changed


@pytest.mark.parametrize("version", [0, 2, 3])
async def test_a_change_over_another_version_is_not_written(store: Store, version: int) -> None:
    running = command()
    await store.add_command(running)
    assert await store.update_command(replace(running, version=version), [event()]) is None
    assert await store.get_command(running.id) == running
    assert (await store.bounds()).last == 0


async def test_changing_no_command_writes_nothing(store: Store) -> None:
    assert await store.update_command(replace(FULL, version=1), [event()]) is None
    assert (await store.bounds()).last == 0


async def test_unfinished_commands_are_listed_oldest_first(store: Store) -> None:
    open_states = [status for status in CommandStatus if status not in FINISHED]
    commands = [_at(-n, status=status) for n, status in enumerate(CommandStatus)]
    for one in commands:
        await store.add_command(one)
    unfinished = await store.unfinished_commands()
    assert [one.status for one in unfinished] == list(reversed(open_states))
    assert await store.unfinished_commands(unfinished[1].device_id) == [unfinished[1]]
    assert await store.unfinished_commands("0" * 24) == []


async def test_commands_of_one_moment_stay_in_the_order_they_were_asked(store: Store) -> None:
    queued = [command(name=CommandName.UPDATE_SETTINGS, device_id=FRONT) for _ in range(9)]
    for one in queued:
        await store.add_command(one)
    assert await store.unfinished_commands(FRONT) == queued


async def test_commands_are_listed_newest_first_in_pages(store: Store) -> None:
    commands = [_at(n, device_id=f"{n % 3:024x}", status=FULL.status) for n in range(9)]
    for one in sorted(commands, key=lambda one: one.id):
        await store.add_command(one)
    newest = commands[::-1]
    assert await store.list_commands(CommandFilter(), limit=4) == (newest[:4], 9)
    assert await store.list_commands(CommandFilter(), limit=4, offset=8) == (newest[8:], 9)
    assert await store.list_commands(CommandFilter(), limit=4, offset=9) == ([], 9)
    assert await store.list_commands(CommandFilter(), limit=0) == ([], 9)


async def test_commands_are_filtered(store: Store) -> None:
    front = _at(1, device_id=FRONT)
    done = _at(2, device_id=FRONT, status=CommandStatus.EXECUTED)
    other = _at(3, device_id="4" * 24)
    for one in (front, done, other):
        await store.add_command(one)
    cases = [
        (CommandFilter(device=FRONT), [done, front]),
        (CommandFilter(devices=frozenset({FRONT})), [done, front]),
        (CommandFilter(devices=frozenset()), []),
        (CommandFilter(devices=frozenset({FRONT}), device=other.device_id), []),
        (CommandFilter(statuses=frozenset({CommandStatus.QUEUED})), [other, front]),
        (CommandFilter(device=FRONT, statuses=frozenset({CommandStatus.EXECUTED})), [done]),
    ]
    for wanted, expected in cases:
        page = await store.list_commands(wanted, limit=9)
        assert page == (expected, len(expected)), wanted


async def test_times_are_kept_to_the_millisecond(store: Store) -> None:
    asked = command(issued_at=later(0), expires_at=later(1))
    await store.add_command(asked)
    kept = await store.get_command(asked.id)
    assert kept is not None
    assert (kept.issued_at, kept.expires_at) == (NOON_KEPT, NOON_KEPT + timedelta(seconds=1))


async def test_a_key_stands_for_what_was_asked_or_joined_under_it(store: Store) -> None:
    running = command(idempotency_key="first")
    await store.add_command(running)
    events = await store.join_command(running.id, "b" * 24, "second", [event()])
    assert len(events) == 1
    assert await store.command_by_key(running.issued_by, "first") == running
    assert await store.command_by_key("b" * 24, "second") == running
    assert await store.command_by_key("b" * 24, "first") is None
    assert await store.command_by_key(running.issued_by, "second") is None
    other = command(device_id="c" * 24, issued_by="b" * 24, idempotency_key="second")
    with pytest.raises(AlreadyAsked) as refused:
        await store.add_command(other)
    assert refused.value.earlier == running
    with pytest.raises(AlreadyAsked):
        await store.join_command(running.id, "b" * 24, "second", [event()])
    assert await store.get_command(other.id) is None
    assert (await store.bounds()).last == 1


async def test_joining_without_a_key_only_notes_it(store: Store) -> None:
    running = command()
    await store.add_command(running)
    for _ in range(2):
        await store.join_command(running.id, "b" * 24, None, [event()])
    assert (await store.bounds()).last == 2

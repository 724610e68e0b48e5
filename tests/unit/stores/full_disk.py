"""Run by the durability tests: a limit on the size of files stands for a disk that is full."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from pathlib import Path

from doorlock.daemon.domain.events import GENESIS, verify
from doorlock.daemon.ports import EventFilter
from doorlock.daemon.stores.sqlite import SqliteStore
from doorlock.errors import Unavailable
from tests.contract.build import event, user


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def main(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.append([event()])
    ada = user()
    _limit(path.with_name(path.name + "-wal").stat().st_size + 5000)
    big = event(payload={"fill": "x" * 50_000})
    results = await asyncio.gather(
        store.append([big]),
        store.add_user(ada, [event()]),
        store.append([big]),
        return_exceptions=True,
    )
    assert all(isinstance(one, Unavailable) for one in results), results
    assert all(one.__cause__ is not None for one in results if isinstance(one, Unavailable))
    assert await store.get_user(ada.id) is None
    assert (await store.bounds()).last == 1
    _limit(resource.RLIM_INFINITY)
    assert [one.seq for one in await store.append([big])] == [2]
    await store.add_user(ada, [event()])
    await store.close()
    await store.open()
    log = await store.list_events(EventFilter(), limit=9)
    assert [one.seq for one in log] == [1, 2, 3]
    assert verify(GENESIS, log) is None
    await store.close()


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    asyncio.run(main(Path(sys.argv[1])))

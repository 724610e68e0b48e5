"""Run by the durability tests: appends without end, and says each `seq` once it is acknowledged."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from doorlock.daemon.stores.sqlite import SqliteStore
from tests.contract.build import device, event


async def _produce(store: SqliteStore) -> None:
    while True:
        front = device()
        written = [
            *await store.append([event(payload={"fill": "x" * 200})]),
            *await store.add_device(front, [event(device_id=front.id)]),
        ]
        os.write(1, "".join(f"{one.seq} {one.hash}\n" for one in written).encode())


async def main(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await asyncio.gather(*(_produce(store) for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

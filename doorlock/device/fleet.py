"""Several devices in one asyncio process, and getting them registered first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from doorlock.protocol import DeviceType


@asynccontextmanager
async def fleet(specs: Iterable[DeviceSpec]) -> AsyncIterator[list[Device]]:
    """The devices, running; they stop together."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Device(spec)) for spec in specs]


async def run_fleet(
    specs: Iterable[DeviceSpec],
    *,
    started: Callable[[Sequence[Device]], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run the devices until `stop` is set or the task is cancelled.

    `started` gets them as soon as they run, which is before they are connected. Raises what broke
    one of them, should that ever happen.
    """
    async with fleet(specs) as devices:
        if started is not None:
            started(devices)
        stopped: asyncio.Future[Any] = asyncio.ensure_future((stop or asyncio.Event()).wait())
        waits = [stopped, *(asyncio.ensure_future(device.broken()) for device in devices)]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in waits:
                task.cancel()


class Api(Protocol):
    """The part of the daemon's client that registering needs; each answer has `data`."""

    def get(self, path: str) -> Any: ...
    def post(self, path: str, body: Any = None) -> Any: ...
    def delete(self, path: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A device that the daemon now knows."""

    device_id: str
    name: str
    esp_id: str
    token: str = field(repr=False)


def enrol(api: Api, name: str, esp_id: str, device_type: DeviceType) -> Enrolled:
    """Register one device. Raises the daemon's refusal."""
    body = {"name": name, "espId": esp_id, "deviceType": device_type.value}
    data: Mapping[str, Any] = api.post("/api/device/register", body).data
    return Enrolled(str(data["id"]), name, esp_id, str(data["deviceToken"]))


def remove(api: Api, device_id: str) -> None:
    api.delete(f"/api/device/{device_id}")


def addresses(api: Api) -> tuple[str | None, str | None]:
    """Where the daemon takes devices: Socket.IO, and MQTT where it is on."""
    data: Mapping[str, Any] = api.get("/api/version").data
    return data.get("url"), data.get("mqttUrl")

"""What `doorlock simulate` does, without the command line."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from doorlock.device.console import announce, log_to_stderr, run_until_stopped, trust
from doorlock.device.faults import FaultSpec
from doorlock.device.fleet import Api, Enrolled, addresses, enrol, remove, run_fleet
from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from doorlock.device.tokens import read_token, read_tokens
from doorlock.errors import BadInput, DaemonUnreachable
from doorlock.protocol import DeviceType

DEFAULT_URL = "http://127.0.0.1:3000"
DEFAULT_MQTT = "mqtt://127.0.0.1:1883"
_DEVICE_ID = re.compile(r"[0-9a-f]{24}")
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for, field for field as on the command line."""

    device_id: str | None = None
    token_file: Path | None = None
    tokens: Path | None = None
    count: int | None = None
    name: str = "simulated"
    esp_id: str = "SIM"
    device_type: str = "door-lock"
    socket: Path | None = None
    url: str | None = None
    mqtt: str | None = None
    transport: str | None = None
    ca: Path | None = None
    faults: tuple[str, ...] = ()
    seed: int | None = None
    heartbeat: float = 30.0
    persistent: bool = False
    state_dir: Path | None = None
    remove: bool = False


def run_simulator(wishes: Wishes, *, say: Callable[[str], None]) -> None:
    """Run until SIGTERM or ctrl-c. Raises DoorlockError for anything that a person can mend."""
    check(wishes)
    log_to_stderr()
    api = _client(wishes.socket)
    wishes, offered = look_up(wishes, api)
    with _folder(wishes.state_dir) as folder, _enrolled(wishes, api) as devices:
        url, mqtt = choose_addresses(wishes, *offered)
        specs = make_specs(wishes, devices, folder, url, mqtt)
        run_until_stopped(lambda stop: _run(specs, say, stop))


async def _run(
    specs: Sequence[DeviceSpec], say: Callable[[str], None], stop: asyncio.Event
) -> None:
    announcing: list[asyncio.Task[None]] = []

    def started(devices: Sequence[Device]) -> None:
        announcing.extend(announce(devices, say))

    try:
        await run_fleet(specs, started=started, stop=stop)
    finally:
        for task in announcing:
            task.cancel()


def check(wishes: Wishes) -> None:
    """Raises BadInput for wishes that contradict each other."""
    sources = [wishes.device_id, wishes.tokens, wishes.count]
    if sum(source is not None for source in sources) != 1:
        raise BadInput(
            "say which devices to simulate",
            hint="Pass one of --device-id ID, --tokens FILE and --count N.",
        )
    if wishes.remove and wishes.count is None:
        raise BadInput("--remove is for devices that --count registered")
    if wishes.transport not in (None, "websocket", "mqtt", "both"):
        raise BadInput("--transport is websocket, mqtt or both")


def look_up(wishes: Wishes, api: Api) -> tuple[Wishes, tuple[str | None, str | None]]:
    """What the daemon knows: the id behind a device's name, and where it takes devices.

    Nobody is asked where the id and an address are given; without an answer the defaults serve.
    """
    named = wishes.device_id is not None and not _DEVICE_ID.fullmatch(wishes.device_id)
    if not named and wishes.count is None and (wishes.url or wishes.mqtt):
        return wishes, (None, None)
    try:
        if named and wishes.device_id is not None:
            found = api.get(f"/api/device/{quote(wishes.device_id, safe='')}").data
            wishes = replace(wishes, device_id=found["id"], esp_id=found["espId"])
        return wishes, addresses(api)
    except DaemonUnreachable:
        if named or wishes.count is not None:
            raise
        return wishes, (None, None)


def choose_addresses(
    wishes: Wishes, offered_url: str | None, offered_mqtt: str | None
) -> tuple[str | None, str | None]:
    """Socket.IO and MQTT address to use: what was asked, else what the daemon says."""
    url, mqtt = wishes.url or offered_url, wishes.mqtt or offered_mqtt
    transport = wishes.transport or ("both" if url and mqtt else "mqtt" if mqtt else "websocket")
    if transport != "websocket" and mqtt is None:
        if wishes.count is not None:
            raise BadInput("the daemon has no MQTT broker", hint="Run doorlock doctor.")
        mqtt = DEFAULT_MQTT
    return (
        (url or DEFAULT_URL) if transport != "mqtt" else None,
        mqtt if transport != "websocket" else None,
    )


def make_specs(
    wishes: Wishes, devices: Sequence[Enrolled], folder: Path, url: str | None, mqtt: str | None
) -> list[DeviceSpec]:
    faults = tuple(FaultSpec.parse(text) for text in wishes.faults)
    tls = trust(wishes.ca)
    return [
        DeviceSpec(
            device_id=device.device_id,
            token=device.token,
            state_dir=folder / device.device_id,
            url=url,
            mqtt_url=mqtt,
            name=device.name,
            esp_id=device.esp_id,
            device_type=_device_type(wishes.device_type),
            heartbeat=wishes.heartbeat,
            faults=faults,
            seed=None if wishes.seed is None else wishes.seed + number,
            persistent_session=wishes.persistent,
            tls=tls,
        )
        for number, device in enumerate(devices)
    ]


def _device_type(text: str) -> DeviceType:
    try:
        return DeviceType(text)
    except ValueError:
        raise BadInput(f"--type is one of {', '.join(DeviceType)}") from None


@contextmanager
def _enrolled(wishes: Wishes, api: Api) -> Iterator[list[Enrolled]]:
    """The devices to run; those that were registered here go again at the end, if asked."""
    if wishes.count is None:
        yield _known(wishes)
        return
    devices: list[Enrolled] = []
    try:
        for number in range(1, wishes.count + 1):
            tail = "" if wishes.count == 1 else f"-{number}"
            kind = _device_type(wishes.device_type)
            devices.append(enrol(api, wishes.name + tail, wishes.esp_id + tail, kind))
        yield devices
    finally:
        for device in devices if wishes.remove else ():
            remove(api, device.device_id)


def _known(wishes: Wishes) -> list[Enrolled]:
    if wishes.tokens is not None:
        tokens = read_tokens(wishes.tokens)
    else:
        tokens = {wishes.device_id or "": read_token(wishes.token_file)}
    for device_id in tokens:
        if not _SAFE_ID.fullmatch(device_id):
            raise BadInput("a device id is 24 hex digits")
    return [Enrolled(device_id, "", wishes.esp_id, token) for device_id, token in tokens.items()]


@contextmanager
def _folder(state_dir: Path | None) -> Iterator[Path]:
    if state_dir is not None:
        yield state_dir
        return
    with tempfile.TemporaryDirectory(prefix="doorlock-simulate-") as folder:
        yield Path(folder)


def _client(socket: Path | None) -> Api:
    from doorlock.client import Client
    from doorlock.paths import client_socket_candidates

    return Client([socket] if socket else client_socket_candidates(os.environ, os.getuid()))

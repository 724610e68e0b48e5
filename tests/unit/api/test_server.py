"""The real servers: the socket's mode and peers, what is there already, and TCP."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from doorlock.daemon.api.server import HttpServer, tcp_listener, unix_listener
from doorlock.errors import BadConfig, Unavailable


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="dl"))
    yield made
    shutil.rmtree(made)


async def tells_its_peer(scope: Any, receive: Any, send: Any) -> None:
    peer = scope["state"]["doorlock_peer"]
    body = b"nobody" if peer is None else f"{peer.pid} {peer.uid} {peer.gid}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(listener: socket.socket, app: Any = tells_its_peer) -> AsyncIterator[None]:
    server = HttpServer(app, listener)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer.split(b"\r\n\r\n", 1)[1]


async def test_the_peer_is_known_by_the_kernels_word(folder: Path) -> None:
    path = folder / "d.sock"
    async with serving(unix_listener(path)):
        told = await asked(*await asyncio.open_unix_connection(str(path)))
    assert told.decode() == f"{os.getpid()} {os.getuid()} {os.getgid()}"


async def test_somebody_on_tcp_is_no_peer() -> None:
    listener = tcp_listener("127.0.0.1", 0)
    host, port = listener.getsockname()
    async with serving(listener):
        assert await asked(*await asyncio.open_connection(host, port)) == b"nobody"


async def test_the_socket_is_for_its_owner_and_group(folder: Path) -> None:
    path = folder / "new" / "d.sock"
    listener = unix_listener(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        listener.close()


async def test_a_socket_that_nobody_answers_is_replaced(folder: Path) -> None:
    path = folder / "d.sock"
    unix_listener(path).close()
    assert path.exists()
    async with serving(unix_listener(path)):
        assert await asked(*await asyncio.open_unix_connection(str(path)))


async def test_a_daemon_that_answers_is_left_alone(folder: Path) -> None:
    path = folder / "d.sock"
    async with serving(unix_listener(path)):
        with pytest.raises(Unavailable):
            unix_listener(path)
        assert await asked(*await asyncio.open_unix_connection(str(path)))


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    path = folder / "d.sock"
    path.write_text("precious")
    with pytest.raises(BadConfig):
        unix_listener(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_for_a_socket_is_refused(folder: Path) -> None:
    with pytest.raises(BadConfig) as refused:
        unix_listener(folder / ("x" * 120))
    assert "107" in (refused.value.hint or "")


def test_a_port_that_is_taken_is_refused_with_what_to_set() -> None:
    listener = tcp_listener("127.0.0.1", 0)
    try:
        with pytest.raises(BadConfig) as refused:
            tcp_listener("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.close()
    assert "listen.port" in (refused.value.hint or "")


def test_a_host_that_is_not_ours_is_refused() -> None:
    with pytest.raises(BadConfig):
        tcp_listener("host.invalid", 0)

"""Serving HTTP on sockets of our own: the Unix socket with its mode and peers, and TCP."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from doorlock.daemon.api.app import Asgi
from doorlock.daemon.api.callers import peer_of, with_peer
from doorlock.errors import BadConfig, Unavailable

_SOCKET_MODE = 0o660
_LONGEST_SOCKET_PATH = 107  # sun_path, unix(7)


class _PeerProtocol(HttpToolsProtocol):
    """Puts the Unix socket's peer in the state of every request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        self.app_state = with_peer(self.app_state, peer_of(connection) if connection else None)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # the daemon has its own


class HttpServer:
    """One listening socket and the application behind it."""

    def __init__(
        self,
        app: Asgi,
        listener: socket.socket,
        *,
        tls: tuple[Path, Path] | None = None,
        max_message: int = 1024 * 1024,
    ) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            http=_PeerProtocol,
            ws="websockets-sansio",
            ws_max_size=max_message,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # anybody could name the address that the log and limits go by
            date_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=60,
            ssl_certfile=str(tls[0]) if tls else None,
            ssl_keyfile=str(tls[1]) if tls else None,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections. Raises what binding or TLS set-up raises."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise Unavailable("the HTTP server did not start")
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Let requests finish for a second, then close."""
        self._server.should_exit = True
        if self._task is not None:
            with suppress(Exception):
                await self._task
        self._listener.close()


def unix_listener(path: Path, group: str | None = None) -> socket.socket:
    """A listening socket at `path`, mode 0660, of `group` if given. A stale one is replaced.

    Raises Unavailable where a daemon answers already, BadConfig where it cannot be made.
    """
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise BadConfig(
            f"the socket path is too long: {path}",
            hint=f"Unix allows {_LONGEST_SOCKET_PATH} bytes; set daemon.socket to a shorter one.",
        )
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, mode=0o755 if os.geteuid() == 0 else 0o700)
        _clear(path)
        return _bound(path, _group_id(group))
    except OSError as error:
        raise BadConfig(
            f"cannot listen at {path}: {error.strerror}", hint="Set daemon.socket to another path."
        ) from error


def _clear(path: Path) -> None:
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise BadConfig(f"{path} is there and is not a socket", hint="Move it out of the way.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise Unavailable(
        f"another daemon answers at {path} already", hint="Stop it, or set daemon.socket."
    )


def _group_id(group: str | None) -> int:
    try:
        return -1 if group is None else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise BadConfig(
            f"there is no group {group!r}",
            hint=f"Make it (groupadd --system {group}), or set daemon.socket_group.",
        ) from error


def _bound(path: Path, group: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)  # so that the socket never exists with a wider mode
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    os.chown(path, -1, group)
    path.chmod(_SOCKET_MODE)
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def tcp_listener(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises BadConfig."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # with the protocol named, asyncio sets TCP_NODELAY on what it accepts
        listener = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise BadConfig(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="Is another program there? Set listen.host and listen.port.",
        ) from error
    listener.listen(4096)
    listener.setblocking(False)
    return listener

"""The only way to reach the daemon, blocking; `doorlock.client_async` has the same calls to await.

Every call raises a DoorlockError: the one that the daemon answered, DaemonUnreachable where nobody
answers, ConnectionLost where the connection broke in between, Unavailable where it took too long.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from doorlock import client_wire as wire
from doorlock.client_wire import Answer, ConnectionLost, Query, R, Script, ServerEvent
from doorlock.errors import DaemonUnreachable, DoorlockError, Unavailable

PAGE = 1000
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


class Connection:
    """One request and its response over one connection. `deadline` is in monotonic time."""

    def __init__(self, sock: socket.socket, patience: float, deadline: float | None = None) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self.patience = patience
        self.deadline = deadline
        self.response = wire.Response()

    def send(self, request: bytes) -> None:
        try:
            self._socket.sendall(request)
        except TimeoutError:
            raise wire.TooSlow(self.patience) from None
        except OSError:
            raise ConnectionLost from None
        self.run(self.response.read_head())

    def run(self, script: Script[R]) -> R:
        """Drive a script to its end; TimeoutError once the deadline has passed."""
        try:
            want = next(script)
            while True:
                want = script.send(self._read(want))
        except StopIteration as end:
            result: R = end.value
            return result

    def _read(self, want: int) -> bytes:
        self._set_patience()
        try:
            data = self._file.read(want) if want else self._file.readline(wire.MAX_LINE)
        except TimeoutError:
            if self.deadline is not None and time.monotonic() >= self.deadline:
                raise
            raise wire.TooSlow(self.patience) from None
        except OSError:
            raise ConnectionLost from None
        if len(data) < want or not data.endswith(b"\n" if not want else b""):
            raise ConnectionLost
        return data

    def _set_patience(self) -> None:
        left = self.patience
        if self.deadline is not None:
            left = min(left, self.deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Client:
    """Calls to the daemon at the first of `sockets` that answers.

    `as_user` acts for another user, which only an operator may. `tokens` are those to speak by,
    each for the daemon at its socket; at any other the Unix account speaks. A call gives up after
    `patience` seconds of silence. A client holds no connection between calls and may be used by
    many threads. `reached` is the socket that answered last.
    """

    def __init__(
        self,
        sockets: Sequence[Path],
        *,
        as_user: str | None = None,
        patience: float = 10.0,
        tokens: Mapping[Path, str] | None = None,
    ) -> None:
        self.sockets = list(sockets)
        self.as_user = as_user
        self.patience = patience
        self.tokens = dict(tokens or {})
        self.reached: Path | None = None

    def get(self, path: str, query: Query | None = None) -> Answer:
        return self.call("GET", path, query=query)

    def post(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return self.call("POST", path, body=body, headers=headers)

    def put(self, path: str, body: Any) -> Answer:
        return self.call("PUT", path, body=body)

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", path)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, one answer."""
        fields = {**wire.as_user_header(self.as_user), **(headers or {})}
        connection = self._open(wire.Request(method, path, query, fields, body))
        try:
            content = connection.run(connection.response.read_body())
            response = connection.response
            return wire.parse_answer(response.status, content, response.headers)
        finally:
            connection.close()

    def items(self, path: str, query: Query | None = None) -> Iterator[dict[str, Any]]:
        """Every item of a list, over as many pages as it has."""
        page = 1
        while True:
            answer = self.get(path, {"limit": PAGE, **(query or {}), "page": page})
            yield from answer.data
            if not (answer.envelope.get("pagination") or {}).get("hasNextPage"):
                return
            page += 1

    def lines(self, path: str, query: Query | None = None) -> Iterator[str]:
        """A long answer, line by line."""
        splitter = wire.LineSplitter()
        for chunk in self._chunks(path, query):
            yield from splitter.feed(chunk)
        yield from (line for line in splitter.feed(b"\n") if line)

    def content(self, path: str, query: Query | None = None) -> bytes:
        """An answer that is no envelope: a picture."""
        return b"".join(self._chunks(path, query))

    def stream(
        self, query: Query | None = None, *, after: int | str | None = None, deadline: float | None
    ) -> Iterator[ServerEvent]:
        """One connection's worth of the event stream. Ends by raising, since the daemon never ends
        it: ConnectionLost or Unavailable when it broke, TimeoutError at `deadline`."""
        parser = wire.EventParser()
        query = {**(query or {}), "after": after}
        for chunk in self._chunks("/api/events/stream", query, deadline):
            yield from parser.feed(chunk)
        raise ConnectionLost

    def follow(
        self,
        query: Query | None = None,
        *,
        after: int | None = None,
        deadline: float | None = None,
        on_break: Callable[[DoorlockError], None] | None = None,
    ) -> Iterator[ServerEvent]:
        """The event stream across every break, from the position reached: nothing missed, nothing
        twice. The first connection's failure is raised when no `deadline` is set, later ones are
        told to `on_break` and tried again. TimeoutError at `deadline`."""
        position: int | str | None = after
        pause = FIRST_PAUSE
        connected = deadline is not None
        while True:
            try:
                for event in self.stream(query, after=position, deadline=deadline):
                    connected, pause = True, FIRST_PAUSE
                    position = _position_after(event, position)
                    yield event
            except (DaemonUnreachable, Unavailable) as error:
                if not connected:
                    raise
                if on_break is not None:
                    on_break(error)
            pause = _pause(pause, deadline)

    def _chunks(
        self, path: str, query: Query | None, deadline: float | None = None
    ) -> Iterator[bytes]:
        headers = wire.as_user_header(self.as_user)
        connection = self._open(wire.Request("GET", path, query, headers), deadline)
        connection.patience = wire.IDLE_LIMIT
        response = connection.response
        try:
            if response.status >= 400:
                body = connection.run(response.read_body())
                wire.parse_answer(response.status, body, response.headers)
            while chunk := connection.run(response.read_chunk()):
                yield chunk
        finally:
            connection.close()

    def _open(self, request: wire.Request, deadline: float | None = None) -> Connection:
        sock, path = self._connect()
        connection = Connection(sock, self.patience, deadline)
        try:
            connection.send(request.render(self.tokens.get(path)))
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> tuple[socket.socket, Path]:
        failures = []
        for path in self.sockets:
            try:
                sock = _connect_to(path, self.patience)
            except OSError as error:
                failures.append((path, error))
                continue
            self.reached = path
            return sock, path
        raise wire.unreachable(failures)


def _connect_to(path: Path, patience: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(patience)
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


def _position_after(event: ServerEvent, position: int | str | None) -> int | str | None:
    """Where to go on from: the event's own id, or what `hello` says when no position was asked."""
    if event.id:
        return event.id
    if event.name == "hello" and position is None:
        greeted: int | None = event.data.get("position")
        return greeted
    return position


def _pause(seconds: float, deadline: float | None) -> float:
    """Wait before the next try; the pause after it is longer. TimeoutError at `deadline`."""
    left = seconds if deadline is None else min(seconds, deadline - time.monotonic())
    if left <= 0:
        raise TimeoutError
    time.sleep(left)
    return min(seconds * 2, LONGEST_PAUSE)

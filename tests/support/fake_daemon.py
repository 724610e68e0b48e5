"""A daemon that answers what a test tells it to: HTTP over a Unix socket, in a thread."""

from __future__ import annotations

import contextlib
import json
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

STAMP = "2026-11-23T18:07:52.123Z"


@dataclass
class Request:
    """What the client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    """An envelope to answer with."""

    data: Any = None
    status: int = 200
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(status: int, code: str, message: str = "no", **extra: Any) -> Reply:
    headers = extra.pop("headers", {})
    envelope = {"code": code, "message": message, **extra}
    return Reply(None, status, envelope, headers)


class Raw(bytes):
    """Bytes to answer with as they stand; the connection is closed after them."""


class Stream:
    """A chunked answer, a chunk an item; a callable item is called, and sent if it returns bytes.

    With `cut` the connection is dropped at the end instead of being ended in order.
    """

    def __init__(self, items: Iterable[Any], *, cut: bool = True) -> None:
        self.items = items
        self.cut = cut


def frame(name: str, data: Any, seq: int | None = None) -> bytes:
    """One frame of the event stream."""
    lines = ([f"id: {seq}"] if seq is not None else []) + [f"event: {name}"]
    return "\n".join([*lines, f"data: {json.dumps(data)}", "", ""]).encode()


HANG_UP = Raw(b"")
Answerer = Callable[[Request], Any]


class FakeDaemon:
    """Routes are set by the test; what came in is in `requests`. A route without an answer is 404.

    An answer may be data, a Reply, Raw, a Stream, a list wrapped in `Turns` (one a call, the last
    again and again), or a function of the request that returns any of these.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dl"))
        self.socket = self.folder / "d.sock"
        self.requests: list[Request] = []
        self.routes: dict[tuple[str, str], Any] = {}
        self._server: _Server | None = None

    def __enter__(self) -> FakeDaemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        self._server = _Server(str(self.socket), _Handler)
        self._server.daemon_threads = True
        self._server.fake = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self.socket.unlink(missing_ok=True)
            self._server = None

    def on(self, method: str, path: str, answer: Any) -> None:
        self.routes[method, path] = answer

    def seen(self, method: str, path: str) -> list[Request]:
        return [each for each in self.requests if (each.method, each.path) == (method, path)]

    def answer(self, request: Request) -> Any:
        self.requests.append(request)
        answer = self.routes.get((request.method, request.path))
        if answer is None:
            return failure(404, "not_found", f"no such thing: {request.path}")
        if isinstance(answer, Turns):
            answer = answer.next()
        return answer(request) if callable(answer) else answer


class Turns:
    """One answer a call; the last stays."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def next(self) -> Any:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class _Server(socketserver.ThreadingUnixStreamServer):
    fake: FakeDaemon


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = self._read()
        if request is None:
            return
        answer = cast(_Server, self.server).fake.answer(request)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._write(answer)

    def _read(self) -> Request | None:
        line = self.rfile.readline().decode()
        if not line:
            return None
        method, target, _ = line.split()
        headers = {}
        while (header := self.rfile.readline().decode().strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        parsed = json.loads(body) if body else None
        return Request(method, unquote(parts.path), query, headers, parsed)

    def _write(self, answer: Any) -> None:
        if isinstance(answer, Raw):
            self.wfile.write(answer)
        elif isinstance(answer, Stream):
            self._write_stream(answer)
        else:
            self._write_reply(answer if isinstance(answer, Reply) else Reply(answer))

    def _write_reply(self, reply: Reply) -> None:
        good = reply.status < 400
        envelope = {"success": good, "data": reply.data, "timestamp": STAMP, **reply.extra}
        body = json.dumps(envelope).encode()
        lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)

    def _write_stream(self, stream: Stream) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for item in stream.items:
            chunk = item() if callable(item) else item
            if isinstance(chunk, bytes) and chunk:
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.flush()
        if not stream.cut:
            self.wfile.write(b"0\r\n\r\n")

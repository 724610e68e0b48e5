"""HTTP/1.1 and server-sent events without I/O: what both clients say to the daemon and understand.

A script is a generator that yields how much it wants to read (0 is a line) and returns what it
made of it, so that a blocking socket and an asyncio stream can drive the same code. Standard
library only, and little of it: the command line imports this on its quick path.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from doorlock import __version__
from doorlock.errors import (
    BadInput,
    DaemonUnreachable,
    DoorlockError,
    NotAllowed,
    Unavailable,
    all_errors,
)
from doorlock.paths import SYSTEM_SOCKET
from doorlock.protocol import AS_USER_HEADER

MAX_LINE = 65536
MAX_HEADERS = 100
MAX_BODY = 256 * 1024 * 1024
IDLE_LIMIT = 45.0
"""Seconds without a byte after which a stream counts as broken; the daemon pings every 15."""

R = TypeVar("R")
Script = Generator[int, bytes, R]
Query = Mapping[str, Any]


class Answer(NamedTuple):
    """What the daemon answered: `data`, and the envelope that it came in."""

    data: Any
    envelope: Mapping[str, Any]
    status: int = 200

    @property
    def position(self) -> int | None:
        """Events after this one are news to whoever has read `data`."""
        return self.envelope.get("position")


class ServerEvent(NamedTuple):
    """One frame of the event stream; `data` is parsed, `id` is empty where the frame has none."""

    name: str
    data: Any
    id: str = ""


class ConnectionLost(DaemonUnreachable):
    """The connection broke after the request went out: whether it was acted on is unknown."""

    def __init__(self) -> None:
        super().__init__(
            "the daemon closed the connection before it answered",
            hint="see whether it is running: doorlock daemon status",
        )


def device_path(ref: str, *rest: str) -> str:
    """The path of a device, or of something below it, however odd its name is."""
    return "/".join(["/api/device", *(segment(part) for part in (ref, *rest))])


def segment(text: str) -> str:
    """`text` as one segment of a path. `.` and `..` would be taken for steps: they are refused."""
    if text in {"", ".", ".."}:
        raise BadInput(f"{text!r} is not a name", hint="see the names with: doorlock ls")
    return quote(text, safe="")


class Request(NamedTuple):
    """A request before it is known which daemon it goes to."""

    method: str
    path: str
    query: Query | None
    headers: Mapping[str, str]
    body: Any = None

    def render(self, token: str | None) -> bytes:
        """As it goes out, spoken for by `token`."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        headers = {**bearer, **self.headers}
        return render_request(self.method, self.path, self.query, headers, self.body)


def render_request(
    method: str, path: str, query: Query | None, headers: Mapping[str, str], body: Any
) -> bytes:
    """The request as it goes out. Raises BadInput where a header would break its line."""
    payload = b"" if body is None else json.dumps(body).encode()
    fields = {
        "Host": "localhost",
        "User-Agent": f"doorlock/{__version__}",
        "Connection": "close",
        **headers,
    }
    if payload or method not in {"GET", "HEAD"}:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(payload))}
    lines = [f"{method} {path}{render_query(query)} HTTP/1.1"]
    lines += [f"{name}: {_header_value(value)}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + payload


def render_query(query: Query | None) -> str:
    present = {name: value for name, value in (query or {}).items() if value not in (None, [], ())}
    return "?" + urlencode(present, doseq=True) if present else ""


def as_user_header(user: str | None) -> dict[str, str]:
    return {AS_USER_HEADER: user} if user else {}


def _header_value(value: str) -> str:
    if not value.isprintable():
        raise BadInput("a name holds a control character")
    return value


class Response:
    """One response as it arrives: `read_head` once, then `read_chunk` until it returns nothing."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._left = 0
        self._done = False

    def read_head(self) -> Script[None]:
        words = (yield 0).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise unreadable()
        self.status = int(words[1])
        yield from self._read_headers()
        length = self.headers.get("content-length", "0")
        if not length.isdigit():
            raise unreadable()
        self._left = int(length)

    def _read_headers(self) -> Script[None]:
        for _ in range(MAX_HEADERS):
            line = (yield 0).strip()
            if not line:
                return
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.strip().lower()] = value.strip()
        raise unreadable()

    def read_chunk(self) -> Script[bytes]:
        """The next piece of the body, `b""` at its end."""
        if self._done:
            return b""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return (yield from self._read_coded_chunk())
        self._done = True
        if self._left > MAX_BODY:
            raise unreadable()
        return (yield self._left) if self._left else b""

    def _read_coded_chunk(self) -> Script[bytes]:
        size_line = (yield 0).split(b";")[0].strip()
        try:
            size = int(size_line, 16)
        except ValueError:
            raise unreadable() from None
        if not 0 <= size <= MAX_BODY:
            raise unreadable()
        chunk = (yield size) if size else b""
        while (yield 0).strip() and not size:
            pass
        self._done = not size
        return chunk

    def read_body(self) -> Script[bytes]:
        chunks = []
        while chunk := (yield from self.read_chunk()):
            chunks.append(chunk)
        return b"".join(chunks)


class LineSplitter:
    """Bytes in pieces of any size, lines out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.rstrip(b"\r").decode("utf-8", "replace") for line in lines]


class EventParser:
    """Bytes of an event stream in, whole frames out. Comments (pings) come to nothing."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> list[ServerEvent]:
        frames = []
        for line in self._lines.feed(data):
            if not line:
                frames += self._finish()
            else:
                self._take(line)
        return frames

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            value = f"{self._fields['data']}\n{value}"
        self._fields[name] = value

    def _finish(self) -> list[ServerEvent]:
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return []
        data = parse_json(fields["data"].encode())
        return [ServerEvent(fields.get("event", "message"), data, fields.get("id", ""))]


def parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise unreadable() from None


def parse_answer(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    """The envelope as an answer. Raises the DoorlockError that it carries."""
    envelope = parse_json(body)
    if not isinstance(envelope, dict):
        raise unreadable()
    if status < 400 and envelope.get("success"):
        return Answer(envelope.get("data"), envelope, status)
    raise error_from(envelope, headers)


def error_from(envelope: Mapping[str, Any], headers: Mapping[str, str]) -> DoorlockError:
    """The error behind a failure's envelope; an unknown code becomes a plain DoorlockError."""
    classes = {kind.code: kind for kind in all_errors()}
    kind = classes.get(str(envelope.get("code")), DoorlockError)
    details = dict(envelope.get("details") or {})
    if errors := envelope.get("errors"):
        details["errors"] = errors
    if retry_after := headers.get("retry-after"):
        details.setdefault("retryAfter", retry_after)
    message = str(envelope.get("message") or "the daemon refused without a reason")
    return kind(message, hint=envelope.get("hint"), details=details)


class TooSlow(Unavailable):
    """No answer in time: whether the request was acted on is unknown."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the daemon did not answer within {seconds:g}s",
            hint="ask it why with: doorlock doctor",
        )


def unreadable() -> DoorlockError:
    return DoorlockError(
        "the answer cannot be understood: is that the doorlock daemon?",
        hint="compare the versions with: doorlock version",
    )


def unreachable(failures: Iterable[tuple[Path, OSError]]) -> DoorlockError:
    """What to tell a person about sockets that could not be opened."""
    tried = list(failures)
    for path, error in tried:
        if isinstance(error, PermissionError):
            return NotAllowed(
                f"this account may not use the socket {path}",
                hint="its group may: ls -l shows which, and usermod -aG adds an account to it",
            )
    where = " or ".join(str(path) for path, _ in tried)
    chosen = len(tried) == 1 and tried[0][0] != SYSTEM_SOCKET
    start = "doorlock daemon run" + (f" --socket {tried[0][0]}" if chosen else "")
    return DaemonUnreachable(
        f"the doorlock daemon is not running: nobody answers at {where}",
        hint=f"start it with: {start}",
    )

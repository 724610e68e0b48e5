"""The client against a daemon that answers well, badly, slowly and not at all."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock import client_wire as wire
from doorlock.client import Client
from doorlock.client_async import AsyncClient
from doorlock.client_wire import ConnectionLost, EventParser, ServerEvent, TooSlow
from doorlock.errors import (
    BadInput,
    DaemonUnreachable,
    DoorlockError,
    NotAllowed,
    all_errors,
)
from doorlock.paths import client_socket_candidates, config_path, socket_path, state_dir
from tests.support.fake_daemon import (
    HANG_UP,
    FakeDaemon,
    Raw,
    Reply,
    Stream,
    Turns,
    failure,
    frame,
)


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    with FakeDaemon() as fake:
        yield fake


@pytest.fixture
def client(daemon: FakeDaemon) -> Client:
    return Client([daemon.socket], patience=5)


def test_an_answer_carries_its_data_and_position(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/api/device", Reply([{"id": "1"}], extra={"position": 41}))
    answer = client.get("/api/device", {"page": 2, "status": None})
    assert (answer.data, answer.position) == ([{"id": "1"}], 41)
    assert daemon.requests[0].query == {"page": "2"}


def test_a_body_and_the_user_to_act_for_are_sent(daemon: FakeDaemon) -> None:
    daemon.on("POST", "/api/users", Reply({"id": "7"}, status=201))
    client = Client([daemon.socket], as_user="zoë")
    assert client.post("/api/users", {"username": "ü"}, headers={"Idempotency-Key": "k"}).data
    request = daemon.requests[0]
    assert request.body == {"username": "ü"}
    assert request.headers["x-doorlock-as"] == "zoë"
    assert request.headers["idempotency-key"] == "k"
    assert "origin" not in request.headers


def test_a_name_cannot_break_out_of_a_header(daemon: FakeDaemon) -> None:
    client = Client([daemon.socket], as_user="eve\r\nX-Evil: 1")
    with pytest.raises(BadInput):
        client.get("/api/device")
    assert not daemon.requests


@pytest.mark.parametrize("name", ["a/b", "a?b", "a b", "ü", "%2e", "a#b", "a\nb"])
def test_any_name_is_one_segment_of_the_path(daemon: FakeDaemon, client: Client, name: str) -> None:
    daemon.on("GET", f"/api/device/{name}", {"ok": 1})
    assert client.get(wire.device_path(name)).data == {"ok": 1}


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_is_a_step_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        wire.device_path(name)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.code)
def test_every_code_comes_back_as_its_class(
    daemon: FakeDaemon, client: Client, kind: type[DoorlockError]
) -> None:
    details = {"matches": [1]}
    refusal = failure(409, kind.code, "why", hint="do this", details=details)
    daemon.on("GET", "/x", refusal)
    with pytest.raises(kind) as caught:
        client.get("/x")
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("why", "do this")
    assert caught.value.details == details


def test_wrong_fields_and_the_time_to_wait_are_kept(daemon: FakeDaemon, client: Client) -> None:
    errors = [{"field": "name", "message": "too long"}]
    daemon.on("GET", "/x", failure(400, "bad_input", errors=errors))
    daemon.on("GET", "/y", failure(429, "rate_limited", headers={"Retry-After": "3"}))
    with pytest.raises(DoorlockError) as caught:
        client.get("/x")
    assert caught.value.details["errors"] == errors
    with pytest.raises(DoorlockError) as caught:
        client.get("/y")
    assert caught.value.details["retryAfter"] == "3"


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n???",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    ],
)
def test_nonsense_is_an_error_not_a_crash(daemon: FakeDaemon, client: Client, raw: bytes) -> None:
    daemon.on("GET", "/x", Raw(raw))
    with pytest.raises(DoorlockError, match="cannot be understood"):
        client.get("/x")


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]
)
def test_an_answer_cut_short_is_a_lost_connection(
    daemon: FakeDaemon, client: Client, raw: bytes
) -> None:
    daemon.on("GET", "/x", Raw(raw))
    with pytest.raises(ConnectionLost):
        client.get("/x")


def test_a_chunked_answer_is_put_together(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/x", Stream([b'{"success": true,', b' "data": [1]}'], cut=False))
    assert client.get("/x").data == [1]


def test_a_silent_daemon_is_given_up_on(daemon: FakeDaemon) -> None:
    release = threading.Event()
    daemon.on("GET", "/x", lambda _: release.wait(10))
    with pytest.raises(TooSlow):
        Client([daemon.socket], patience=0.05).get("/x")
    release.set()


def test_nobody_listening_names_the_place_and_the_way_to_start(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable) as caught:
        Client([tmp_path / "none.sock"]).get("/x")
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint is not None and "doorlock daemon run" in caught.value.hint


def test_a_socket_left_behind_is_nobody_listening(tmp_path: Path) -> None:
    with FakeDaemon() as fake:
        stale = fake.folder / "stale.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(stale))
        with pytest.raises(DaemonUnreachable):
            Client([stale]).get("/x")


def test_a_socket_that_is_not_ours_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon
) -> None:
    def refuse(_self: Any, _address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("doorlock.client.socket.socket", type("S", (socket.socket,), {}))
    monkeypatch.setattr("doorlock.client.socket.socket.connect", refuse, raising=False)
    with pytest.raises(NotAllowed):
        Client([daemon.socket]).get("/x")


def test_the_second_socket_is_tried_when_the_first_is_dead(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/x", 1)
    assert Client([Path("/nonexistent/s"), daemon.socket]).get("/x").data == 1


def test_items_come_from_every_page(daemon: FakeDaemon, client: Client) -> None:
    def page(request: Any) -> Reply:
        number = int(request.query["page"])
        return Reply([{"n": number}], extra={"pagination": {"hasNextPage": number < 3}})

    daemon.on("GET", "/api/device", page)
    assert [item["n"] for item in client.items("/api/device")] == [1, 2, 3]


def test_lines_are_whole_however_they_are_cut(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/x", Stream([b'{"a"', b": 1}\n{", b'"b": 2}\n{"c": 3}'], cut=False))
    assert list(client.lines("/x")) == ['{"a": 1}', '{"b": 2}', '{"c": 3}']


def test_lines_of_a_broken_answer_do_not_end_quietly(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/x", Stream([b"1\n"]))
    with pytest.raises(ConnectionLost):
        list(client.lines("/x"))


def test_following_goes_on_where_it_broke(daemon: FakeDaemon, client: Client) -> None:
    daemon.on(
        "GET",
        "/api/events/stream",
        Turns(
            Stream([frame("hello", {"position": 4}), frame("a", {"n": 5}, 5)]),
            HANG_UP,
            Stream([b": ping\n\n", frame("hello", {"position": 5}), frame("b", {"n": 6}, 6)]),
        ),
    )
    broken: list[DoorlockError] = []
    following = client.follow({"device": "d"}, on_break=broken.append)
    assert [next(following).name for _ in range(4)] == ["hello", "a", "hello", "b"]
    assert [request.query.get("after") for request in daemon.requests] == [None, "5", "5"]
    assert len(broken) == 2


def test_following_resumes_from_the_greeting_before_any_event(
    daemon: FakeDaemon, client: Client
) -> None:
    turns = Turns(Stream([frame("hello", {"position": 9})]), Stream([frame("a", 1, 10)]))
    daemon.on("GET", "/api/events/stream", turns)
    following = client.follow()
    assert [next(following).name for _ in range(2)] == ["hello", "a"]
    assert daemon.requests[1].query["after"] == "9"


def test_following_without_a_deadline_fails_at_once_when_nobody_is_there() -> None:
    with pytest.raises(DaemonUnreachable):
        next(Client([Path("/nonexistent/s")]).follow())


def test_following_ends_at_its_deadline_while_the_stream_is_silent(
    daemon: FakeDaemon, client: Client
) -> None:
    release = threading.Event()
    daemon.on("GET", "/api/events/stream", Stream([frame("hello", {}), lambda: release.wait(10)]))
    with pytest.raises(TimeoutError):
        list(client.follow(deadline=time.monotonic() + 0.1))
    release.set()


def test_following_ends_at_its_deadline_while_nobody_is_there() -> None:
    following = Client([Path("/nonexistent/s")]).follow(deadline=time.monotonic() + 0.1)
    with pytest.raises(TimeoutError):
        list(following)


def test_a_refused_stream_is_not_tried_again(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/api/events/stream", failure(403, "not_allowed"))
    with pytest.raises(NotAllowed):
        next(client.follow(deadline=time.monotonic() + 5))
    assert len(daemon.requests) == 1


FRAMES = [
    ServerEvent("hello", {"position": 3}),
    ServerEvent("command_sent", {"text": "ü\nx"}, "4"),
    ServerEvent("message", [1, 2], "5"),
]
WHOLE = (
    b'event: hello\r\ndata: {"position": 3}\r\n\r\n: ping\n\nid: 4\nevent: command_sent\n'
    b'data: {"text":\ndata: "\xc3\xbc\\nx"}\n\nid: 5\ndata:[1, 2]\n\n'
)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=20))
def test_frames_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    parser, found = EventParser(), []
    edges = [0, *sorted(cuts), len(WHOLE)]
    for start, end in itertools.pairwise(edges):
        found += parser.feed(WHOLE[start:end])
    assert found == FRAMES


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_error(data: bytes) -> None:
    try:
        EventParser().feed(data)
    except DoorlockError as error:
        assert error.code == "unexpected"


async def test_the_awaited_client_answers_alike(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/api/device", Reply([{"n": 1}], extra={"position": 41}))
    daemon.on("PUT", "/api/device/x", {"n": 2})
    daemon.on("DELETE", "/api/device/x", failure(403, "not_allowed"))
    client = AsyncClient([daemon.socket], as_user="zoë")
    assert (await client.get("/api/device")).position == 41
    assert (await client.put("/api/device/x", {"name": "y"})).data == {"n": 2}
    assert [item async for item in client.items("/api/device")] == [{"n": 1}]
    with pytest.raises(NotAllowed):
        await client.delete("/api/device/x")
    assert daemon.requests[0].headers["x-doorlock-as"] == "zoë"


async def test_the_awaited_stream_says_when_it_breaks(daemon: FakeDaemon) -> None:
    items = [frame("hello", {"position": 1}), frame("a", {"n": 2}, 2)]
    daemon.on("GET", "/api/events/stream", Stream(items))
    found = []
    with pytest.raises(ConnectionLost):
        async for event in AsyncClient([daemon.socket]).stream({"type": "a"}, after=1):
            found.append(event)
    assert [event.name for event in found] == ["hello", "a"]
    assert daemon.requests[0].query == {"type": "a", "after": "1"}


async def test_the_awaited_client_tells_why_it_cannot(daemon: FakeDaemon) -> None:
    release = threading.Event()
    daemon.on("GET", "/slow", lambda _: release.wait(10))
    daemon.on("GET", "/cut", HANG_UP)
    with pytest.raises(DaemonUnreachable):
        await AsyncClient([Path("/nonexistent/s")]).get("/x")
    with pytest.raises(ConnectionLost):
        await AsyncClient([daemon.socket]).get("/cut")
    with pytest.raises(TooSlow):
        await AsyncClient([daemon.socket], patience=0.05).get("/slow")
    release.set()


def test_a_persons_places_and_the_systems() -> None:
    person = {"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/7"}
    system = Path("/run/doorlock/doorlock.sock")
    own = Path("/run/user/7/doorlock/doorlock.sock")
    assert socket_path(person, 7) == own
    assert client_socket_candidates(person, 7) == [own, system]
    assert client_socket_candidates(person, 0) == [system]
    assert socket_path({"HOME": "/home/ann"}, 7) == Path(
        "/home/ann/.local/state/doorlock/doorlock.sock"
    )
    assert config_path(person, 0) == Path("/etc/doorlock/doorlock.toml")
    assert config_path(person, 7) == Path("/home/ann/.config/doorlock/doorlock.toml")
    assert state_dir(person, 0) == Path("/var/lib/doorlock")
    assert state_dir({**person, "XDG_STATE_HOME": "/s"}, 7) == Path("/s/doorlock")
    assert state_dir({**person, "XDG_STATE_HOME": "not/absolute"}, 7) == Path(
        "/home/ann/.local/state/doorlock"
    )


def test_a_chosen_socket_is_the_only_one() -> None:
    chosen = {"HOME": "/h", "DOORLOCK_DAEMON__SOCKET": "/x/y.sock"}
    assert client_socket_candidates(chosen, 7) == [Path("/x/y.sock")]
    assert socket_path(chosen, 0) == Path("/x/y.sock")
    own = {**chosen, "DOORLOCK_SOCKET": "/x/z.sock"}
    assert client_socket_candidates(own, 7) == [Path("/x/z.sock")]
    assert socket_path(own, 7) == Path("/x/y.sock")

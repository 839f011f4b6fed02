"""Bytes in, answers out: whole, byte by byte and split at every place; pipelines, bodies, refusals, ends."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from harness import (
    MOMENT,
    Answer,
    Client,
    Occupied,
    Rig,
    chunked,
    echo,
    get,
    hello,
    is_open,
    post,
    undated,
)

CLOSE = "Connection: close"

# name -> (bytes, what the application says that it got, in order; a number: the status of a refusal)
STREAMS: dict[str, tuple[bytes, list[bytes | int]]] = {
    "one": (get("/a"), [b"GET /a "]),
    "closing": (get("/a", CLOSE), [b"GET /a "]),
    "two": (get("/a") + get("/b"), [b"GET /a ", b"GET /b "]),
    "five": (b"".join(get(f"/{n}") for n in range(5)), [f"GET /{n} ".encode() for n in range(5)]),
    "blank lines between": (get("/a") + b"\r\n\r\n" + get("/b"), [b"GET /a ", b"GET /b "]),
    "body": (post(b"body", "/a"), [b"POST /a body"]),
    "empty body": (post(b"", "/a"), [b"POST /a "]),
    "body and more": (post(b"body", "/a") + get("/b"), [b"POST /a body", b"GET /b "]),
    "bodies": (post(b"x" * 50) + post(b"y" * 60, "/b"), [b"POST / " + b"x" * 50, b"POST /b " + b"y" * 60]),
    "chunked": (chunked(b"hello", b" ", b"world"), [b"POST / hello world"]),
    "chunked and more": (chunked(b"a" * 20, b"b") + get("/b"), [b"POST / " + b"a" * 20 + b"b", b"GET /b "]),
    "chunked, trailers": (
        chunked(b"abc", end=b"0\r\nX-Sum: 1\r\n\r\n") + get("/b"),
        [b"POST / abc", b"GET /b "],
    ),
    "no chunks": (chunked() + get("/b"), [b"POST / ", b"GET /b "]),
    "spooled": (post(b"s" * 90) + get("/b"), [b"POST / " + b"s" * 90, b"GET /b "]),
    "spooled chunks": (chunked(b"s" * 50, b"t" * 50), [b"POST / " + b"s" * 50 + b"t" * 50]),
    "last one closes": (get("/a") + get("/b", CLOSE) + get("/c"), [b"GET /a ", b"GET /b "]),
    "1.0": (get("/a", version="1.0") + get("/b"), [b"GET /a "]),
    "1.0 kept": (get("/a", "Connection: keep-alive", version="1.0") + get("/b"), [b"GET /a ", b"GET /b "]),
    "bad second": (get("/a") + b"BAD\r\n\r\n" + get("/b"), [b"GET /a ", 400]),
    "bad chunk": (chunked(b"abc", end=b"x\r\n") + get("/b"), [400]),
    "too large": (get("/a") + post(b"z" * 201) + get("/b"), [b"GET /a ", 413]),
    "too large in chunks": (chunked(b"z" * 150, b"z" * 51) + get("/b"), [413]),
    "connect": (get("test:80", method="CONNECT") + get("/b"), [501]),
}


def contents(data: bytes) -> list[bytes | int]:
    """The bodies of good answers, the statuses of refusals, in order."""
    found: list[bytes | int] = []
    while data:
        answer = Answer(data)
        assert answer.whole
        found.append(answer.body if answer.status == 200 else answer.status)
        data = answer.rest
    return found


def exchange(pieces: list[bytes], **options: Any) -> tuple[bytes, str, Rig]:
    with Rig(echo, body_memory_limit=80, body_limit=200, **options) as rig:
        client = rig.client()
        got = b""
        for piece in pieces:
            try:
                got += client.ask(piece)
            except BrokenPipeError:  # a piece for a connection that has been closed
                got += client.take()
        return undated(got), client.state, rig


@pytest.mark.parametrize("name", STREAMS)
def test_whole_byte_by_byte_and_split(name: str) -> None:
    data, expected = STREAMS[name]
    whole, state, rig = exchange([data])
    assert contents(whole) == expected
    assert rig.faults == []
    by_byte, state_by_byte, rig = exchange([data[i : i + 1] for i in range(len(data))])
    assert (by_byte, rig.faults) == (whole, [])
    if state != "CLOSED" and state_by_byte != "CLOSED":
        assert state_by_byte == state
    for place in range(1, len(data)):
        in_two, _, rig = exchange([data[:place], data[place:]])
        assert in_two == whole, place
        assert rig.faults == []


@pytest.mark.parametrize("name", ["five", "body and more", "chunked and more", "spooled", "last one closes"])
def test_first_bytes_are_there_at_accept(name: str) -> None:
    """The first turn is before epoll knows the descriptor."""
    data, expected = STREAMS[name]
    with Rig(echo, body_memory_limit=80) as rig:
        for size in (len(data), 10, 1):
            client = rig.connect().send(data[:size])
            rig.settle(client.connection, client.connection.turn(0))
            got = b""
            if data[size:]:
                client.send(data[size:])
            rig.turns()
            got += client.take()
            assert contents(got) == expected


def test_one_request_is_closed_without_ever_being_watched() -> None:
    with Rig() as rig:
        client = rig.connect().send(get("/", CLOSE))
        client.connection.turn(0)
        assert client.state == "CLOSED"
        assert rig.station.members == {}
        assert Answer(client.take()).body == b"Hello"


def test_others_get_their_turn_between_pipelined_requests() -> None:
    order: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        order.append(environ["PATH_INFO"])
        return hello(environ, start_response)

    with Rig(app) as rig:
        one, other = rig.client(), rig.client()
        one.send(b"".join(get(f"/one{n}") for n in range(4)))
        other.send(b"".join(get(f"/other{n}") for n in range(4)))
        rig.turns()
    assert sorted(order[:4]) == ["/one0", "/one1", "/other0", "/other1"]
    assert sorted(order) == sorted([f"/one{n}" for n in range(4)] + [f"/other{n}" for n in range(4)])


def test_pipeline_longer_than_the_buffer() -> None:
    """64 KiB are received at once; what does not fit waits in the kernel or is kept."""
    requests = b"".join(get(f"/{n}", "X-Fill: " + "f" * 700) for n in range(300))
    with Rig(echo) as rig:
        client = rig.client()
        got = b""
        while requests:
            requests = requests[client.offer(requests) :]
            rig.turns()
            got += client.take()
        assert contents(got) == [f"GET /{n} ".encode() for n in range(300)]


def test_head_larger_than_the_first_read() -> None:
    fields = [f"X-{n}: {'v' * 8000}" for n in range(7)]
    with Rig(echo) as rig:
        assert contents(rig.client().ask(get("/a", *fields) + get("/b"))) == [b"GET /a ", b"GET /b "]


# --- bodies ---


def test_body_goes_on_while_others_are_served() -> None:
    """A turn receives a bounded share of a large upload."""
    size = 1 << 20
    with Rig(echo, body_memory_limit=1 << 21) as rig:
        upload, other = rig.client(), rig.client()
        sent = upload.offer(get("/", f"Content-Length: {size}", method="POST"))
        data = b"u" * size
        turns = 0
        while data:
            sent = upload.offer(data)
            data = data[sent:]
            assert other.answer(get("/o")).body == b"GET /o "
            turns += 1
        got = b""
        while len(got) < size:
            rig.turn()
            got += upload.take()
        assert contents(got) == [b"POST / " + b"u" * size]
        assert turns > 1


def test_content_length_of_a_chunked_body_is_told() -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((environ["CONTENT_LENGTH"], environ["wsgi.input_terminated"]))
        return hello(environ, start_response)

    with Rig(app) as rig:
        rig.client().ask(chunked(b"12345", b"678"))
    assert seen == [("8", True)]


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        (["Content-Length: 5", "Expect: 100-continue"], True),
        (["Transfer-Encoding: chunked", "Expect: 100-continue"], True),
        (["Content-Length: 0", "Expect: 100-continue"], False),
        (["Expect: 100-continue"], False),
        (["Content-Length: 5"], False),
    ],
)
def test_continue_is_said_once_and_where_a_body_comes(fields: list[str], first: bool) -> None:
    with Rig(echo) as rig:
        client = rig.client()
        got = client.ask(get("/", *fields, method="POST"))
        if first:
            assert got == b"HTTP/1.1 100 Continue\r\n\r\n"
            chunks = "Transfer-Encoding: chunked" in fields
            body = b"5\r\nhello\r\n0\r\n\r\n" if chunks else b"hello"
            assert client.ask(body[:3]) == b""
            assert contents(client.ask(body[3:])) == [b"POST / hello"]
        elif "Content-Length: 5" in fields:
            assert got == b""
        else:
            assert contents(got) == [b"POST / "]


def test_no_continue_when_the_body_is_here_already() -> None:
    with Rig(echo) as rig:
        data = post(b"hello", "/", "Expect: 100-continue")
        assert contents(rig.client().ask(data)) == [b"POST / hello"]
        client = rig.client()
        assert client.ask(data[:-2]) == b""
        assert contents(client.ask(data[-2:])) == [b"POST / hello"]


@pytest.mark.parametrize("fields", [["Expect: 100-continue"], []])
def test_too_large_is_refused_before_the_body_comes(fields: list[str]) -> None:
    with Rig(echo, body_limit=100) as rig:
        client = rig.client()
        got = client.ask(get("/", "Content-Length: 101", *fields, method="POST"))
        assert Answer(got).status == 413
        assert client.state == "LINGER"
        assert rig.refusals == ["body_too_large"]
        client = rig.client()
        got = client.ask(get("/", "Transfer-Encoding: chunked", method="POST") + b"65\r\nx")
        assert Answer(got).status == 413  # by the chunk's size, before its data


def test_body_limits_are_inclusive() -> None:
    with Rig(echo, body_limit=100) as rig:
        client = rig.client()
        assert contents(client.ask(post(b"b" * 100))) == [b"POST / " + b"b" * 100]
        assert contents(client.ask(chunked(b"b" * 60, b"b" * 40))) == [b"POST / " + b"b" * 100]


def test_no_limit_is_no_limit_in_both_framings() -> None:
    with Rig(echo, body_limit=0) as rig:
        assert contents(rig.client().ask(post(b"b" * 1000))) == [b"POST / " + b"b" * 1000]
        assert contents(rig.client().ask(chunked(b"b" * 1000))) == [b"POST / " + b"b" * 1000]


# --- refusals ---


def test_refusal_is_answered_in_full_and_logged() -> None:
    with Rig(log='%(r)s %(s)s %(B)s "%(h)s"') as rig:
        client = rig.client()
        data = client.ask(get("/a b"))
        answer = Answer(data)
        assert (answer.status, answer.reason) == (400, "Bad Request")
        assert answer.get("Connection") == "close"
        assert answer.get("Content-Type") == "text/plain; charset=iso-8859-1"
        assert client.state == "LINGER"
        assert client.ended == "eof"  # our side is shut
        assert rig.refusals == ["target"]
        assert rig.worker.client_faults == 1
        assert rig.worker.statuses[4] == 1
        (line,) = rig.logged()
        assert " 400 " in line


def test_refusal_of_head_has_no_body() -> None:
    with Rig() as rig:
        client = rig.client()
        data = client.ask(get("/", "Content-Length: x", method="HEAD"))
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert body == b""


def test_method_of_the_request_before_does_not_count() -> None:
    """A timeout that follows a HEAD request on the same connection is answered with its body."""
    with Rig(head_timeout=MOMENT) as rig:
        client = rig.client()
        client.answer(get("/", method="HEAD"), head_only=True)
        client.ask(b"GET / HT")
        rig.expire()
        answer = Answer(client.take())
        assert answer.status == 408
        assert answer.whole


def test_lingering_client_is_read_until_it_ends() -> None:
    with Rig() as rig:
        client = rig.client()
        client.ask(b"\0\r\n\r\n")
        for _ in range(3):
            assert client.ask(b"more" * 1000) == b""
            assert client.state == "LINGER"
        client.half_close()
        rig.turns()
        assert client.state == "CLOSED"


def test_client_that_does_not_read_is_refused_all_the_same() -> None:
    with Rig() as rig:
        client = rig.client()
        client.close()
        rig.turns()
        assert client.state == "CLOSED"
        client = rig.client().send(b"\0\r\n\r\n")
        client.close()
        rig.turns()
        assert client.state == "CLOSED"
        assert rig.worker.statuses[0] == 1


# --- clients that leave ---

MOMENTS = {
    "new": b"",
    "in the method": b"GE",
    "in a field": b"GET / HTTP/1.1\r\nHo",
    "before a body": get("/", "Content-Length: 10", method="POST"),
    "in a body": post(b"1234567890")[:-3],
    "in a spooled body": post(b"s" * 5000)[:-3],
    "in a chunk": chunked(b"1234567890", end=b"")[:-5],
    "in a spooled chunk": chunked(b"s" * 5000, end=b"5\r\nab"),
    "after a request": get(),
    "in a second one": get() + b"GET /",
}


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_client_leaves(moment: str, reset: bool, tcp: bool) -> None:
    with Rig(echo, tcp=tcp, body_memory_limit=1000) as rig:
        client = rig.client()
        if MOMENTS[moment]:
            client.send(MOMENTS[moment])
            rig.until(lambda: client.state != "OPEN" or rig.worker.requests == 1)
            rig.turns()
        leave(client, reset)
        rig.until(lambda: client.state == "CLOSED")
        taken = Occupied(client.fd)
        assert rig.worker.connections == 0
        assert rig.station.members == {}
        for spool in rig.spools:
            assert not is_open(spool)
        taken.check()


def leave(client: Client, reset: bool) -> None:
    if reset and client.sock.family == socket.AF_INET:
        client.reset()
    else:
        client.close()


def test_half_closed_client_is_answered() -> None:
    with Rig(echo) as rig:
        client = rig.client().send(get("/a") + get("/b"))
        client.half_close()
        rig.turns()
        assert contents(client.take()) == [b"GET /a ", b"GET /b "]
        assert client.state == "CLOSED"
        assert client.ended == "eof"


def test_retired_connection_with_a_request_under_way_is_served() -> None:
    with Rig(echo) as rig:
        client = rig.client().send(get("/a"))
        rig.station.draining = True
        assert client.connection.retire() is True
        rig.turns()
        answer = Answer(client.take())
        assert answer.body == b"GET /a "
        assert answer.get("Connection") == "close"
        assert client.state == "LINGER"


def test_retired_connection_with_pipelined_bytes_is_served() -> None:
    with Rig(echo) as rig:
        client = rig.client().send(get("/a") + get("/b"))
        rig.epoll.poll(0)
        client.connection.turn(1)
        assert client.state == "OPEN"
        rig.station.draining = True
        assert client.connection.retire() is True
        client.connection.turn(0)
        assert contents(client.take()) == [b"GET /a ", b"GET /b "]


@pytest.mark.parametrize("apart", [False, True])
def test_line_end_behind_a_body_is_no_reason_for_a_reset(apart: bool) -> None:
    """RFC 9112 2.2: some clients send one. To close over unread bytes would be a reset."""
    with Rig(echo, tcp=True) as rig:
        client = rig.client()
        data = post(b"body", "/", CLOSE)
        if apart:
            client.send(data[:-4])
            rig.until(lambda: client.state == "BODY")
            data = data[-4:]
        client.send(data + b"\r\n")
        rig.until(lambda: client.state == "LINGER")
        got = b""
        while not client.ended:
            got += client.take()
        assert (contents(got), client.ended) == ([b"POST / body"], "eof")
        client.close()
        rig.until(lambda: client.state == "CLOSED")


def test_what_came_in_time_is_not_too_late() -> None:
    """A request that holds the loop holds it from reading, too: what waits in the kernel is read before it is
    judged by deadlines that have passed meanwhile."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            for client in (head, body, kept):
                client.send(rest[id(client)])
            while time.monotonic() < begun + 0.4:
                pass
        return hello(environ, start_response)

    with Rig(app, head_timeout=0.2, body_timeout=0.2, keepalive=0.2) as rig:
        slow, head, body, kept = (rig.client() for _ in range(4))
        kept.ask(get())
        head.ask(get()[:-5])
        body.ask(post(b"body")[:-2])
        rest = {id(head): get()[-5:], id(body): b"dy", id(kept): get()}
        begun = time.monotonic()
        slow.send(get("/slow"))
        rig.turn()
        rig.station.expire()
        rig.turns()
        for client in (slow, head, body, kept):
            assert Answer(client.take()).status == 200
            assert client.state == "OPEN"


@pytest.mark.parametrize("late", [False, True], ids=["all have sent", "one is silent"])
def test_more_than_one_poll_can_tell(late: bool) -> None:
    """After a stall more clients are ready than a poll has room for: each is read before it is judged."""
    with Rig(head_timeout=0.3) as rig:
        clients = [rig.client() for _ in range(150)]
        for client in clients:
            client.send(get()[:-5])
        rig.turns()  # in one turn of the loop: all have the same deadline, nearly
        begun = time.monotonic()
        silent = clients.pop(0) if late else None
        for client in clients:
            client.send(get()[-5:])
        while rig.station.wait_span() > 0 or time.monotonic() < begun + 0.31:
            pass
        while rig.station.wait(0, 64) == 64:
            rig.station.expire()
            assert rig.refusals == []
            assert not rig.station.serve(lambda *_: False)
        rig.station.serve(lambda *_: False)
        assert [Answer(client.take()).status for client in clients] == [200] * len(clients)
        rig.station.wait(0, 64)
        rig.station.expire()
        if silent is not None:
            assert Answer(silent.take()).status == 408
        assert rig.refusals == ["head_timeout"] * late


def test_full_polls_put_off_no_deadline_for_ever() -> None:
    """Clients that are ready again and again keep nobody from expiring."""
    with Rig(head_timeout=MOMENT) as rig:
        silent = rig.client()
        silent.ask(b"GET /")
        for _ in range(100):
            rig.connect().connection.turn(0)
            rig.clients[-1].send(b"G")  # never read here
        for _ in range(5):
            assert rig.station.wait(0, 64) == 64
        rig.station.expire()
        assert Answer(silent.take()).status == 408

"""Answers that the kernel does not take at once: held, flushed, sent as files, waited for, and cut.

The engine's end is narrowed to what the kernel allows (a few KB), and the client reads so much at a time, so
that every piece of an answer is cut somewhere.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import Result, drain, served, text
from harness import MOMENT, WAIT_WRITE, Answer, Client, Rig, get, is_open
from launcher import until

# --- whatever is answered, it arrives whole, in every step ---

HEADER = ("X-Long", "h" * 5000)
ANSWERS: dict[str, Callable[[], Iterable[bytes]]] = {
    "list": lambda: [text(30_000), text(5, 1), text(20_000, 2)],
    "one": lambda: [text(60_000)],
    "more than is joined": lambda: [text(700_000), text(700_000, 1)],
    "chunks": lambda: (text(size, size) for size in (1, 10_000, 3, 30_000, 4096, 1)),
    "many chunks": lambda: (text(100, number) for number in range(300)),
}
STEPS = [1000, 4096, 10_007, 1 << 20]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("headers", [[], [HEADER]])
@pytest.mark.parametrize("name", ANSWERS)
def test_partial_sends(name: str, headers: list[tuple[str, str]], step: int) -> None:
    log: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", headers)
        result = ANSWERS[name]()
        return result if isinstance(result, list) else Result(result, log)

    with Rig(app, log="%(B)s") as rig:
        client = rig.client()
        client.narrow()
        client.send(get("/1") + get("/2", "Connection: close"))
        data = drain(rig, client, step)
        expected = b"".join(ANSWERS[name]())
        for _ in range(2):
            answer = Answer(data)
            assert answer.whole
            assert answer.body == expected
            data = answer.rest
        assert data == b""
        assert client.state == "CLOSED"
        assert rig.logged() == [str(len(expected))] * 2
        assert log == ([] if isinstance(ANSWERS[name](), list) else ["close"] * 2)


@pytest.mark.parametrize("size", range(1, 400, 13))
def test_held_at_every_boundary(size: int) -> None:
    """Head, chunk lines and data are cut wherever the kernel's buffer ends."""
    first = 8192 - 150 + size

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield text(first)
        yield text(7, 1)
        yield text(9000, 2)

    with Rig(app) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        answer = Answer(drain(rig, client, 1 << 20))
        assert answer.whole
        assert answer.chunks == [text(first), text(7, 1), text(9000, 2)]
        assert client.state == "OPEN"


def test_early_hints_are_held_too() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for number in range(40):
            environ["wsgi.early_hints"]([("Link", f"<{number}>" + "x" * 1000)])
        start_response("200 OK", [])
        return [b"body"]

    with Rig(app) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        data = drain(rig, client, 3000)
        for number in range(40):
            answer = Answer(data)
            assert (answer.status, answer.get("Link")) == (103, f"<{number}>" + "x" * 1000)
            data = answer.rest
        assert Answer(data).body == b"body"


# --- the end of the connection ---

UNACKED, SEGS_IN = 24, 140  # offsets in struct tcp_info (linux/tcp.h)


def told(client: Client, offset: int) -> int:
    """One number of what the kernel knows of a connection."""
    (number,) = struct.unpack_from(
        "I", client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), offset
    )
    return int(number)


@pytest.mark.parametrize("size", [0, 1, 10_000])
def test_end_goes_out_with_the_answer(size: int) -> None:
    """Where nothing of the application can come between the two: one segment less for everybody."""

    def segments(make: Callable[[], Iterable[bytes]]) -> int:
        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Length", str(size))])
            return make()

        with Rig(app, tcp=True) as rig:
            client = rig.client().send(get("/", "Connection: close"))
            # The request is acknowledged by itself, or with an answer within 40 ms: always the first here.
            until(lambda: told(client, UNACKED) == 0, "the request is acknowledged")
            answer = Answer(client.ask(b""))
            assert len(answer.body) == size
            client.sock.setblocking(True)
            assert client.ended == "eof" or client.sock.recv(1) == b""
            return told(client, SEGS_IN)

    assert segments(lambda: [b"b" * size]) == segments(lambda: iter([b"b" * size])) - 1


def test_bytes_that_come_late_do_not_cost_the_answer() -> None:
    """The client said that it closes, and sent more all the same: what was answered before arrives."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        client.send(get("/more"))  # after all that came before was read
        start_response("200 OK", [])
        return [b"b" * 10_000]

    with Rig(app, tcp=True) as rig:
        client = rig.client()
        client.send(get("/", "Connection: close"))
        rig.until(lambda: client.state == "CLOSED")
        client.sock.settimeout(10)
        data = b""
        while len(data) < 10_000:
            data += client.sock.recv(1 << 16)
        assert Answer(data).whole


# --- clients that leave while they are answered ---

LEAVES = ["close", "reset"]


def leave(client: Client, how: str) -> None:
    if how == "reset":
        client.reset()
    else:
        client.close()


@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("kind", ["list", "file", "iterable"])
def test_client_leaves_while_it_is_flushed(content: Path, kind: str, tcp: bool, how: str) -> None:
    log: list[str] = []
    os.truncate(content, 20_000_000)
    files = served(content, log)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if kind == "file":
            return files(environ, start_response)
        start_response("200 OK", [])
        big = b"b" * 20_000_000
        return [big] if kind == "list" else Result([big], log)

    with Rig(app, tcp=tcp, log="%(s)s %(B)s", response_limit=1 << 30) as rig:
        client = rig.client().send(get())
        rig.until(lambda: client.state == "FLUSH")
        held = len(log)
        leave(client, how if tcp else "close")
        rig.until(lambda: client.state == "CLOSED")
        assert held == (1 if kind == "iterable" else 0)
        assert log == ([] if kind == "list" else ["close"])
        assert not is_open(client.fd)
        assert rig.faults == []
        status, size = rig.logged()[0].split()
        assert status == "200"
        assert int(size) < 20_000_000, "bytes that nobody took are none that were sent"


@pytest.mark.parametrize("how", LEAVES)
def test_iterable_is_not_asked_for_more_when_the_client_has_left(how: str) -> None:
    asked: list[int] = []
    log: list[str] = []

    def chunks() -> Iterator[bytes]:
        for number in range(1000):
            asked.append(number)
            if number == 3:
                leave(client, how)
                rig.until(lambda: client.connection.turn(0) == 0 and rig.epoll.poll(0))
            yield b"c" * 100_000

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return Result(chunks(), log)

    with Rig(app, tcp=True, response_limit=1 << 30) as rig:
        client = rig.client().send(get())
        rig.until(lambda: client.state == "CLOSED")
        assert len(asked) < 8
        assert log == ["close"]
        assert rig.faults == []


def test_write_tells_that_the_client_has_left() -> None:
    told: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        client.close()
        try:
            for _ in range(10):
                write(b"x" * 1000)
        except OSError as error:
            told.append(error)
            raise
        return []

    with Rig(app) as rig:
        client = rig.client().send(get())
        rig.turns()
        assert client.state == "CLOSED"
        assert [type(each) for each in told] == [BrokenPipeError]
        assert rig.faults == []  # not the application's fault
        assert rig.worker.statuses[0] == 1


@pytest.mark.parametrize("kind", ["list", "file"])
def test_write_deadline_cuts(content: Path, kind: str) -> None:
    log: list[str] = []
    files = served(content, log)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if kind == "file":
            return files(environ, start_response)
        start_response("200 OK", [])
        return [text(100_000)]

    with Rig(app, write_timeout=MOMENT) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        rig.turns()
        assert client.state == "FLUSH"
        assert rig.station.waiting(WAIT_WRITE) == [client.connection]
        rig.expire()
        assert client.state == "CLOSED"
        assert not Answer(client.take()).whole
        assert log == ([] if kind == "list" else ["close"])


def test_progress_renews_the_write_deadline() -> None:
    with Rig(lambda e, start: start("200 OK", []) and [text(100_000)], write_timeout=1000) as rig:
        first, second = rig.client(), rig.client()
        for client in (first, second):
            client.narrow()
            client.send(get())
        rig.turns()
        order = [first.connection, second.connection]
        assert sorted(map(id, rig.station.waiting(WAIT_WRITE))) == sorted(map(id, order))
        for _ in range(4):
            ahead = rig.station.first_waiting(WAIT_WRITE)
            moving = first if ahead is first.connection else second
            moving.take(9000)
            rig.turns()
            assert rig.station.first_waiting(WAIT_WRITE) is not ahead


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_cut_body_that_ends_with_the_connection_is_a_reset(version: str) -> None:
    """An EOF would look like its end; chunks show it by themselves."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"part"
        raise KeyError("broken")

    with Rig(app, tcp=True) as rig:
        client = rig.client().send(get(version=version))
        rig.until(lambda: client.state == "CLOSED")
        data = b""
        while not client.ended:
            data += client.take()
        assert client.ended == ("reset" if version == "1.0" else "eof")
        if version == "1.1":
            assert Answer(data).chunks == [b"part"]
            assert not Answer(data).whole


# --- an application that is ahead of its client ---


def test_application_waits_when_it_is_ahead_by_more_than_the_limit() -> None:
    ahead_by: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(40):
            ahead_by.append(10_000 * number - sum(map(len, taken)))
            yield text(10_000, number)

    with Rig(app, response_limit=50_000) as rig:
        client = rig.client()
        client.narrow()
        taken: list[bytes] = []

        def wait(connection: Any, deadline: int) -> bool:
            taken.append(client.take(5000))
            return True

        rig.station.wait_writable = wait
        client.send(get())
        rig.turns()
        data = b"".join(taken) + drain(rig, client, 1 << 20)
        assert Answer(data).body == b"".join(text(10_000, number) for number in range(40))
        assert max(ahead_by) < 50_000 + 10_000 + 16_384
        assert taken


def test_client_that_takes_nothing_is_given_up() -> None:
    log: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return Result((b"c" * 10_000 for _ in range(1000)), log)

    for wait in (lambda connection, deadline: False, None):
        log.clear()
        with Rig(app, response_limit=50_000, write_timeout=0.01) as rig:
            client = rig.client()
            client.narrow()
            rig.station.wait_writable = wait
            client.send(get())
            rig.turns()
            assert client.state == "CLOSED"
            assert log == ["close"]
            assert rig.faults == []
            assert not Answer(client.take()).whole


def test_large_list_is_not_waited_for() -> None:
    """The application is done with it: the reactor sends it, whatever its size."""
    with Rig(lambda e, start: start("200 OK", []) and [b"l" * 3_000_000], response_limit=1000) as rig:
        rig.station.wait_writable = lambda connection, deadline: pytest.fail("waited")
        client = rig.client()
        client.narrow()
        client.send(get())
        assert len(Answer(drain(rig, client, 1 << 20)).body) == 3_000_000

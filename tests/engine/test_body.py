"""wsgi.input: bodies in memory, in a spool file, streamed; what happens where one turns into the other."""

from __future__ import annotations

import io
import os
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from harness import MOMENT, PATIENCE, Answer, Client, Rig, chunked, echo, get, hello, is_open, post

from prefork.engine.body import EmptyInput
from prefork.engine.connection import BodyFault

LIMIT = 1000
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Inputs:
    """An application that reads its input, and says what it was."""

    def __init__(self, read: Callable[[Any], object] = lambda stream: stream.read()) -> None:
        self.read = read
        self.kinds: list[str] = []
        self.got: list[object] = []
        self.streams: list[Any] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        self.kinds.append(type(stream).__name__)
        self.got.append(self.read(stream))
        self.streams.append(stream)
        start_response("200 OK", [])
        return [b"done"]


# --- in memory or in a file ---

SIZES = [1, 2, 999, 1000, 1001, 1999, 2000, 2001, 65_536, 70_000, 300_000]


@pytest.mark.parametrize("pieces", [1, 2, 3, 10])
@pytest.mark.parametrize("framing", ["length", "chunks", "one chunk"])
@pytest.mark.parametrize("size", SIZES)
def test_memory_and_spool(size: int, framing: str, pieces: int) -> None:
    body = os.urandom(size)
    if framing == "length":
        data = post(body)
    elif framing == "one chunk":
        data = chunked(body)
    else:
        data = chunked(*(body[at : at + 777] for at in range(0, size, 777)))
    app = Inputs()
    with Rig(app, body_memory_limit=LIMIT) as rig:
        client = rig.client()
        step = -(-len(data) // pieces)
        got = b""
        for at in range(0, len(data), step):
            rest = data[at : at + step]
            while rest:
                rest = rest[client.offer(rest) :]
                rig.turns()
            got += client.take()
        assert Answer(got).body == b"done"
        assert app.got == [body]
        assert app.kinds == ["BytesIO" if size <= LIMIT else "SpooledInput"]
        assert len(rig.spools) == (size > LIMIT)
        assert not any(is_open(spool) for spool in rig.spools)
        assert rig.worker.bytes_in == size


def test_spool_is_a_whole_file() -> None:
    def read(stream: Any) -> object:
        assert stream.seekable()
        assert stream.tell() == 0
        first = stream.read(10)
        assert stream.readline() == b"\n"
        assert stream.readline(3) == b"lin"
        assert list(stream) == [b"e\n", b"last"]
        assert stream.read() == b""
        assert stream.seek(0, os.SEEK_END) == os.fstat(stream.fileno()).st_size
        assert stream.seek(0) == 0
        assert stream.readlines()[1:] == [b"line\n", b"last"]
        stream.seek(5)
        return first + stream.read(5) + stream.read(1 << 62)[:1]

    body = b"0123456789\nline\nlast"
    for limit in (10, 1000):
        app = Inputs(read if limit == 10 else lambda stream: stream.getvalue())
        with Rig(app, body_memory_limit=limit) as rig:
            assert rig.client().answer(post(body)).status == 200, rig.faults
        assert app.got == [b"012345678956789\n" if limit == 10 else body]


def test_huge_reads_allocate_no_more_than_the_body() -> None:
    """read(10 GB) of a spooled body: BufferedReader would allocate that first."""
    app = Inputs(lambda stream: stream.read(10 << 30))
    with Rig(app, body_memory_limit=10) as rig:
        assert rig.client().answer(post(b"b" * 5000)).status == 200
    assert app.got == [b"b" * 5000]


def test_spool_is_closed_with_the_request() -> None:
    app = Inputs(lambda stream: None)
    with Rig(app, body_memory_limit=10) as rig:
        client = rig.client()
        for count in range(3):
            assert client.answer(post(b"b" * 100)).status == 200
            assert not is_open(rig.spools[count]) or rig.spools.count(rig.spools[count]) > 1
            assert app.streams[count].closed


def test_spool_is_open_until_the_answer_is_out() -> None:
    """An application may answer with what it was sent."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](environ["wsgi.input"])

    with Rig(app, body_memory_limit=10) as rig:
        assert rig.client().answer(post(b"b" * 5000)).body == b"b" * 5000


def test_input_may_be_closed_or_wrapped_by_the_application() -> None:
    def wrap(stream: Any) -> object:
        with io.TextIOWrapper(stream) as text:
            return text.read()

    def close(stream: Any) -> object:
        return stream.close()

    for read in (wrap, close):
        app = Inputs(read)
        with Rig(app, body_memory_limit=10) as rig:
            client = rig.client()
            for body in (b"", b"short", b"l" * 100):
                assert client.answer(post(body)).status == 200, rig.faults
            assert not any(is_open(spool) for spool in rig.spools)


def test_abandoned_request_closes_its_spool() -> None:
    with Rig(echo, body_memory_limit=10) as rig:
        rig.station.hold = True
        client = rig.client()
        client.ask(post(b"b" * 100))
        assert client.state == "READY"
        client.connection.abandon()
        assert not is_open(rig.spools[0])


# --- failures of the spool ---


def unmade() -> int:
    raise PermissionError(13, "not allowed")


def full() -> int:
    return os.open("/dev/full", os.O_RDWR | os.O_CLOEXEC)


def unseekable() -> int:
    there, here = os.pipe()
    os.close(there)
    return here


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("spool", [unmade, full])
def test_spool_that_fails(spool: Callable[[], int], at_once: bool, framing: str) -> None:
    opened: list[int] = []

    def open_spool() -> int:
        opened.append(spool())
        return opened[-1]

    body = b"b" * 5000
    data = post(body) if framing == "length" else chunked(body[:900], body[900:])
    with Rig(echo, body_memory_limit=LIMIT, open_spool=open_spool) as rig:
        client = rig.client()
        if not at_once:
            client.ask(data[:600])
            data = data[600:]
        assert client.answer(data).status == 503
        assert client.state == "LINGER"
        assert rig.refusals == ["spool_failed"]
        assert len(rig.notices) == 1
        assert "could not be spooled" in rig.notices[0]
        assert not any(is_open(descriptor) for descriptor in opened)


def test_full_disk() -> None:
    """A file system that takes some and then no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Rig(echo, body_memory_limit=LIMIT) as rig:
        client = rig.client()
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            got = client.ask(post(b"b" * 5000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert Answer(got).status == 503
        assert not is_open(rig.spools[0])
        assert rig.client().answer(post(b"b" * 5000)).body == b"POST / " + b"b" * 5000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_spool_that_cannot_be_read_again() -> None:
    with Rig(echo, body_memory_limit=0, open_spool=lambda: os.open("/dev/null", os.O_WRONLY)) as rig:
        rig.client().ask(post(b"b"))
        assert rig.worker.requests == 1


# --- streamed ---


@pytest.mark.parametrize(("rate", "status"), [(0, 200), (1e6, 408)])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_streamed_body_has_a_least_rate(rate: float, status: int, framing: str) -> None:
    """A byte now and then is not enough, however often the application asks; without a rate, it is."""

    def drip(connection: Any, deadline: int) -> bool:
        since = time.monotonic()
        while time.monotonic() < since + 0.01:
            pass
        client.send(data[len(sent) : len(sent) + 1])
        sent.append(1)
        return True

    data = post(b"b" * 30) if framing == "length" else chunked(b"b" * 30)
    with Rig(echo, stream_bodies=True, body_timeout=0.1, body_min_rate=rate) as rig:
        rig.station.wait_readable = drip
        client = rig.client()
        head = data.index(b"\r\n\r\n") + 4
        sent = [1] * head
        client.send(data[:head])
        rig.turns()
        answer = Answer(client.take())
        assert answer.status == status
        if status == 200:
            assert answer.body == b"POST / " + b"b" * 30
        else:
            assert 0 < len(sent) - head < 30


def test_rate_is_of_the_time_that_is_waited() -> None:
    """What the application does between its reads is not held against the client."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        got = b""
        while piece := stream.read1(1) if hasattr(stream, "read1") else stream.read(1):
            got += piece
            since = time.monotonic()
            while time.monotonic() < since + 0.02:
                pass
        start_response("200 OK", [])
        return [got]

    def give(connection: Any, deadline: int) -> bool:
        client.send(rest.pop(0))
        return True

    rest = [b"%d" % number for number in range(10)]
    with Rig(app, stream_bodies=True, body_timeout=0.1, body_min_rate=1e6) as rig:
        rig.station.wait_readable = give
        client = rig.client()
        client.send(post(b"0123456789")[:-10])
        rig.turns()
        assert Answer(client.take()).body == b"0123456789"


# --- no body ---


def test_empty_input() -> None:
    stream = EmptyInput()
    assert stream.read() == stream.read(5) == stream.read(-1) == stream.read1() == stream.readline() == b""
    assert stream.readline(9) == b""
    assert stream.readlines() == stream.readlines(1) == list(stream) == []
    assert stream.readinto(bytearray(3)) == 0
    assert stream.readinto1(bytearray(3)) == 0
    assert (stream.readable(), stream.writable(), stream.isatty(), stream.closed) == (
        True,
        False,
        False,
        False,
    )
    assert (stream.seekable(), stream.seek(0), stream.seek(0, os.SEEK_END), stream.tell()) == (True, 0, 0, 0)
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()
    with stream as same:
        assert same is stream
    stream.close()
    assert stream.read() == b""
    with io.TextIOWrapper(io.BufferedReader(stream)) as wrapper:  # type: ignore[type-var]
        assert wrapper.read() == ""
    with pytest.raises(AttributeError):
        stream.mine = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("data", [get(), post(b""), chunked()])
@pytest.mark.parametrize("stream_bodies", [False, True])
def test_request_without_body(data: bytes, stream_bodies: bool) -> None:
    app = Inputs()
    with Rig(app, stream_bodies=stream_bodies) as rig:
        client = rig.client()
        assert client.answer(data).status == 200
        assert client.state == "OPEN"
    assert app.got == [b""]


# --- streamed ---


class Upload:
    """A client that sends the next piece whenever the engine waits for it."""

    def __init__(self, rig: Rig, *pieces: bytes) -> None:
        self.rig = rig
        self.client = rig.client()
        self.pieces = list(pieces)
        self.waited = 0
        self.seen = b""
        rig.station.wait_readable = self.wait

    def wait(self, connection: Any, deadline: int) -> bool:
        self.waited += 1
        self.seen += self.client.take()
        if not self.pieces:
            self.client.close()
            return True
        self.client.send(self.pieces.pop(0))
        return True

    def run(self) -> Client:
        self.client.send(self.pieces.pop(0))
        self.rig.turns()
        self.seen += self.client.take() if self.client.sock.fileno() >= 0 else b""
        return self.client


STREAMED = {
    "length": (post(b"0123456789" * 10), b"0123456789" * 10),
    "chunks": (
        chunked(b"0123456789" * 5, b"x", b"0123456789" * 4),
        b"0123456789" * 5 + b"x" + b"0123456789" * 4,
    ),
    "trailers": (chunked(b"data", end=b"0\r\nX-Sum: 1\r\n\r\n"), b"data"),
    "large": (post(b"l" * 200_000), b"l" * 200_000),
    "large chunk": (chunked(b"l" * 200_000), b"l" * 200_000),
}
READS: dict[str, Callable[[Any], object]] = {
    "all": lambda stream: stream.read(),
    "by one": lambda stream: b"".join(iter(lambda: stream.read(1), b"")),
    "by 7": lambda stream: b"".join(iter(lambda: stream.read(7), b"")),
    "lines": b"".join,
    "into": lambda stream: b"".join(iter(lambda: into(stream, 100), b"")),
    "more than there is": lambda stream: stream.read(1 << 40),
}


def into(stream: Any, size: int) -> bytes:
    buffer = bytearray(size)
    return bytes(buffer[: stream.readinto(buffer)])


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("step", [1, 50, 1 << 20])
@pytest.mark.parametrize("name", STREAMED)
def test_stream(name: str, step: int, read: str) -> None:
    data, body = STREAMED[name]
    if len(data) > 1000:
        step = max(step, 10_000)
    app = Inputs(READS[read])
    with Rig(app, stream_bodies=True) as rig:
        upload = Upload(rig, *(data[at : at + step] for at in range(0, len(data), step)))
        client = upload.client
        while upload.pieces and not app.streams:
            upload.run()
        assert app.got == [body]
        answer = Answer(upload.seen)
        assert answer.body == b"done"
        assert answer.get("Connection") is None
        assert client.state == "OPEN"
        assert client.answer(get()).body == b"done"
        assert rig.faults == []
        assert rig.worker.bytes_in == len(body)


def test_pipelined_request_behind_a_streamed_body() -> None:
    for data in (post(b"body"), chunked(b"bo", b"dy")):
        app = Inputs()
        with Rig(app, stream_bodies=True) as rig:
            client = rig.client()
            got = client.ask(data + data + get())
            for _ in range(3):
                answer = Answer(got)
                assert answer.body == b"done"
                got = answer.rest
        assert app.got == [b"body", b"body", b""]


@pytest.mark.parametrize("data", [post(b"b" * 100), chunked(b"b" * 50, b"c" * 50)])
def test_body_that_is_not_read_ends_the_connection(data: bytes) -> None:
    app = Inputs(lambda stream: stream.read(5))
    with Rig(app, stream_bodies=True) as rig:
        client = rig.client()
        answer = client.answer(data[:-60])
        assert answer.get("Connection") == "close"
        assert client.state == "LINGER"


@pytest.mark.parametrize("read", [0, 100])
def test_chunked_body_whose_end_is_here_keeps_the_connection(read: int) -> None:
    """read(n) of a client that knows its length never asks for the last chunk."""
    app = Inputs(lambda stream: stream.raw.readinto(bytearray(read)))
    with Rig(app, stream_bodies=True) as rig:
        client = rig.client()
        answer = client.answer(chunked(*([b"b" * read] if read else [])))
        assert answer.get("Connection") is None
        assert client.state == "OPEN"


def test_answer_may_begin_before_the_body_is_read() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        stream = environ["wsgi.input"].raw
        start_response("200 OK", [])
        while data := into(stream, 5):
            yield data

    with Rig(app, stream_bodies=True) as rig:
        data = chunked(b"hello", b"abc", b"world", b"0123456789")
        head = data.index(b"\r\n\r\n") + 4
        for split in range(head, len(data)):
            upload = Upload(rig, data[:split], *(data[at : at + 1] for at in range(split, len(data))))
            upload.run()
            answer = Answer(upload.seen)
            assert answer.body == b"helloabcworld0123456789", split
            assert rig.faults == []


def test_continue_is_said_when_the_body_is_asked_for() -> None:
    for fields in (["Content-Length: 4"], ["Transfer-Encoding: chunked"]):
        head = get("/", *fields, "Expect: 100-continue", method="POST")
        body = b"body" if len(fields[0]) < 20 else b"4\r\nbody\r\n0\r\n\r\n"
        app = Inputs()
        with Rig(app, stream_bodies=True) as rig:
            upload = Upload(rig, head, body)
            upload.run()
            assert upload.seen.startswith(CONTINUE)
            assert Answer(upload.seen[len(CONTINUE) :]).body == b"done"
            assert app.got == [b"body"]
        with Rig(hello, stream_bodies=True) as rig:
            answer = rig.client().answer(head)
            assert (answer.status, answer.get("Connection")) == (200, "close")


def read_behind_the_head(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    write = start_response("200 OK", [("Content-Length", "9")])
    write(b"begun")
    return [environ["wsgi.input"].read()]


def read_between_chunks(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"begun"
    yield environ["wsgi.input"].read()


def read_behind_the_body(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    class Draining:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"begun", b"body"])

        def close(self) -> None:
            assert environ["wsgi.input"].read() == b"body"

    start_response("200 OK", [("Content-Length", "9")])
    return Draining()


@pytest.mark.parametrize("app", [read_behind_the_head, read_between_chunks, read_behind_the_body])
@pytest.mark.parametrize("comes", [True, False])
def test_continue_is_not_said_once_the_answer_has_begun(app: Any, comes: bool) -> None:
    """RFC 9110 15.2: interim responses come before the final one. The client may send the body even so."""
    head = get("/", "Content-Length: 4", "Expect: 100-continue", method="POST")
    with Rig(app, stream_bodies=True, body_timeout=30 if comes else MOMENT) as rig:
        if comes:
            upload = Upload(rig, head, b"body")
            client = upload.run()
            data = upload.seen
            assert upload.waited == 1
        else:
            client = rig.client()
            data = client.ask(head)
        answer = Answer(data)
        assert (answer.status, answer.get("Connection"), answer.rest) == (200, "close", b"")
        assert rig.faults == []
        if comes or app is read_behind_the_body:
            assert (answer.body, answer.whole, client.state) == (b"begunbody", True, "LINGER")
        else:
            assert (answer.body, answer.whole, client.state) == (b"begun", False, "CLOSED")


def test_continue_goes_behind_hints_that_are_held() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for _ in range(20):
            environ["wsgi.early_hints"]([("Link", "x" * 1000)])
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    head = get("/", "Content-Length: 4", "Expect: 100-continue", method="POST")
    with Rig(app, stream_bodies=True) as rig:
        client = rig.client()
        client.narrow()
        seen = b""

        def wait(connection: Any, deadline: int) -> bool:
            nonlocal seen
            seen += client.take()
            if seen.endswith(CONTINUE):
                client.send(b"body")
            return True

        rig.station.wait_readable = wait
        client.send(head)
        rig.turns()
        data = seen + client.take()
        for status in [103] * 20 + [100]:
            answer = Answer(data)
            assert answer.status == status
            data = answer.rest
        assert Answer(data).body == b"body"


POST_EXPECTING = get("/", "Content-Length: 4", "Expect: 100-continue", method="POST")


def check_continued(client: Client, seen: bytes, full: int) -> None:
    assert seen[full : full + len(CONTINUE)] == CONTINUE
    assert Answer(seen[full + len(CONTINUE) :]).body == b"POST / body"
    assert client.state == "OPEN"
    assert client.answer(get()).body == b"GET / "


def test_continue_waits_for_room() -> None:
    """The answers to requests in front may fill the kernel's buffer to the last byte."""
    with Rig(echo) as rig:
        client = rig.client()
        full = fill(client)
        client.send(POST_EXPECTING)
        rig.turns()  # epoll does not tell of room that is not there
        assert client.state == "BODY"
        seen = client.take()
        rig.turns()
        seen += client.take()
        assert seen[full:] == CONTINUE
        check_continued(client, seen + client.ask(b"body"), full)


def test_continue_of_a_streamed_body_waits_for_room() -> None:
    def wait(connection: Any, deadline: int) -> bool:
        nonlocal seen
        seen += client.take()
        if seen.endswith(CONTINUE):
            client.send(b"body")
        return True

    with Rig(echo, stream_bodies=True) as rig:
        rig.station.wait_readable = rig.station.wait_writable = wait
        client = rig.client()
        full = fill(client)
        seen = b""
        client.send(POST_EXPECTING)
        rig.turns()
        check_continued(client, seen + client.take(), full)


def test_continue_of_a_streamed_body_waits_for_room_in_poll() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        called.set()
        return echo(environ, start_response)

    def respond() -> None:
        nonlocal seen
        called.wait()
        while not seen.endswith(CONTINUE):
            assert select.select([client.sock], [], [], PATIENCE)[0], seen[full:]
            seen += client.take()
        client.send(b"body")

    called = threading.Event()
    reader = threading.Thread(target=respond)
    interval = sys.getswitchinterval()
    with Rig(app, stream_bodies=True) as rig:
        client = rig.client()
        full = fill(client)
        seen = b""
        client.send(POST_EXPECTING)
        reader.start()
        sys.setswitchinterval(PATIENCE)  # the reader goes on when poll(2) waits, no sooner
        try:
            rig.turns()
        finally:
            sys.setswitchinterval(interval)
            reader.join()
        check_continued(client, seen + client.take(), full)


def test_what_is_held_goes_out_while_the_body_is_waited_for() -> None:
    """A client may want to see the answer to a part before it sends the next."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first" * 4000
        yield environ["wsgi.input"].read()

    def wait(connection: Any, deadline: int) -> bool:
        nonlocal seen
        more = client.take()
        seen += more
        if not more:
            client.send(b"body")
        return True

    with Rig(app, stream_bodies=True) as rig:
        rig.station.wait_readable = rig.station.wait_writable = wait
        client = rig.client()
        client.narrow()
        seen = b""
        client.send(post(b"body")[:-4])
        rig.turns()
        assert b"first" * 4000 in seen
        assert Answer(seen + client.take()).body == b"first" * 4000 + b"body"


def fill(client: Client) -> int:
    """Leave no room in the kernel's buffer for what the engine sends; returns how many bytes are in front."""
    client.narrow()
    count = 0
    with socket.socket(fileno=os.dup(client.fd)) as end:
        try:
            while True:
                count += end.send(b"f")
        except BlockingIOError:
            return count


def test_refusal_does_not_break_into_a_continue_that_is_held() -> None:
    head = get("/", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST")
    with Rig(echo) as rig:
        client = rig.client()
        full = fill(client)
        client.send(head)
        rig.turns()
        client.send(b"no\r\n")
        rig.turns()
        seen = client.take()
        rig.turns()
        seen += client.take()
        assert seen[full:] == b""
        assert client.ended == "eof"
        assert client.state == "LINGER"
        assert rig.refusals == ["chunk_size"]


def test_client_that_leaves_while_a_continue_is_held() -> None:
    with Rig(echo) as rig:
        client = rig.client()
        fill(client)
        client.send(POST_EXPECTING)
        rig.turns()
        client.close()
        rig.turns()
        assert client.state == "CLOSED"


# name -> (bytes, what the application is told, the answer's status; 0: nobody is there for one)
BROKEN = {
    "client leaves": (post(b"b" * 10)[:-3], 0, 0),
    "client leaves in a chunk": (chunked(b"b" * 10, end=b"")[:-5], 0, 0),
    "bad chunk": (chunked(b"abc", end=b"zz\r\n"), 25, 400),
    "too large": (chunked(b"a" * 90, b"b" * 20), 64, 413),
    "too large, of which a part is here": (chunked(b"a" * 101)[:-60], 64, 413),
}
BROKEN_BODIES = {
    "client leaves": b"b" * 7,
    "client leaves in a chunk": b"b" * 7,
    "bad chunk": b"abc",
    "too large": b"a" * 90,
    "too large, of which a part is here": b"",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_stream(name: str) -> None:
    data, code, status = BROKEN[name]
    told: list[BodyFault] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except BodyFault as fault:
            told.append(fault)
            raise
        return []

    with Rig(app, stream_bodies=True, body_limit=100) as rig:
        upload = Upload(rig, data)
        client = upload.run()
        assert [fault.code for fault in told] == [code]
        assert isinstance(told[0], OSError)
        assert rig.faults == []
        if status:
            assert Answer(upload.seen).status == status
            assert client.state == "LINGER"
        else:
            assert client.state == "CLOSED"


@pytest.mark.parametrize("name", BROKEN)
def test_broken_stream_stays_broken(name: str) -> None:
    """What follows in the connection is no body: chunk sizes, ends, another request."""
    told: list[object] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for _ in range(30):
            try:
                told.append(environ["wsgi.input"].read1(6))
            except BodyFault as fault:
                told.append((fault.code, str(fault)))
        start_response("200 OK", [])
        return [b"all the same"]

    data, code, status = BROKEN[name]
    with Rig(app, stream_bodies=True, body_limit=100) as rig:
        upload = Upload(rig, data)
        client = upload.run()
        first = next(at for at, what in enumerate(told) if isinstance(what, tuple))
        assert told[first][0] == code  # type: ignore[index]
        assert set(told[first:]) == {told[first]}
        body = b"".join(told[:first])  # type: ignore[arg-type]
        assert body == BROKEN_BODIES[name]
        if status:
            answer = Answer(upload.seen)
            assert (answer.status, answer.get("Connection"), client.state) == (200, "close", "LINGER")
        else:
            assert client.state == "CLOSED"


def test_slow_stream_stays_slow() -> None:
    """A second read does not wait for the client a second time."""
    told: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for _ in range(2):
            try:
                environ["wsgi.input"].read()
            except BodyFault as fault:
                told.append(str(fault))
                client.send(b"end")
        start_response("200 OK", [])
        return [b"late"]

    with Rig(app, stream_bodies=True, body_timeout=MOMENT) as rig:
        client = rig.client()
        assert client.answer(post(b"b" * 10)[:-3]).get("Connection") == "close"
        assert told == ["the request body did not arrive in time"] * 2


def test_slow_stream() -> None:
    app = Inputs()
    with Rig(app, stream_bodies=True, body_timeout=MOMENT) as rig:
        answer = rig.client().answer(post(b"b" * 10)[:-3])
        assert answer.status == 408
        assert rig.faults == []


def test_input_of_an_earlier_request_reads_nothing_of_a_later_one() -> None:
    stolen: list[object] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for kept in streams:
            with pytest.raises(ValueError, match="over"):
                stolen.append(kept.raw.readinto(bytearray(3)))
        streams.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    streams: list[Any] = []
    with Rig(app, stream_bodies=True) as rig:
        client = rig.client()
        for body in (b"first", b"second", b"third"):
            assert client.answer(post(body)).body == body, rig.faults
            with pytest.raises(ValueError, match="over"):
                streams[-1].raw.readinto(bytearray(3))
            assert client.answer(chunked(body)).body == body, rig.faults
        assert stolen == []


@pytest.mark.parametrize("data", [post(b"b" * 100)[:-50], chunked(b"b" * 10, end=b"")])
def test_input_of_an_unfinished_body_reads_nothing_after_the_request(data: bytes) -> None:
    app = Inputs(lambda stream: None)
    with Rig(app, stream_bodies=True) as rig:
        client = rig.client()
        client.ask(data)
        assert client.state == "LINGER"
        client.send(b"5\r\nlater\r\n")
        with pytest.raises(ValueError, match="over"):
            app.streams[0].read(1)
        client.close()
        rig.turns()
        assert client.state == "CLOSED"
        with pytest.raises(ValueError, match="over"):
            app.streams[0].read(1)


def test_reader_in_another_thread_ends_with_the_request() -> None:
    """A thread of the application may wait for bytes while its request ends."""
    faults: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def wait(connection: Any, deadline: int) -> bool:
            # The request ends while the reader waits: as a thread would see it, but in one thread.
            rig.station.wait_readable = None
            client.connection.give_up()
            return True

        rig.station.wait_readable = wait
        try:
            environ["wsgi.input"].read(1)
        except BodyFault as fault:
            faults.append(fault)
        start_response("200 OK", [])
        return [b"late"]

    with Rig(app, stream_bodies=True) as rig:
        client = rig.client().send(post(b"body")[:-4])
        rig.turns()
        assert [getattr(fault, "code", None) for fault in faults] == [0]
        assert client.state == "CLOSED"
        assert Answer(client.take()).status == 504
        assert rig.worker.statuses[5] == 1


def test_reading_nothing_reads_nothing() -> None:
    app = Inputs(lambda stream: (stream.raw.readinto(bytearray()), stream.read(0), stream.read()))
    with Rig(app, stream_bodies=True) as rig:
        upload = Upload(rig, post(b"body")[:-4], b"body")
        upload.run()
        assert app.got == [(0, b"", b"body")]

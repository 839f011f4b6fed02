"""Answers that the kernel does not take at once: held, flushed, sent as files, waited for, and cut.

The engine's end is narrowed to what the kernel allows (a few KB), and the client reads so much at a time, so
that every piece of an answer is cut somewhere.
"""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import MOMENT, PATIENCE, WAIT_WRITE, Answer, Client, Rig, get, is_open, undated


def text(size: int, seed: int = 0) -> bytes:
    """Bytes that are nowhere the same, so that a lost or repeated piece shows."""
    return b"".join(b"%07x " % (seed + number) for number in range(size // 8 + 1))[:size]


class Result:
    """An iterable whose end is counted."""

    def __init__(self, chunks: Iterable[bytes], log: list[str]) -> None:
        self.chunks = iter(chunks)
        self.log = log

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.chunks)

    def close(self) -> None:
        self.log.append("close")


class File:
    """A file-like object around a real file, whose end is counted."""

    def __init__(self, file: Any, log: list[str]) -> None:
        self.file = file
        self.read = file.read  # the plain file's own
        self.log = log

    def close(self) -> None:
        self.log.append("close")
        self.file.close()


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(text(100_000))
    return path


def served(content: Path, log: list[str], *, headers: Any = (), offset: int = 0, buffering: int = -1) -> Any:
    """An application that answers with the file from an offset on."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = content.open("rb", buffering)
        file.seek(offset)
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](File(file, log))

    return app


def drain(rig: Rig, client: Client, step: int) -> bytes:
    """Read so many bytes at a time, with turns between, until nothing comes any more."""
    rig.turns()
    got = b""
    while True:
        data = client.take(step)
        if not data:
            return got
        got += data
        rig.turns()


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


# --- files ---


RANGES: list[tuple[list[tuple[str, str]], int, bytes]] = [  # headers, offset of the file, what goes out
    ([], 0, text(100_000)),
    ([], 12_345, text(100_000)[12_345:]),
    ([], 100_000, b""),
    ([], 200_000, b""),
    ([("Content-Length", "100000")], 0, text(100_000)),
    ([("Content-Length", "50000")], 0, text(50_000)),
    ([("Content-Length", "10")], 99, text(100_000)[99:109]),
    ([("Content-Length", "0")], 0, b""),
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("sendfile", [True, False])
def test_file(content: Path, buffering: int, step: int, sendfile: bool) -> None:
    for headers, offset, expected in RANGES:
        log: list[str] = []
        app = served(content, log, headers=headers, offset=offset, buffering=buffering)
        with Rig(app, log="%(B)s", sendfile=sendfile) as rig:
            client = rig.client()
            client.narrow()
            client.send(get("/1") + get("/2"))
            data = drain(rig, client, step)
            for _ in range(2):
                answer = Answer(data)
                assert answer.whole
                assert answer.body == expected
                data = answer.rest
            assert data == b""
            assert log == ["close"] * 2
            assert rig.faults == []
            assert client.state == "OPEN"
            assert rig.logged() == [str(len(expected))] * 2


def test_file_goes_out_without_being_read(content: Path) -> None:
    class Tempting:
        def __init__(self) -> None:
            self.file = content.open("rb")
            self.read = self.file.read

        def __iter__(self) -> Any:
            raise AssertionError("iterated")

        def close(self) -> None:
            assert self.file.tell() == 0, "read"
            self.file.close()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](Tempting())

    with Rig(app) as rig:
        assert rig.client().answer(get()).body == text(100_000)
        assert rig.client().answer(get(method="HEAD"), head_only=True).get("Content-Length") == "100000"
        assert rig.faults == []


@pytest.mark.parametrize("request_bytes", [get(method="HEAD"), get()], ids=["HEAD", "304"])
def test_file_is_not_read_for_an_answer_without_body(content: Path, request_bytes: bytes) -> None:
    log: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        head = environ["REQUEST_METHOD"] == "HEAD"
        start_response("200 OK" if head else "304 Not Modified", [])
        source = File(content.open("rb"), log)
        log.append(f"at {source.file.tell()}")
        position.append(source.file)
        return environ["wsgi.file_wrapper"](source)

    position: list[Any] = []
    with Rig(app, log="%(B)s") as rig:
        client = rig.client()
        data = client.ask(request_bytes)
        assert undated(data).endswith(b"\r\n\r\n")
        assert log == ["at 0", "close"]
        assert rig.logged() == ["0"]
        assert client.state == "OPEN"
        assert rig.faults == []


def test_file_like_objects_are_read(content: Path, tmp_path: Path) -> None:
    """A descriptor alone does not make a plain file: what read() gives counts."""
    packed = tmp_path / "packed"
    with gzip.open(packed, "wb") as file:
        file.write(text(100_000))

    class Upper(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            return (super().read(size) or b"").upper()

    class Own:
        def __init__(self) -> None:
            self.file = content.open("rb")
            self.fileno = self.file.fileno
            self.close = self.file.close

        def read(self, size: int) -> bytes:
            return self.file.read(size).upper()

    sources: list[tuple[Callable[[], Any], bytes]] = [
        (lambda: gzip.GzipFile(packed), text(100_000)),
        (lambda: Upper(content), text(100_000).upper()),
        (Own, text(100_000).upper()),
        (lambda: io.BytesIO(b"memory"), b"memory"),
        (lambda: content.open("rb"), text(100_000)),
    ]
    for make, expected in sources:

        def app(environ: dict[str, Any], start_response: Any, make: Callable[[], Any] = make) -> Any:
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](make(), 1000)

        with Rig(app) as rig:
            assert rig.client().answer(get()).body == expected
            assert rig.faults == []


def test_files_of_the_kernel_are_read() -> None:
    """/proc says that its files are empty."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](Path("/proc/self/status").open("rb"))

    with Rig(app) as rig:
        assert b"VmRSS" in rig.client().answer(get()).body


def test_pipe_is_read() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        there, here = os.pipe()
        os.write(here, b"through a pipe")
        os.close(here)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](os.fdopen(there, "rb"))

    with Rig(app) as rig:
        assert rig.client().answer(get()).body == b"through a pipe"


def test_temporary_file_goes_by_sendfile() -> None:
    """What tempfile makes is a wrapper around a plain file."""
    made: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        file.write(text(5000))
        file.seek(8)
        made.append(file)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    with Rig(app) as rig:
        assert rig.client().answer(get()).body == text(5000)[8:]
        assert made[0].closed
        assert not Path(made[0].name).exists()


def test_closed_file_is_a_fault(content: Path) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        with content.open("rb") as file:
            return environ["wsgi.file_wrapper"](file)

    with Rig(app) as rig:
        assert rig.client().answer(get()).status == 500
        assert [type(fault) for _, fault in rig.faults] == [ValueError]


@pytest.mark.parametrize("narrow", [False, True])
def test_file_shorter_than_promised(content: Path, narrow: bool) -> None:
    """All of it goes out, the rest stays missing, and the file is closed once, at the end of it."""
    log: list[str] = []
    with Rig(served(content, log, headers=[("Content-Length", "150000")]), log="%(B)s") as rig:
        client = rig.client()
        if narrow:
            client.narrow()
        client.send(get())
        rig.turns()
        assert log == ([] if narrow else ["close"])
        answer = Answer(drain(rig, client, 10_000))
        assert answer.get("Content-Length") == "150000"
        assert answer.body == text(100_000)
        assert not answer.whole
        assert client.ended == "eof"
        assert log == ["close"]
        assert [str(fault) for _, fault in rig.faults] == [
            "the application gave 50000 bytes less than its Content-Length"
        ]
        assert rig.logged() == ["100000"]


def test_file_that_shrinks_while_it_is_sent(content: Path) -> None:
    log: list[str] = []
    with Rig(served(content, log), log="%(B)s") as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        rig.turns()
        assert client.state == "FLUSH"
        os.truncate(content, 60_000)
        answer = Answer(drain(rig, client, 4096))
        # (What the kernel had taken already and then lost, it sends as zeros: the pages are the file's own.)
        assert answer.body[:50_000] == text(50_000)
        assert not answer.whole
        assert (client.state, client.ended, log) == ("CLOSED", "eof", ["close"])
        assert rig.logged() == [str(len(answer.body))]


def test_file_that_grows_is_sent_as_it_was(content: Path) -> None:
    log: list[str] = []
    with Rig(served(content, log)) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        rig.turns()
        with content.open("ab") as file:
            file.write(b"more")
        answer = Answer(drain(rig, client, 4096))
        assert answer.body == text(100_000)
        assert client.state == "OPEN"


@pytest.mark.parametrize("count", range(4, 14))
def test_head_goes_before_the_file(content: Path, count: int) -> None:
    """Hints that were held must not let the file overtake the head."""
    seen: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        for _ in range(count):
            environ["wsgi.early_hints"]([("Link", "x" * 1000)])
        seen.append(client.take())
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](content.open("rb"))

    with Rig(app) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        data = drain(rig, client, 10_000)
        data = seen[0] + data
        for _ in range(count):
            answer = Answer(data)
            assert answer.status == 103
            data = answer.rest
        assert Answer(data).body == text(100_000)


def test_others_get_their_turn_while_a_file_is_read_as_fast_as_it_is_sent(content: Path) -> None:
    """A mebibyte a turn, however much the socket takes."""
    size = 32 << 20
    os.truncate(content, size)
    log: list[str] = []
    with Rig(served(content, log), tcp=True) as rig:
        client = rig.client().send(get())
        reader = os.fork()
        if reader == 0:
            client.sock.setblocking(True)
            left = size
            while left > 0:
                left -= len(client.sock.recv(1 << 20)) or size
            os._exit(0)
        turns = 0
        while client.state != "OPEN" or not rig.worker.requests:
            assert rig.turn(PATIENCE)
            turns += 1
        assert os.waitpid(reader, 0)[1] == 0
        assert turns >= 32
        assert log == ["close"]
        client.close()
        rig.until(lambda: client.state == "CLOSED")


def test_file_behind_what_was_written(content: Path) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "120000")])(text(20_000, 5))
        return environ["wsgi.file_wrapper"](content.open("rb"))

    with Rig(app) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        answer = Answer(drain(rig, client, 10_000))
        assert answer.body == text(20_000, 5) + text(100_000)
        assert answer.whole


def test_chunked_file_behind_what_was_written(content: Path) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])(b"first")
        return environ["wsgi.file_wrapper"](content.open("rb"))

    with Rig(app) as rig:
        assert rig.client().answer(get()).body == b"first" + text(100_000)


@pytest.mark.parametrize("fault", [ValueError("close"), KeyboardInterrupt(), SystemExit(3)])
def test_close_that_raises_is_told_and_harms_nobody(content: Path, fault: BaseException) -> None:
    class Angry(File):
        def close(self) -> None:
            super().close()
            raise fault

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](Angry(content.open("rb"), log))
        result = Result([b"one"], log)
        result.close = lambda: (_ for _ in ()).throw(fault)  # type: ignore[method-assign]
        return result

    log: list[str] = []
    with Rig(app) as rig:
        for target in ("/file", "/iterable"):
            client = rig.client()
            assert client.answer(get(target)).whole
            assert client.state == "OPEN"
        assert [told for _, told in rig.faults] == [fault] * 2


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

"""wsgi.file_wrapper: what is sent by sendfile(2), what is read, and what closes it."""

from __future__ import annotations

import errno
import fcntl
import functools
import gzip
import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import File, Result, drain, served, text
from django.core.files import File as DjangoFile
from harness import PATIENCE, Answer, Rig, get, undated

STEPS = [1000, 4096, 10_007, 1 << 20]

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

    class Raw(io.RawIOBase):
        def __init__(self, path: Path) -> None:
            self.file = path.open("rb", 0)

        def fileno(self) -> int:
            return self.file.fileno()

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = (self.file.read(len(buffer)) or b"").upper()
            buffer[: len(data)] = data
            return len(data)

        def close(self) -> None:
            self.file.close()
            super().close()

    class Into(io.FileIO):
        def writable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = (super().read(len(buffer)) or b"").upper()
            buffer[: len(data)] = data
            return len(data)

    class Wrapping:
        """Changes what it reads, and says whom it wraps."""

        def __init__(self) -> None:
            file = content.open("rb")
            self.close = file.close
            self.read = functools.wraps(file.read)(lambda size: file.read(size).upper())

    class Lines:
        def __init__(self) -> None:
            file = content.open("rb")
            file.readline()
            file.seek(0)
            self.close = file.close
            self.read = file.read1

    def member() -> Any:
        return zipfile.ZipFile(archive).open("member")

    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("member", text(100_000))
    sources: list[tuple[Callable[[], Any], bytes]] = [
        (lambda: gzip.GzipFile(packed), text(100_000)),
        (lambda: Upper(content), text(100_000).upper()),
        (Own, text(100_000).upper()),
        (lambda: io.BytesIO(b"memory"), b"memory"),
        (lambda: content.open("rb"), text(100_000)),
        (lambda: io.BufferedReader(gzip.GzipFile(packed)), text(100_000)),
        (lambda: io.BufferedReader(member()), text(100_000)),
        (lambda: io.BufferedReader(Raw(content)), text(100_000).upper()),
        (lambda: io.BufferedReader(Into(content)), text(100_000).upper()),
        (lambda: io.BufferedRandom(Into(content)), text(100_000).upper()),
        (Wrapping, text(100_000).upper()),
        (Lines, text(100_000)),
    ]
    for make, expected in sources:

        def app(environ: dict[str, Any], start_response: Any, make: Callable[[], Any] = make) -> Any:
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](make(), 1000)

        with Rig(app) as rig:
            assert rig.client().answer(get()).body == expected
            assert rig.client().answer(get(method="HEAD"), head_only=True).status == 200
            assert rig.faults == []


@pytest.mark.parametrize("sendfile", [True, False])
def test_what_was_written_to_the_file_is_sent(content: Path, sendfile: bool) -> None:
    """read() gives it, though the kernel does not know of it yet."""
    content.write_bytes(b"as it was before")
    files: list[Any] = []

    class Open:
        """Not closed, which would flush it, until the client has read it."""

        def __init__(self, file: Any) -> None:
            self.read = file.read

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = content.open("r+b")
        files.append(file)
        file.read(3)
        file.write(b"is now    ")
        file.seek(3)
        assert content.read_bytes() == b"as it was before"
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](Open(file))

    with Rig(app, sendfile=sendfile) as rig:
        assert rig.client().answer(get()).body == b"is now    ore"
        assert rig.faults == []
    files[0].close()


def test_file_that_cannot_be_flushed_is_a_fault(content: Path) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = io.BufferedRandom(io.FileIO("/dev/full", "r+"))
        file.write(b"more")
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    with Rig(app) as rig:
        assert rig.client().answer(get()).status == 500
        assert {type(fault) for _, fault in rig.faults} == {OSError}


def test_file_that_is_not_for_reading_is_a_fault(content: Path) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.FileIO(content, "a"))

    with Rig(app) as rig:
        assert rig.client().answer(get()).status == 500
        assert [type(fault) for _, fault in rig.faults] == [io.UnsupportedOperation]


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


class Removed(io.FileIO):
    """A file of which the application wants to know the end."""

    def close(self) -> None:
        super().close()


class RemovedBuffered(io.BufferedReader):
    def close(self) -> None:
        super().close()


def named(content: Path) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    file.write(content.read_bytes())
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "make",
    [
        lambda content: content.open("rb"),
        lambda content: content.open("rb", 0),
        lambda content: content.open("r+b"),
        Removed,
        lambda content: RemovedBuffered(Removed(content)),
        lambda content: io.BufferedRandom(Removed(content, "r+")),
        named,
        lambda content: DjangoFile(content.open("rb")),
        lambda content: DjangoFile(named(content)),
        lambda content: DjangoFile(DjangoFile(content.open("rb"))),
    ],
)
def test_proxies_of_plain_files_go_by_sendfile(content: Path, make: Callable[[Path], Any]) -> None:
    """Whose read() is the file's own, or says that it hands on to it."""
    seen: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = make(content)
        seen.append(os.dup(file.fileno()))  # shares the position
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    with Rig(app) as rig:
        assert rig.client().answer(get()).body == text(100_000)
        assert rig.faults == []
    assert os.lseek(seen[0], 0, os.SEEK_CUR) == 0
    os.close(seen[0])


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


@pytest.mark.parametrize("step", STEPS)
def test_file_that_sendfile_cannot_send_is_read(content: Path, step: int) -> None:
    """man 2 sendfile: EINVAL where the file, its system or the socket cannot; here a socket with O_APPEND."""
    log: list[str] = []
    with Rig(served(content, log, headers=[("Content-Length", "50000")], offset=7), log="%(B)s") as rig:
        client = rig.client()
        fcntl.fcntl(client.fd, fcntl.F_SETFL, fcntl.fcntl(client.fd, fcntl.F_GETFL) | os.O_APPEND)
        with content.open("rb") as file, pytest.raises(OSError, match="Invalid argument"):
            os.sendfile(client.fd, file.fileno(), 0, 10)
        client.narrow()
        client.send(get())
        rig.turns()
        answer = Answer(drain(rig, client, step))
        assert answer.body == text(100_000)[7:50_007]
        assert (client.state, log, rig.faults, rig.logged()) == ("OPEN", ["close"], [], ["50000"])


def test_file_that_fails_is_told(content: Path) -> None:
    """No client has left: the disk, or here the descriptor, gives nothing. The client sees that it is cut."""
    log: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](File(os.fdopen(os.open(content, os.O_WRONLY), "rb", 0), log))

    with Rig(app, log="%(s)s %(B)s") as rig:
        client = rig.client()
        answer = Answer(client.ask(get("/file")))
        assert (answer.status, answer.body, answer.whole) == (200, b"", False)
        assert (client.state, client.ended, log) == ("CLOSED", "eof", ["close"])
        ((environ, fault),) = rig.faults
        assert environ is not None
        assert environ["RAW_URI"] == "/file"
        assert isinstance(fault, OSError)
        assert fault.errno == errno.EBADF
        assert rig.worker.app_faults == 1
        assert rig.logged() == ["200 0"]


def test_client_that_leaves_a_file_is_no_fault(content: Path) -> None:
    log: list[str] = []
    with Rig(served(content, log)) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        rig.turns()
        assert client.state == "FLUSH"
        client.close()
        rig.turns()
        assert (client.state, log, rig.faults) == ("CLOSED", ["close"], [])

"""Applications and callbacks that go wrong, wherever they can: told once, seen by the client, closed once."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import MOMENT, WAIT_HEAD, Answer, Rig, get, is_open, post

FAULTS = [ValueError("v"), KeyboardInterrupt(), SystemExit(1), GeneratorExit(), MemoryError()]


class Iterable_:
    """A result that fails where it is told to; what is called is logged."""

    def __init__(self, fault: BaseException, where: str, log: list[str]) -> None:
        self.fault, self.where, self.log = fault, where, log
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        if self.where == "iter":
            raise self.fault
        return self

    def __next__(self) -> bytes:
        self.count += 1
        if self.where == "first" and self.count == 1:
            raise self.fault
        if self.count == 1:
            return b"one"
        if self.where == "second":
            raise self.fault
        raise StopIteration

    def close(self) -> None:
        self.log.append("close")
        if self.where == "close":
            raise self.fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("where", ["call", "iter", "first", "second", "close"])
def test_fault_of_the_application(where: str, started: bool, fault: BaseException) -> None:
    log: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if started or where not in ("call", "iter", "first"):
            start_response("200 OK", [("X", "y")])
        if where == "call":
            raise fault
        return Iterable_(fault, where, log)

    with Rig(app, log="%(s)s") as rig:
        client = rig.client()
        answer = Answer(client.ask(get()))
        assert [told for _, told in rig.faults] == [fault]
        (environ, _) = rig.faults[0]
        assert environ is not None
        assert environ["RAW_URI"] == "/"
        assert rig.worker.app_faults == 1
        assert log == ([] if where == "call" else ["close"])
        if where == "close":
            assert (answer.status, answer.body, answer.whole) == (200, b"one", True)
            assert client.state == "OPEN"
        elif where == "second":
            assert (answer.status, answer.body, answer.whole) == (200, b"one", False)
            assert client.state == "CLOSED"
        else:
            assert (answer.status, answer.whole) == (500, True)
            assert answer.get("X") is None
            assert client.state == "LINGER"
        assert rig.logged() == [str(answer.status)]
        assert rig.worker.running == 0


def test_fault_and_then_another_one_in_close() -> None:
    class Both(Iterable_):
        def close(self) -> None:
            super().close()
            raise KeyError("again")

    log: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Both(ValueError("first"), "first", log)

    with Rig(app) as rig:
        client = rig.client()
        answer = client.answer(get())
        assert answer.status == 500
        assert [type(told) for _, told in rig.faults] == [ValueError, KeyError]
        assert log == ["close"]


def test_close_that_cannot_even_be_looked_up() -> None:
    class Odd:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"one"])

        @property
        def close(self) -> Any:
            raise ZeroDivisionError

    with Rig(lambda e, start: start("200 OK", []) and Odd()) as rig:
        client = rig.client()
        assert client.answer(get()).body == b"one"
        assert [type(told) for _, told in rig.faults] == [ZeroDivisionError]
        assert client.answer(get()).body == b"one"


@pytest.mark.parametrize(("method", "expected"), [("GET", b"The application failed.\n"), ("HEAD", b"")])
def test_answer_of_the_server_itself(method: str, expected: bytes) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("204 No Content", [("Content-Length", "7"), ("Server", "s"), ("Date", "d")])
        raise ValueError

    with Rig(app, server="prefork") as rig:
        answer = Answer(rig.client().ask(get(method=method)), head_only=method == "HEAD")
        assert (answer.status, answer.rest or answer.body) == (500, expected)
        assert answer.get("Content-Length") == "24"
        assert answer.get("Server") == "prefork"
        assert answer.get("Date") != "d"
        assert answer.get("Connection") == "close"


def test_faults_leave_nothing_behind() -> None:
    """An exception holds frames, frames hold start_response: that Response must not be another request's."""
    kept: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        mine = start_response
        if environ["PATH_INFO"] == "/bad":
            raise ValueError(mine)
        start_response("200 OK", [])
        return [b"good"]

    def keep(environ: dict[str, Any] | None, fault: BaseException) -> None:
        kept.append(fault)

    with Rig(app, on_app_fault=keep) as rig:
        for _ in range(5):
            assert rig.client().answer(get("/bad")).status == 500
            assert rig.client().answer(get()).body == b"good"
        for fault in kept:
            with pytest.raises(AssertionError, match="after the request was over"):
                fault.args[0]("200 OK", [])


# --- callbacks that raise ---


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What could be raised to nobody."""
    seen: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: seen.append(told.exc_value))
    return seen


def broken(*arguments: object) -> Any:
    raise ZeroDivisionError("callback")


def failing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    raise ValueError


def test_on_app_fault_that_raises(unraisable: list[BaseException | None]) -> None:
    with Rig(failing, on_app_fault=broken) as rig:
        client = rig.client()
        assert client.answer(get()).status == 500
        assert [type(each) for each in unraisable] == [ZeroDivisionError]
        assert client.state == "LINGER"
        assert rig.worker.running == 0
        assert rig.station.overdue() == []


def test_on_refusal_that_raises(unraisable: list[BaseException | None]) -> None:
    with Rig(on_refusal=broken) as rig:
        client = rig.client()
        assert client.answer(b"\0\r\n\r\n").status == 400
        assert client.state == "LINGER"
        assert len(unraisable) == 1


def test_on_notice_that_raises(unraisable: list[BaseException | None]) -> None:
    with Rig() as rig:
        rig.notices = None  # type: ignore[assignment]
        client = rig.client()
        assert client.answer(get()).status == 200

    def unmade() -> int:
        raise OSError(28, "no space")

    with Rig(open_spool=unmade, body_memory_limit=1) as rig:
        client = rig.client()
        assert client.answer(post(b"12345")).status == 503


def test_hooks_around_the_request() -> None:
    calls: list[Any] = []

    def pre(environ: dict[str, Any]) -> None:
        calls.append(("pre", environ["RAW_URI"]))

    def post_(environ: dict[str, Any], status: int, *rest: Any) -> None:
        calls.append(("post", environ["RAW_URI"], status))

    with Rig(pre_request=pre, post_request=post_) as rig:
        client = rig.client()
        client.answer(get("/a"))
        client.answer(get("/b"))
    assert calls == [("pre", "/a"), ("post", "/a", 200), ("pre", "/b"), ("post", "/b", 200)]


def test_pre_request_that_raises_is_a_fault_of_the_application() -> None:
    with Rig(pre_request=broken) as rig:
        client = rig.client()
        assert client.answer(get()).status == 500
        assert [type(told) for _, told in rig.faults] == [ZeroDivisionError]


def test_post_request_that_raises_is_told_and_harms_nobody() -> None:
    with Rig(post_request=broken) as rig:
        client = rig.client()
        for _ in range(2):
            assert client.answer(get()).body == b"Hello"
            assert client.state == "OPEN"
        assert [type(told) for _, told in rig.faults] == [ZeroDivisionError] * 2


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_trusted_that_raises_closes_the_descriptor() -> None:
    with Rig(tcp=True, trusted=broken) as rig, socket.socket() as sock:
        sock.connect(rig.listener.getsockname())
        before = descriptors()
        with pytest.raises(ZeroDivisionError):
            rig.endpoint.accept()
        assert descriptors() == before
        assert rig.station.held() == 0
        assert rig.worker.accepted == 0


def test_connection_that_cannot_be_watched_ends_at_its_deadline() -> None:
    """epoll_ctl(2) fails when the machine is out of memory or of watches: no reason to lose the worker."""
    with Rig(head_timeout=MOMENT, keepalive=MOMENT) as rig:
        whole = os.dup(rig.epoll.fileno())
        other = os.memfd_create("no epoll")
        os.dup2(other, rig.epoll.fileno())
        os.close(other)
        client = rig.connect()
        assert client.connection.turn(0) == 0
        assert rig.station.waiting(WAIT_HEAD) == [client.connection]
        served = rig.connect().send(get())
        assert served.connection.turn(0) == 0
        assert Answer(served.take()).body == b"Hello"
        assert len(rig.notices) == 2
        os.dup2(whole, rig.epoll.fileno())
        os.close(whole)
        rig.expire()
        assert (client.state, served.state) == ("CLOSED", "CLOSED")
        assert rig.station.held() == 0
        assert not is_open(client.fd)


def test_detached_input_harms_nobody() -> None:
    """A BufferedReader whose raw file was taken out cannot be closed."""
    raw: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raw.append(environ["wsgi.input"].detach())
        start_response("200 OK", [])
        return [b"detached"]

    with Rig(app, body_memory_limit=10) as rig:
        client = rig.client()
        assert client.answer(post(b"b" * 100)).body == b"detached"
        assert client.state == "OPEN"
        assert [type(told) for _, told in rig.faults] == [ValueError]
        raw[0].close()


# --- processes that the application forks ---


def stray(code: str) -> Callable[[], Iterable[bytes]]:
    """What a forked child does that does not end by itself."""

    def end() -> Iterable[bytes]:
        match code:
            case "exit 0":
                raise SystemExit
            case "exit 7":
                raise SystemExit(7)
            case "exit text":
                raise SystemExit("some text")
            case "raise":
                raise ValueError("in the child")
            case _:
                return [b"child"]

    return end


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize(
    ("end", "status"), [("exit 0", 0), ("exit 7", 7), ("exit text", 1), ("raise", 1), ("return", 1)]
)
def test_child_that_comes_back_ends_there(end: str, status: int, generator: bool) -> None:
    """sys.exit() in a child of os.fork() must not make a second worker of it, nor an answer."""
    ended: list[int] = []

    def fork() -> Iterable[bytes]:
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # what would go on as a copy of this test
            return stray(end)()
        ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return [b"parent"]

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        if generator:
            return (chunk for _ in range(1) for chunk in fork())
        return fork()

    with Rig(app) as rig:
        client = rig.client()
        answer = client.answer(get())
        assert ended == [status]
        assert (answer.body, answer.whole) == (b"parent", True)
        assert rig.faults == []
        assert client.answer(get()).body == b"parent"


# --- events that come while the application runs ---


def nested(rig: Rig) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """An application that makes the loop turn from inside, as greenlets and threads do."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        depth = int(environ["QUERY_STRING"] or 0)
        if depth:
            inner = rig.client()
            yield inner.ask(get(f"/?{depth - 1}"))
        yield b"depth %d" % depth

    return app


def test_loop_that_turns_inside_a_request() -> None:
    """More requests at once than there are slots for; each is answered, and all slots are free afterwards."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return nested(rig)(environ, start_response)

    with Rig(app, slots=3) as rig:
        client = rig.client()
        answer = client.answer(get("/?8"))
        for depth in range(8, -1, -1):
            assert answer.body.endswith(b"depth %d" % depth)
            if depth:
                answer = Answer(answer.chunks[0])
        assert rig.worker.running == 0
        assert all(view.start_ns == 0 for view in rig.scoreboard.requests(0))
        assert rig.station.overdue() == []


class Turning:
    """An object of the application's whose end makes the loop turn, as one that switches greenlets does."""

    def __init__(self, rig: Rig, ends: list[str]) -> None:
        self.rig = rig
        self.ends = ends

    def __del__(self) -> None:
        self.ends.append("end")
        self.rig.turns()


class TurningData(bytes):
    """A chunk of that kind."""

    rig: Rig
    ends: list[str]

    def __del__(self) -> None:
        self.ends.append("end")
        self.rig.turns()


def test_finalizers_that_turn_the_loop() -> None:
    """Whatever is let go of at the end of a request may run anything, this connection's own turn included."""
    ends: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["mine"] = Turning(rig, ends)
        headers = [("X", "y")]
        start_response("200 OK", headers)
        holder = Turning(rig, ends)
        return (chunk for chunk, _ in ((b"one", holder), (b"two", environ)))

    with Rig(app) as rig:
        clients = [rig.client().send(get() * 3) for _ in range(3)]
        rig.turns()
        for client in clients:
            data = client.take()
            for _ in range(3):
                answer = Answer(data)
                assert (answer.body, answer.whole) == (b"onetwo", True)
                data = answer.rest
            assert (data, client.state) == (b"", "OPEN")
        assert rig.faults == []
        assert ends == ["end"] * 18


@pytest.mark.parametrize("seed", range(8))
def test_chunks_whose_end_turns_the_loop(seed: int) -> None:
    """The next turn is inside the one that has sent the chunk before."""
    chance = random.Random(seed)
    chunks = [b"%04d" % number * chance.choice([1, 20, 20, 500, 3000]) for number in range(200)]
    ends: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        for data in chunks:
            chunk = TurningData(data)
            chunk.rig, chunk.ends = rig, ends
            yield chunk

    with Rig(app) as rig:
        client = rig.client()
        client.narrow(chance.choice([1, 9_000, 20_000]))
        client.send(get())
        rig.turns(limit=100)
        data = b""
        while more := client.take(chance.choice([1_000, 5_000, 20_000, 50_000])):
            data += more
            rig.turns(limit=100)
        answer = Answer(data)
        assert answer.body == b"".join(chunks)
        assert answer.whole
        assert ends == ["end"] * len(chunks)
        assert client.state == "OPEN"
        assert rig.faults == []


@pytest.mark.parametrize("reads", [True, False])
def test_giving_up_does_not_break_into_hints_that_are_held(reads: bool) -> None:
    taken: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for _ in range(20):
            environ["wsgi.early_hints"]([("Link", "x" * 1000)])
        for _ in range(20 if reads else 0):
            taken.append(client.take())
            environ["wsgi.early_hints"]([("Link", "y")])  # sends what was held, too
        taken.append(client.take())
        client.connection.give_up()
        start_response("200 OK", [])
        return [b"late"]

    with Rig(app, log="%(s)s") as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        rig.turns()
        data = b"".join(taken) + client.take()
        while data.startswith(b"HTTP/1.1 103 "):
            _, _, data = data.partition(b"\r\n\r\n")
        if reads:
            assert Answer(data).status == 504
        else:
            assert data == b""
        assert (client.ended, client.state) == ("eof", "CLOSED")
        assert rig.faults == []

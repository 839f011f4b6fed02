"""Every way a request can end, each played by a server that does exactly that."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from benchmarks.traffic import Arrivals, Ask, Outcome, Swarm, Tally, Visitor
from benchmarks.traffic.line import Line
from benchmarks.traffic.outcome import TABLE, Event, Stage, settle

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Worker: 7\r\n\r\nok"
CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

# What a server does on one connection, in order.
Step = Callable[[socket.socket], None]
Play = Sequence[Step]


def read(s: socket.socket) -> None:
    """One request without a body."""
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        data = s.recv(65536)
        if not data:
            return
        got += data


def send(data: bytes) -> Step:
    return lambda s: s.sendall(data)


def close(s: socket.socket) -> None:
    s.close()


def reset(s: socket.socket) -> None:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def wait_for_eof(s: socket.socket) -> None:
    while s.recv(65536):
        pass


class FakeServer:
    """Plays one script a connection; when they are used up the port refuses."""

    def __init__(self, *plays: Play) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._plays = plays
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connections = []
        for index, play in enumerate(self._plays):
            s, _ = self._listener.accept()
            if index + 1 == len(self._plays):
                self._listener.close()
            connections.append(s)
            for step in play:
                step(s)
        for s in connections:
            s.close()

    def join(self) -> None:
        self._listener.close()
        self._thread.join()


def ask_once(address: tuple[str, int], *asks: Ask, timeout: float = 5.0) -> Tally:
    """Send these requests one after the other, then think for an hour."""
    pauses = itertools.chain([0.0] * (len(asks) - 1), itertools.repeat(3600.0))
    script = iter(asks)
    with Swarm(address, [Visitor(script.__next__, think=pauses.__next__)], timeout=timeout) as swarm:
        assert swarm.wait_total(len(asks), timeout=10.0)
    return swarm.tally


HELLO = Ask("/", kind="hello", expect=b"ok")

# name, what the server does on each connection, the request, the outcome, a part of the detail
ENDINGS: list[tuple[str, Play, Ask, Outcome, str]] = [
    ("ok", [read, send(OK), wait_for_eof], HELLO, Outcome.OK, ""),
    ("ok and closed", [read, send(CLOSE), close], HELLO, Outcome.OK, ""),
    ("to EOF", [read, send(b"HTTP/1.1 200 OK\r\n\r\nok"), close], HELLO, Outcome.OK, ""),
    ("in two pieces", [read, send(OK[:20]), send(OK[20:]), wait_for_eof], HELLO, Outcome.OK, ""),
    (
        "wrong body",
        [read, send(OK), wait_for_eof],
        Ask("/", expect=b"no"),
        Outcome.WRONG,
        "not the 2 expected",
    ),
    ("wrong status", [read, send(OK), wait_for_eof], Ask("/", status=404), Outcome.WRONG, "200, not 404"),
    (
        "wrong says the check",
        [read, send(OK), wait_for_eof],
        Ask("/", check=lambda _: "old"),
        Outcome.WRONG,
        "old",
    ),
    ("too much", [read, send(OK + b"more"), wait_for_eof], HELLO, Outcome.WRONG, "4 bytes after"),
    ("not HTTP", [read, send(b"* OK IMAP4rev1\r\n"), wait_for_eof], HELLO, Outcome.WRONG, "status line"),
    (
        "5xx",
        [read, send(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"), close],
        HELLO,
        Outcome.SERVER_ERROR,
        "502",
    ),
    ("EOF before", [read, close], HELLO, Outcome.RESET_BEFORE, "EOF"),
    ("reset before", [read, reset], HELLO, Outcome.RESET_BEFORE, "ECONNRESET"),
    ("EOF in the middle", [read, send(OK[:-1]), close], HELLO, Outcome.RESET_MIDDLE, "EOF"),
    ("reset in the head", [read, send(OK[:9]), reset], HELLO, Outcome.RESET_MIDDLE, "ECONNRESET"),
    ("silent", [read, wait_for_eof], HELLO, Outcome.TIMEOUT, "stage wait"),
    ("stops in the middle", [read, send(OK[:-1]), wait_for_eof], HELLO, Outcome.TIMEOUT, "stage read"),
]


@pytest.mark.parametrize(
    ("name", "play", "ask", "outcome", "detail"), ENDINGS, ids=[row[0] for row in ENDINGS]
)
def test_ending(name: str, play: Play, ask: Ask, outcome: Outcome, detail: str) -> None:
    server = FakeServer(play)
    tally = ask_once(server.address, ask, timeout=0.1 if outcome is Outcome.TIMEOUT else 5.0)
    server.join()
    assert tally.counts == {outcome: 1}, tally.describe()
    assert tally.lost == (outcome is not Outcome.OK)
    if outcome is not Outcome.OK:
        (record,) = tally.records
        assert detail in record.detail
        assert not record.reused


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    tally = ask_once(address, HELLO)
    assert tally.counts == {Outcome.REFUSED: 1}
    assert tally.records[0].detail == "ECONNREFUSED"


def test_a_missing_unix_socket_refuses(tmp_path: object) -> None:
    with Swarm(f"{tmp_path}/none.sock", [Visitor(lambda: HELLO, think=lambda: 3600.0)]) as swarm:
        assert swarm.wait_total(1)
    assert swarm.tally.counts == {Outcome.REFUSED: 1}


def test_a_kept_connection_is_used_again_and_names_its_worker() -> None:
    server = FakeServer([read, send(OK), read, send(OK), wait_for_eof])
    tally = ask_once(server.address, HELLO, HELLO)
    server.join()
    assert tally.counts == {Outcome.OK: 2}
    assert (tally.connections, tally.kept) == (1, 1)
    assert tally.workers == {"7": 2}
    assert len(tally.took("hello")) == 2


def test_an_idle_close_that_was_seen_is_no_failure() -> None:
    closed = threading.Event()

    def close_and_tell(s: socket.socket) -> None:
        s.close()
        closed.set()

    def script() -> Iterator[Ask]:
        yield HELLO
        assert closed.wait(5.0)
        yield HELLO

    server = FakeServer([read, send(OK), close_and_tell], [read, send(OK), wait_for_eof])
    pauses = iter([0.0, 3600.0])
    with Swarm(server.address, [Visitor(script().__next__, think=pauses.__next__)]) as swarm:
        assert swarm.wait_total(2)
    server.join()
    assert swarm.tally.counts == {Outcome.OK: 2}
    assert (swarm.tally.connections, swarm.tally.idle_closed) == (2, 1)


def test_a_request_that_crosses_an_idle_close_is_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client that looks before it sends is made blind, which is what a race is."""
    closed = threading.Event()

    def close_and_tell(s: socket.socket) -> None:
        s.close()
        closed.set()

    monkeypatch.setattr(Line, "_drop_if_closed", lambda line: None)
    server = FakeServer([read, send(OK), close_and_tell])

    def script() -> Iterator[Ask]:
        yield HELLO
        assert closed.wait(5.0)
        yield HELLO

    pauses = iter([0.0, 3600.0])
    with Swarm(server.address, [Visitor(script().__next__, think=pauses.__next__)]) as swarm:
        assert swarm.wait_total(2)
    server.join()
    assert swarm.tally.counts == {Outcome.OK: 1, Outcome.RACE: 1}, swarm.tally.describe()
    assert swarm.tally.records[0].reused


def test_a_taken_request_on_a_kept_connection_is_lost_not_a_race() -> None:
    server = FakeServer([read, send(OK), read, close])
    tally = ask_once(server.address, HELLO, HELLO)
    server.join()
    assert tally.counts == {Outcome.OK: 1, Outcome.RESET_BEFORE: 1}


def test_an_early_answer_to_an_upload_is_an_answer() -> None:
    """413 while the body is still being sent, then a close that may reset: the answer counts."""

    def read_some(s: socket.socket) -> None:
        s.recv(1000)

    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    big = Ask("/up", "POST", kind="upload", body=b"x" * 8_000_000, status=413)
    server = FakeServer([read_some, send(refusal), wait_for_eof])
    tally = ask_once(server.address, big)
    server.join()
    assert tally.counts == {Outcome.OK: 1}, tally.describe()


def test_one_shot_clients_open_a_connection_each() -> None:
    server = FakeServer([read, send(CLOSE), close], [read, send(CLOSE), close])
    pauses = iter([0.0, 3600.0])
    visitor = Visitor(lambda: HELLO, keep_alive=False, think=pauses.__next__)
    with Swarm(server.address, [visitor]) as swarm:
        assert swarm.wait_total(2)
    server.join()
    assert swarm.tally.counts == {Outcome.OK: 2}
    assert (swarm.tally.connections, swarm.tally.kept) == (2, 0)


def test_arrivals_count_from_when_they_were_due() -> None:
    """One line, a first answer that is late: the second request was due long before it could begin."""
    released = threading.Event()

    def hold(s: socket.socket) -> None:
        assert released.wait(5.0)

    server = FakeServer([read, hold, send(OK), read, send(OK), close])
    swarm = Swarm(server.address, [Arrivals(lambda: HELLO, rate=200.0, lines=1)])
    swarm.start()
    assert not swarm.wait_total(1, timeout=0.1)
    released.set()
    assert swarm.wait_total(2)
    tally = swarm.stop()
    server.join()
    first, second, *_ = sorted(tally.took("hello"), reverse=True)
    assert first >= 0.09
    assert first - 0.02 <= second < first


def test_a_fault_of_the_client_is_raised_not_counted() -> None:
    def broken() -> Ask:
        raise KeyError("no such page")

    swarm = Swarm(("127.0.0.1", 1), [Visitor(broken)])
    swarm.start()
    assert not swarm.wait_total(1)
    with pytest.raises(KeyError):
        swarm.stop()


def test_every_stage_answers_every_event_that_can_be() -> None:
    """Closing, resetting and running out of time are possible in every stage."""
    for stage in Stage:
        for event in (Event.EOF, Event.RESET, Event.DEADLINE):
            assert isinstance(TABLE[stage, event], Outcome)


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("reused", [True, False])
@pytest.mark.parametrize("delivered", [True, False])
def test_only_an_undelivered_request_on_a_reused_connection_is_a_race(
    outcome: Outcome, reused: bool, delivered: bool
) -> None:
    race = outcome is Outcome.RESET_BEFORE and reused and not delivered
    assert settle(outcome, reused=reused, delivered=delivered) is (Outcome.RACE if race else outcome)

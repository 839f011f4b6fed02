"""Accepting: what a listener's turn does by itself, and what it leaves to others to decide."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness import GONE, PIPELINED, WAITING, Rig, get, hello

from prefork.engine.connection import Connection
from prefork.engine.endpoint import Endpoint
from prefork.engine.scoreboard import WorkerState
from prefork.engine.station import Member, Station

OVER, EMPTY, LIGHTER, EXHAUSTED, FULL, LOST = range(6)  # Halt, engine/endpoint.pxd
CLOSE = "Connection: close"


class Door:
    """A rig's listener, clients that wait at it, and what serve() wants settled."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.socks: list[socket.socket] = []
        self.settled: list[int] = []
        self.lost = False

    def knock(self, data: bytes = b"", count: int = 1) -> None:
        for _ in range(count):
            sock = socket.socket(self.rig.listener.family)
            sock.connect(self.rig.listener.getsockname())
            sock.sendall(data)
            self.socks.append(sock)

    def settle(self, connection: Connection, outcome: int) -> bool:
        self.settled.append(outcome)
        if outcome == WAITING:
            connection.run()
        return self.lost

    def serve(self, room: int = 1 << 30, left: int = 64) -> int:
        """A listener's turn, and the next where it was long: the machine may be slow."""
        endpoint, station = self.rig.endpoint, self.rig.station
        endpoint.left = left
        before = self.rig.worker.accepted
        while True:
            station.wait(0, 64)
            halt = endpoint.serve(room - (self.rig.worker.accepted - before), self.settle)
            if halt != OVER or endpoint.left == 0:
                return halt

    @property
    def answered(self) -> int:
        return self.rig.station.answered()


@contextmanager
def door(app: Any = hello, **options: Any) -> Iterator[Door]:
    with Rig(app, **options) as rig:
        made = Door(rig)
        yield made
        for sock in made.socks:
            sock.close()
        rig.turns()


def test_everybody_who_waits_is_served() -> None:
    with door() as each:
        each.knock(get("/", CLOSE), 5)
        each.knock(b"", 2)
        assert each.serve() == EMPTY
        assert (each.answered, each.rig.station.held(), each.settled) == (5, 2, [])
        assert each.rig.endpoint.left == 64 - 8  # the look that found nobody counts


def test_so_many_a_turn() -> None:
    with door() as each:
        each.knock(get(), 5)
        assert each.serve(left=3) == OVER
        assert each.answered == 3


def test_so_many_as_there_is_room_for() -> None:
    with door() as each:
        each.knock(get(), 5)
        assert each.serve(room=3) == FULL
        assert each.answered == 3
        assert each.serve(room=0) == FULL
        assert each.serve(room=-1) == FULL
        assert each.answered == 3


def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Twice what makes a turn long (LATE_NS, engine/station.pxd)."""
    since = time.monotonic()
    while time.monotonic() < since + 0.002:
        pass
    return hello(environ, start_response)


def test_long_turn_ends() -> None:
    """What has not begun is left to siblings."""
    with door(slow) as each:
        each.knock(get(), 3)
        each.rig.endpoint.left = 64
        each.rig.station.wait(0, 64)
        assert each.rig.endpoint.serve(64, each.settle) == OVER
        assert each.answered == 1
        assert each.rig.endpoint.left == 63


def test_long_turn_goes_on_while_clients_are_owed() -> None:
    """As many as the turn has given to those who were here before: nobody waits for rounds and rounds."""
    with door(slow) as each:
        each.knock(get(), 5)
        each.rig.endpoint.left = 64
        each.rig.endpoint.owed = 3
        each.rig.station.wait(0, 64)
        assert each.rig.endpoint.serve(64, each.settle) == OVER
        assert each.answered == 3


def test_listener_may_be_let_go_while_a_request_runs() -> None:
    """By a signal handler: nothing is accepted from its number any more, which may be a file's by then."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        each.rig.station.closed = True
        return hello(environ, start_response)

    with door(app) as each:
        each.knock(get(), 3)
        assert each.serve() == FULL
        assert (each.answered, each.rig.station.held()) == (1, 1)
        assert each.serve() == FULL
        each.rig.station.closed = False
        assert each.serve() == FULL
        assert each.answered == 2


@pytest.mark.parametrize("pipelined", [False, True])
def test_one_is_settled_at_a_time(pipelined: bool) -> None:
    with door() as each:
        each.rig.station.hold = not pipelined
        each.knock(get() * 2 if pipelined else get(), 3)
        assert each.serve() == FULL
        assert each.settled == [PIPELINED if pipelined else WAITING]
        assert each.answered == 1


def test_lost_reactor_ends_it() -> None:
    with door() as each:
        each.rig.station.hold = each.lost = True
        each.knock(get(), 3)
        assert each.serve() == LOST
        assert each.settled == [WAITING]


def test_gone_connections_are_nobodys_business() -> None:
    with door() as each:
        each.knock(get("/", CLOSE), 3)
        assert each.serve() == EMPTY
        assert GONE not in each.settled
        assert each.rig.station.held() == 0


def test_lighter_sibling_is_left_the_next_one() -> None:
    with door() as each:
        each.rig.scoreboard.set_worker(1, pid=1, generation=1, state=WorkerState.SERVING)
        each.knock(get(), 5)
        assert each.serve() == LIGHTER  # it holds none; with two of our own that is clearly fewer
        assert (each.rig.endpoint.sibling, each.rig.station.held()) == (1, 2)
        each.rig.endpoint.patient = True
        assert each.serve() == LIGHTER
        assert (each.rig.endpoint.patient, each.rig.station.held()) == (False, 3)
        each.rig.scoreboard.set_worker(1, pid=1, generation=1, state=WorkerState.DRAINING)
        assert each.serve() == EMPTY
        assert each.rig.station.held() == 5


def test_no_descriptor_left() -> None:
    with door() as each:
        each.knock(get(), 2)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = os.dup(0)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, before[1]))
        try:
            assert each.serve() == EXHAUSTED
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert each.rig.station.exhausted
        assert each.serve() == EMPTY
        assert each.answered == 2


def test_fault_of_settle_is_the_callers() -> None:
    def settle(connection: Connection, outcome: int) -> bool:
        connection.abandon()
        raise LookupError(outcome)

    with door() as each:
        each.rig.station.hold = True
        each.knock(get(), 1)
        each.rig.endpoint.left = 1
        with pytest.raises(LookupError):
            each.rig.endpoint.serve(1, settle)


# --- who the client is ---


def test_addresses_are_told_apart_and_trust_is_asked_when_they_change() -> None:
    told: list[tuple[str, str]] = []
    asked: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        told.append((environ["REMOTE_ADDR"], environ["REMOTE_PORT"]))
        return hello(environ, start_response)

    def trust(address: str) -> bool:
        asked.append(address)
        if address == "127.0.0.3":
            raise LookupError(address)
        return False

    with door(app, tcp=True, trusted=trust) as each:
        for host in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.1"):
            sock = socket.create_connection(each.rig.listener.getsockname(), source_address=(host, 0))
            each.socks.append(sock)
            sock.sendall(get())
            before = len(told)
            each.serve()
            each.rig.until(lambda before=before: len(told) > before)  # type: ignore[misc]
            source, port = sock.getsockname()
            assert told[-1] == (source, str(port))
        assert asked == ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
        for _ in range(2):  # nothing of a failure is remembered
            sock = socket.create_connection(each.rig.listener.getsockname(), source_address=("127.0.0.3", 0))
            each.socks.append(sock)
            with pytest.raises(LookupError):
                each.serve()
        assert each.rig.station.held() == 5


# --- called from Python in ways that nothing here calls it ---


def test_connections_are_made_by_endpoints_alone() -> None:
    for make in (Connection, lambda: Connection.__new__(Connection)):
        for _ in range(2):
            with pytest.raises(TypeError, match="Endpoint"):
                make()
    with Rig() as rig:
        assert rig.client().answer(get()).status == 200
    with pytest.raises(TypeError):
        Connection()


def test_what_is_not_whole_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        Station.__new__(Station)
    with pytest.raises(TypeError):
        Endpoint.__new__(Endpoint)
    with Rig() as rig:
        with pytest.raises(TypeError):
            Endpoint(None, 0, {}, True)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Endpoint(rig.station, 0, None, True)  # type: ignore[arg-type]
        held = rig.client()
        rig.station.__init__(epoll=-1)  # type: ignore[call-arg, misc]
        assert held.answer(get()).status == 200
    assert Member().turn(0) == 0


def test_arguments_out_of_range_are_refused() -> None:
    with Rig() as rig:
        for wait in (-1, 5, 1 << 30):
            for look in (rig.station.waiting, rig.station.first_waiting, lambda n: rig.station.resting(n, 0)):
                with pytest.raises(IndexError):
                    look(wait)
        with pytest.raises(TypeError):
            rig.station.share_turn(None)  # type: ignore[arg-type]
        for code in (-1, 0, 100_000):
            with pytest.raises(ValueError, match="refusal"):
                rig.station.answer_at_abort(code)
        with pytest.raises(OSError, match="epoll_wait"):
            rig.station.wait(0, 0)
        assert rig.station.remaining(None) == float("inf")
        rig.station.extend(None, 1)
    with Rig(tcp=True) as rig, pytest.raises(ValueError, match="unix"):
        rig.endpoint.adopt(0)

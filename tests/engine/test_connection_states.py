"""Every event in every state: turn, run, expired, retire and abandon, each with a defined answer.

A connection is brought into a state by bytes alone, then gets the event; the table says what follows.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness import GONE, KEEP, MOMENT, WAITING, Client, Occupied, Rig, get, is_open, post

from prefork.engine.connection import FOLLOWS, STATE_NAMES

EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP = 1, 4, 8, 16
BIG = b"b" * 400_000  # more than a narrowed socket takes
STATES = ("OPEN", "KEPT", "HEAD", "BODY", "CHUNKS", "READY", "RUNNING", "FLUSH", "LINGER", "CLOSED")
EVENTS = ("turn", "readable", "error", "run", "expired", "retire", "abandon")

# (state, event) -> (what the call returns, the state afterwards). "expired" comes through the Station's
# queues and returns nothing. KEPT is OPEN after a first request, CHUNKS is BODY of a chunked request.
KEEPS: dict[str, tuple[Any, str]] = {state: (KEEP, state) for state in STATES}
TABLE: dict[str, dict[str, tuple[Any, str]]] = {
    "turn": {**KEEPS, "READY": (KEEP, "READY"), "CLOSED": (GONE, "CLOSED")},
    "readable": {
        **KEEPS,
        "OPEN": (KEEP, "HEAD"),
        "KEPT": (KEEP, "HEAD"),
        "CLOSED": (GONE, "CLOSED"),
    },
    "error": {**KEEPS, "CLOSED": (GONE, "CLOSED")},
    "run": {**KEEPS, "READY": (KEEP, "OPEN"), "CLOSED": (GONE, "CLOSED")},
    "expired": {
        **{state: (None, state) for state in STATES},
        "OPEN": (None, "CLOSED"),
        "KEPT": (None, "CLOSED"),
        "HEAD": (None, "LINGER"),
        "BODY": (None, "LINGER"),
        "CHUNKS": (None, "LINGER"),
        "FLUSH": (None, "CLOSED"),
        "LINGER": (None, "CLOSED"),
    },
    "retire": {
        **{state: (False, state) for state in STATES},
        "OPEN": (False, "LINGER"),
        "KEPT": (False, "LINGER"),
    },
    "abandon": {
        **dict.fromkeys(STATES, (GONE, "CLOSED")),
        "RUNNING": (KEEP, "RUNNING"),
        "CLOSED": (KEEP, "CLOSED"),
    },
}
ANSWERS = {  # what the client has read in the end, where it is not nothing
    ("HEAD", "expired"): b"HTTP/1.1 408 Request Timeout\r\n",
    ("BODY", "expired"): b"HTTP/1.1 408 Request Timeout\r\n",
    ("CHUNKS", "expired"): b"HTTP/1.1 408 Request Timeout\r\n",
    ("READY", "run"): b"HTTP/1.1 200 OK\r\n",
}


class Inside:
    """An application that lets the test act while it runs."""

    def __init__(self) -> None:
        self.act: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        if self.act is not None:
            act, self.act = self.act, None
            act()
        return [BIG if environ["PATH_INFO"] == "/big" else b"small"]


@contextmanager
def prepared(state: str) -> Iterator[tuple[Rig, Client, Inside]]:
    """A connection that is in that state, all its deadlines about to pass."""
    app = Inside()
    spans: dict[str, Any] = dict.fromkeys(
        ("head_timeout", "body_timeout", "keepalive", "write_timeout", "linger_timeout"), MOMENT
    )
    with Rig(app, body_min_rate=1e12, **spans) as rig:
        client = rig.client()
        match state:
            case "KEPT":
                assert client.answer(get()).status == 200
            case "HEAD":
                client.ask(b"GET / HTTP/1.1\r\nHo")
            case "BODY":
                client.ask(post(b"body")[:-2])
            case "CHUNKS":
                client.ask(get("/", "Transfer-Encoding: chunked") + b"5\r\nab")
            case "READY":
                rig.station.hold = True
                client.ask(get())
            case "FLUSH":
                client.narrow()
                client.send(get("/big"))
                rig.turns()
            case "LINGER":
                client.ask(b"\0")
            case "CLOSED":
                client.half_close()
                rig.turns()
        client.take()
        yield rig, client, app


def act(rig: Rig, client: Client, event: str) -> object:
    connection = client.connection
    match event:
        case "turn":
            return connection.turn(0)
        case "readable":
            if client.state != "CLOSED":
                client.send(b"G")
            return connection.turn(EPOLLIN)
        case "error":
            return connection.turn(EPOLLERR | EPOLLHUP)
        case "run":
            return connection.run()
        case "expired":
            return rig.expire()  # type: ignore[func-returns-value]
        case "retire":
            return connection.retire()
        case _:
            return connection.abandon()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state(state: str, event: str) -> None:
    name = {"KEPT": "OPEN", "CHUNKS": "BODY"}.get(state, state)
    returns, then = TABLE[event][state]
    then = {"KEPT": "OPEN", "CHUNKS": "BODY"}.get(then, then)
    seen: list[object] = []
    with prepared(state) as (rig, client, app):

        def happen() -> None:
            assert client.state == name
            seen.append(act(rig, client, event))
            seen.append(client.state)

        if state == "RUNNING":
            app.act = happen
            client.send(get())
            client.connection.turn(EPOLLIN)
        else:
            happen()
        assert seen == [returns, then]
        numbers = {name: number for number, name in enumerate(STATE_NAMES)}
        assert then == name or numbers[then] in FOLLOWS[numbers[name]] or (name, then) == ("READY", "OPEN")
        data = client.take()
        assert data.startswith(ANSWERS.get((state, event), b"")), data
        if then == "CLOSED":
            assert client.fd not in rig.station.members
            assert client.connection.descriptor == -1
            assert rig.station.held() == 0
            assert client.connection.request is None


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_descriptor_is_closed_exactly_once(state: str, event: str) -> None:
    with prepared(state) as (rig, client, app):
        if state == "RUNNING":
            app.act = lambda: act(rig, client, event)
            client.send(get())
            client.connection.turn(EPOLLIN)
        else:
            act(rig, client, event)
        if client.state != "CLOSED":
            assert is_open(client.fd)
            client.connection.abandon()
        taken = Occupied(client.fd)
        client.connection.abandon()
        client.connection.turn(EPOLLIN)
        assert client.connection.run() == GONE
        assert rig.worker.connections == 0
        connection = client.connection
        rig.clients.remove(client)
        del client.connection
        client.sock.close()
        del connection
        taken.check()


def test_table_names_every_state() -> None:
    assert set(FOLLOWS) == set(range(len(STATE_NAMES)))
    assert all(following <= set(FOLLOWS) for following in FOLLOWS.values())
    assert FOLLOWS[STATE_NAMES.index("CLOSED")] == set()
    assert {name for rows in TABLE.values() for _, name in rows.values()} <= set(STATES)


def test_end_while_application_runs_is_told_once() -> None:
    """A dead client must not keep epoll reporting while its request runs elsewhere."""
    turned: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        client.close()
        turned.extend(rig.turn() for _ in range(4))
        start_response("200 OK", [])
        return [b"nobody reads this"]

    with Rig(app) as rig:
        rig.station.hold = True
        client = rig.client().send(get())
        rig.turns()
        assert client.state == "READY"
        client.connection.run()
        assert turned[-1] == 0
        assert sum(turned) <= 2
        assert client.state == "CLOSED"
        assert rig.worker.statuses[0] == 1


def test_pipelined_bytes_do_not_turn_the_loop_while_ready() -> None:
    """Level-triggered interest would report them for ever."""
    with Rig() as rig:
        rig.station.hold = True
        client = rig.client().send(get())
        rig.turns()
        client.send(get() * 3)
        rig.turns(limit=3)
        assert client.connection.run() == KEEP
        rig.turn()
        assert client.state == "READY"


def test_hold_gives_the_request_to_whoever_calls_run() -> None:
    with Rig() as rig:
        rig.station.hold = True
        client = rig.connect().send(get())
        assert client.connection.turn(0) == WAITING
        assert client.connection.request is not None
        assert client.connection.run() == KEEP
        assert client.connection.request is None
        assert client.take().endswith(b"Hello")


def test_connections_in_a_cycle_with_their_station_are_collected() -> None:
    """The collector may clear the Station first; its queues must outlive the links in them."""
    rig = Rig()
    clients = [rig.client() for _ in range(20)]
    for number, client in enumerate(clients):
        client.ask((b"", get(), b"GET /", post(b"12345")[:-1], b"\0")[number % 5])
    sockets = [client.sock for client in clients]
    descriptors = [client.fd for client in clients]
    rig.listener.close()
    rig.epoll.close()
    del rig, clients, client
    gc.collect()
    assert not any(is_open(descriptor) for descriptor in descriptors)
    for sock in sockets:
        sock.close()


def test_the_time_inside_the_application_is_kept() -> None:
    """... and not what its answer takes to be read."""
    began = time.monotonic_ns()
    inside: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        inside.append(rig.scoreboard.busy_ns(0, time.monotonic_ns()))
        return [BIG]

    with Rig(app) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        rig.turns()
        assert client.state == "FLUSH"
        busy = rig.scoreboard.busy_ns(0, 1 << 62)
        assert 0 < inside[0] <= busy < time.monotonic_ns() - began
        client.ask(b"")
        assert rig.worker.requests == 1
        assert rig.scoreboard.busy_ns(0, 1 << 62) == busy

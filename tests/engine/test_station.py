"""What connections share: deadlines in order, the clock, refusals, slots, parked responses, accepting."""

from __future__ import annotations

import gc
import os
import resource
import socket
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from harness import (
    KEEP,
    MOMENT,
    WAIT_BODY,
    WAIT_HEAD,
    WAIT_IDLE,
    WAIT_LINGER,
    WAIT_WRITE,
    Answer,
    Client,
    Rig,
    get,
    hello,
    is_open,
    post,
)

from prefork.engine.response import Response

SPANS = ("head_timeout", "body_timeout", "keepalive", "write_timeout", "linger_timeout")


def big(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"b" * 300_000]


# --- deadlines ---

# name -> (what brings a new client there, the queue it is in then)
PLACES: dict[str, tuple[bytes, int]] = {
    "new": (b"", WAIT_HEAD),
    "in a head": (b"GET /", WAIT_HEAD),
    "in a body": (post(b"body")[:-1], WAIT_BODY),
    "kept": (get(), WAIT_IDLE),
    "refused": (b"\0\r\n\r\n", WAIT_LINGER),
}


def placed(rig: Rig, name: str) -> Client:
    client = rig.client()
    if PLACES[name][0]:
        client.ask(PLACES[name][0])
    return client


@pytest.mark.parametrize("name", PLACES)
def test_each_waits_in_one_queue_and_expires_alone(name: str) -> None:
    for wait, option in enumerate(SPANS):
        options: dict[str, Any] = {option: MOMENT}
        with Rig(body_min_rate=1e12, **options) as rig:
            client = placed(rig, name)
            queue = PLACES[name][1]
            assert rig.station.waiting(queue) == [client.connection]
            assert rig.station.first_waiting(queue) is client.connection
            assert sum(len(rig.station.waiting(each)) for each in range(5)) == 1
            before = client.state
            rig.expire()
            assert (client.state == before) is (wait != queue)


def test_flushing_is_a_place_too() -> None:
    with Rig(big) as rig:
        client = rig.client()
        client.narrow()
        client.send(get())
        rig.turns()
        assert rig.station.waiting(WAIT_WRITE) == [client.connection]
        while client.state == "FLUSH":
            assert client.take()
            rig.turns()
        assert rig.station.waiting(WAIT_WRITE) == []
        assert rig.station.waiting(WAIT_IDLE) == [client.connection]


def test_nobody_waits_while_a_request_runs() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert not any(rig.station.waiting(wait) for wait in range(5))
        rig.expire()
        return hello(environ, start_response)

    with Rig(app, **dict.fromkeys(SPANS, MOMENT)) as rig:  # type: ignore[arg-type]
        client = rig.connect().send(get())
        assert client.connection.turn(0) == KEEP
        assert client.take().endswith(b"Hello")
        assert rig.faults == []


def test_order_is_the_order_of_expiry() -> None:
    with Rig(keepalive=1000) as rig:
        clients = [rig.client() for _ in range(5)]
        for number in (3, 1, 4, 0, 2):
            clients[number].ask(get())
        order = [clients[number].connection for number in (3, 1, 4, 0, 2)]
        assert rig.station.waiting(WAIT_IDLE) == order
        clients[4].ask(get())
        clients[1].connection.abandon()
        assert rig.station.waiting(WAIT_IDLE) == [clients[number].connection for number in (3, 0, 2, 4)]
        assert rig.station.first_waiting(WAIT_IDLE) is clients[3].connection


def test_wait_span_is_that_of_the_first() -> None:
    with Rig(head_timeout=1000, keepalive=10) as rig:
        assert rig.station.wait_span() == -1
        client = rig.client()
        assert 990 < rig.station.wait_span() <= 1000
        client.ask(get())
        assert 5 < rig.station.wait_span() <= 10
    with Rig(head_timeout=MOMENT) as rig:
        rig.client()
        assert rig.station.wait_span() == 0
        assert rig.station.first_waiting(WAIT_HEAD) is not None
        rig.expire()
        assert rig.station.wait_span() == -1


def test_all_that_have_passed_expire_at_once() -> None:
    with Rig(head_timeout=MOMENT, linger_timeout=1000) as rig:
        clients = [rig.client() for _ in range(50)]
        for client in clients[:25]:
            client.ask(b"GET")
        rig.expire()
        assert {client.state for client in clients[:25]} == {"LINGER"}
        assert {client.state for client in clients[25:]} == {"CLOSED"}
        assert rig.station.held() == 25


def test_head_deadline_is_not_renewed_by_dripping() -> None:
    with Rig(head_timeout=1000) as rig:
        first, second = rig.client(), rig.client()
        first.ask(b"G")
        second.ask(b"G")
        for byte in b"ET / HTTP/1.1":
            first.ask(bytes([byte]))
        assert rig.station.first_waiting(WAIT_HEAD) is first.connection


@pytest.mark.parametrize(("sent", "renewed"), [(0, False), (99, False), (100, True), (150, True)])
def test_body_deadline_is_renewed_by_its_rate(sent: int, renewed: bool) -> None:
    """body_min_rate x body_timeout bytes are due in each span."""
    with Rig(body_timeout=MOMENT, body_min_rate=100 / MOMENT) as rig:
        client = rig.client()
        client.ask(get("/", "Content-Length: 1000", method="POST"))
        if sent:
            client.ask(b"b" * sent)
        rig.expire()
        assert client.state == ("BODY" if renewed else "LINGER")
        if renewed:
            rig.expire()
            assert client.state == "LINGER", "what came before the last look counted twice"


def test_span_of_a_queue_may_change() -> None:
    with Rig() as rig:
        rig.station.set_span(WAIT_HEAD, MOMENT)  # type: ignore[attr-defined]
        client = rig.client()
        rig.expire()
        assert client.state == "CLOSED"


def test_keepalive_of_nothing_closes() -> None:
    with Rig(keepalive=0) as rig:
        client = rig.client()
        assert client.answer(get()).get("Connection") == "close"
        assert client.state == "LINGER"


def test_resting() -> None:
    with Rig() as rig:
        client = rig.client()
        client.ask(get())
        assert rig.station.resting(WAIT_IDLE, 100) == []
        assert rig.station.resting(WAIT_IDLE, 0) == [client.connection]


# --- clock and head lines ---


def test_date_is_now_and_made_once_a_second() -> None:
    with Rig(server="a server") as rig:
        before = int(time.time()) - 1
        answer = rig.client().answer(get())
        date = answer.get("Date")
        assert date is not None
        assert before <= parsedate_to_datetime(date).timestamp() <= time.time() + 1
        assert answer.get("Server") == "a server"
        refusal = rig.client().answer(b"\0\r\n\r\n")
        assert refusal.get("Server") == "a server"
        assert refusal.get("Date") is not None


def test_server_name_has_to_fit() -> None:
    for name in ("s" * 40, ""):
        with Rig(server=name) as rig:
            assert rig.client().answer(get()).get("Server") == (name or None)
    with pytest.raises(ValueError, match="too long"):
        Rig(server="s" * 60)


def test_largest_head_of_the_server_itself_fits() -> None:
    """All that the server may add, behind a head that fills its buffer to the last byte."""
    for size in range(1400, 1560):

        def app(environ: dict[str, Any], start_response: Any, size: int = size) -> Iterable[bytes]:
            start_response("200 OK", [("X", "v" * size)])
            yield b"c" * 999_999

        with Rig(app, server="s" * 54) as rig:
            client = rig.client()
            answer = client.answer(get(version="1.1"))
            assert answer.get("X") == "v" * size
            assert answer.chunks == [b"c" * 999_999]


# --- refusals ---


@pytest.mark.parametrize("fields", [(), ("Retry-After: 1",), ("A: b", "C: d")])
def test_refusals_are_made_of_their_rows(fields: tuple[str, ...]) -> None:
    def refusals() -> dict[int, tuple[Any, ...]]:
        return {code: (418, "Teapot", f"fault {code}", *fields) for code in range(1, 80)}

    with Rig(refusals=refusals()) as rig:
        answer = rig.client().answer(b"\0\r\n\r\n")
        assert (answer.status, answer.reason) == (418, "Teapot")
        assert answer.body.startswith(b"fault ")
        for field in fields:
            name, _, value = field.partition(": ")
            assert answer.get(name) == value


# --- counting ---


def test_quota() -> None:
    with Rig() as rig:
        rig.station.quota = 3
        client = rig.client()
        spent = []
        for _ in range(5):
            client.answer(get())
            spent.append(rig.station.spent)
        assert spent == [False, False, True, True, True]
        assert rig.station.answered() == 5


def test_worker_counts_what_happened() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(environ["QUERY_STRING"].replace("+", " "), [])
        return [b"12345"]

    with Rig(app) as rig:
        client = rig.client()
        for status in ("200+OK", "302+Found", "404+None", "500+No", "299+Odd", "700+Odder"):
            client.answer(post(b"123", f"/?{status}"))
        rig.client().answer(b"\0\r\n\r\n")
        gone = rig.client().send(get("/?200+OK"))
        gone.close()
        rig.turns()
        worker = rig.worker
        assert worker.statuses == (2, 0, 2, 1, 2, 1)  # 700 is nothing, and the gone one got nothing
        assert worker.requests == 8
        assert worker.bytes_in == 18
        assert worker.client_faults == 1
        assert worker.accepted == 3
        assert sum(worker.latency) == sum(worker.queue) == 8
        assert worker.latency_ns > 0


def test_request_is_on_the_scoreboard_while_it_runs() -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((rig.scoreboard.requests(0), rig.worker.running, rig.station.running_members()))
        return hello(environ, start_response)

    with Rig(app, request_timeout=100) as rig:
        client = rig.client()
        client.answer(get("/" + "p" * 300, method="A" * 30))
        views, running, members = seen[0]
        (view,) = [view for view in views if view.start_ns]
        assert view.method == "A" * 23
        assert view.target == "/" + "p" * 158
        assert 99e9 < view.deadline_ns - view.start_ns < 101e9
        assert view.thread == int(Path("/proc/thread-self").readlink().name)
        assert (running, members) == (1, [client.connection])
        assert not any(view.start_ns for view in rig.scoreboard.requests(0))
        assert rig.station.running_members() == []
        assert rig.station.runner(0) is None


# --- parked responses ---


def test_parked_responses_are_bounded() -> None:
    """As many as ran at once, 256 at most."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        depth = int(environ["QUERY_STRING"])
        start_response("200 OK", [])
        if depth:
            inner = rig.client()
            inner.ask(get(f"/?{depth - 1}"))
            inner.connection.abandon()
        return [b"x"]

    with Rig(app) as rig:
        before = [
            each for each in gc.get_objects() if type(each) is Response
        ]  # kept: their places stay taken
        known = set(map(id, before))
        for _ in range(2):
            rig.client().answer(get("/?60"))
            made = [each for each in gc.get_objects() if type(each) is Response and id(each) not in known]
            assert len(made) == 61


# --- accepting ---


def test_accept_with_nobody_there() -> None:
    with Rig() as rig:
        assert rig.endpoint.accept() is None


def test_accept_without_descriptors() -> None:
    with Rig() as rig, socket.socket(socket.AF_UNIX) as sock:
        client = rig.client()
        sock.connect(rig.listener.getsockname())
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = os.dup(0)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, before[1]))
        try:
            with pytest.raises(OSError, match="24"):
                rig.endpoint.accept()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert rig.station.exhausted
        assert rig.station.held() == 1
        client.close()
        rig.turns()
        assert not rig.station.exhausted
        accepted = rig.endpoint.accept()
        assert accepted is not None
        accepted.abandon()
        assert not is_open(client.fd) or client.fd != accepted.descriptor


def test_accepted_descriptors_are_not_inherited_and_do_not_block() -> None:
    with Rig(tcp=True) as rig:
        client = rig.client()
        assert not os.get_inheritable(client.fd)
        assert not os.get_blocking(client.fd)
        client.close()
        rig.until(lambda: client.state == "CLOSED")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize(("host", "told"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
def test_address_of_a_client_of_a_dual_stack_listener(host: str, told: str) -> None:
    """An IPv4 client is named as it would be anywhere else."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        return hello(environ, start_response)

    def trust(address: str) -> bool:
        trusted.append(address)
        return False

    trusted: list[str] = []
    with Rig(app, tcp=True, trusted=trust) as rig:
        try:
            dual = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError:
            pytest.skip("no IPv6 here")
        os.dup2(dual.fileno(), rig.listener.fileno())
        port = dual.getsockname()[1]
        dual.close()
        with socket.create_connection((host, port)) as sock:
            sock.sendall(get())
            os.set_blocking(rig.listener.fileno(), True)
            connection = rig.endpoint.accept()
            assert connection is not None
            connection.turn(0)
            while not seen:
                rig.turn(10)
            assert seen[0]["REMOTE_ADDR"] == told
            assert seen[0]["REMOTE_PORT"] == str(sock.getsockname()[1])
            assert trusted == [told]
            connection.abandon()


# --- waiting for events ---


def test_glance_sees_what_is_there_while_there_is_much_to_do() -> None:
    with Rig() as rig:
        station = rig.station
        clients = [rig.client() for _ in range(3)]
        assert station.glance(64) == 0  # nothing has come so far
        for client in clients:
            client.send(get())
        assert station.glance(64) == 0  # nobody has found that there is much to do
        assert station.wait(10, 64) == station.found == 3
        deadline = time.monotonic() + 10
        while True:  # but for a machine that pauses between the two calls the first time will do
            station.wait_span()
            found = station.glance(2)
            if found:
                break
            assert time.monotonic() < deadline, "never"
        assert found == station.found == 2
        since = time.monotonic()
        while time.monotonic() - since < 0.001:
            pass
        assert station.glance(64) == 0  # it is time to look at the deadlines
        assert station.wait(10, 1) == 1
        for client in clients:
            client.connection.turn(1)
        assert station.wait(0, 64) == 0
        station.wait_span()
        assert station.glance(64) == 0


def test_other_station_objects_are_not_confused() -> None:
    """Two stations in one process (a test's own worry, but a cheap one)."""
    with Rig() as one, Rig(big) as other:
        first, second = one.client(), other.client()
        assert Answer(second.ask(get())).body == b"b" * 300_000
        assert first.answer(get()).body == b"Hello"
        assert (one.station.held(), other.station.held()) == (1, 1)

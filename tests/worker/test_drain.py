"""What clients see when a worker leaves: an answer to whatever they have begun, and never a reset."""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import Any

import pytest
from launcher import Server, until
from rawclient import Closed, Connection, Ending, request_bytes

from prefork.worker.drain import IDLE_GRACE

from .conftest import Gate, Start, refused, reload, side_by_side

ASK = request_bytes("GET", "/pid")


def accepted(server: Server) -> Connection:
    """A connection that a worker holds: it took the one that came after it."""
    client = server.connect()
    server.get("/pid")
    return client


def keeps(server: Server) -> bool:
    with server.connect() as client:
        return bool(client.request("GET", "/pid").keeps)


def last_answer(client: Connection, method: str = "GET") -> Any:
    """The next response has to be the last of its connection, which ends in order."""
    answer = client.response(method)
    assert (answer.status, answer.keeps) == (200, False)
    client.half_close()
    assert client.end() is Ending.CUT
    return answer


def test_whatever_has_begun_is_answered(start: Start, worker_class: str) -> None:
    server = start(worker_class)
    (old,) = server.worker_pids()
    silent, head, body, kept = (accepted(server) for _ in range(4))
    slow = server.connect(receive_buffer=4096)
    post = request_bytes("POST", "/length", body=b"x" * 1000)
    head.send(ASK[:20])
    body.send(post[:-500])
    assert kept.request("GET", "/pid").keeps
    slow.send(request_bytes("GET", "/sized?7000000"))
    first = slow.head()
    reload(server)
    silent.send(ASK)
    head.send(ASK[20:])
    body.send(post[-500:])
    kept.send(ASK)
    for client in (silent, head, kept):
        assert last_answer(client).text == str(old)
    assert last_answer(body, "POST").text == "1000"
    slow.body(first)
    assert (first.ending, len(first.body)) == (Ending.COMPLETE, 7_000_000)
    for client in (silent, head, body, kept, slow):
        client.close()
    until(lambda: old not in server.worker_pids(), "the old worker has gone")


def test_quiet_clients_are_told_by_a_fin(start: Start) -> None:
    """Kept or new, who sends nothing for long loses nothing: the stream ends in order, and with no byte."""

    def course(server: Server) -> None:
        fresh = accepted(server)
        kept = server.connect()
        kept.request("GET", "/pid")
        since = time.monotonic()
        reload(server)
        assert kept.end() is Ending.CUT
        assert time.monotonic() - since > IDLE_GRACE * 0.9
        assert fresh.end() is Ending.CUT
        fresh.close()
        kept.close()

    side_by_side(start, course)


def test_busy_clients_meet_no_closed_connection(start: Start, worker_class: str) -> None:
    """Those that send now and then, until they are told that this answer is the last."""
    server = start(worker_class, workers=2)
    clients = [server.connect() for _ in range(8)]
    for turn in range(2, 6):
        for client in clients:
            assert client.request("GET", "/pid").status == 200
        server.send_signal(signal.SIGHUP)
        server.stderr.wait(rf"ready.*: generation {turn}\b")
        for place, client in enumerate(clients):
            answer = client.request("GET", "/pid")
            assert answer.status == 200
            if not answer.keeps:
                assert client.end() is Ending.CUT
                client.close()
                clients[place] = server.connect()
    for client in clients:
        client.close()


def test_term_answers_who_waits_in_the_backlog(start: Start, gate: Gate, worker_class: str) -> None:
    server = start(worker_class)
    busy = [server.connect() for _ in range(4)]
    for client in busy[: 1 if worker_class == "sync" else 4]:
        client.send(request_bytes("GET", "/hold"))
    held = [gate.enter() for _ in busy[: 1 if worker_class == "sync" else 4]]
    waiting = [server.connect() for _ in range(20)]
    for client in waiting:
        client.send(ASK)
    server.send_signal(signal.SIGTERM)
    server.stderr.wait("TERM: draining")
    for each in held:
        each.release()
    for client in waiting:
        assert client.response().status == 200  # some before the worker has heard that it ends
        client.close()
    for client in busy:
        client.close()
    assert server.wait() == 0
    assert refused(server)


@pytest.mark.parametrize("turn", range(2))
def test_term_under_load_refuses_and_never_resets(start: Start, worker_class: str, turn: int) -> None:
    """New clients as fast as they can: each is answered, or refused before it has sent a byte."""
    server = start(worker_class, workers=2)
    assert isinstance(server.address, tuple)
    faults: list[str] = []
    answered = [0] * 8

    def visit(number: int) -> None:
        while True:
            with socket.socket() as client:
                client.settimeout(20)
                try:
                    client.connect(server.address)
                except ConnectionRefusedError:
                    return
                try:
                    client.sendall(ASK)
                    text = b""
                    while b"\r\n\r\n" not in text:
                        data = client.recv(65536)
                        if not data:
                            faults.append(f"end behind {text!r}")
                            return
                        text += data
                    answered[number] += text.startswith(b"HTTP/1.1 200")
                except OSError as fault:
                    faults.append(repr(fault))
                    return

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
    for each in visitors:
        each.start()
    until(lambda: min(answered) > 20, "everybody was served")
    server.send_signal(signal.SIGTERM)
    for each in visitors:
        each.join()
    assert server.wait() == 0
    assert faults == []


def test_drain_delay_goes_on_accepting(start: Start, worker_class: str) -> None:
    server = start(worker_class, "--drain-delay", "1", workers=2)
    kept = server.connect()
    assert kept.request("GET", "/pid").keeps
    since = time.monotonic()
    server.send_signal(signal.SIGTERM)
    server.stderr.wait(r"TERM: accepting for 1 s more, then draining")
    until(lambda: not any(keeps(server) for _ in range(8)), "answers say close")
    with server.connect() as client:
        client.send(ASK)
        last_answer(client)
    kept.send(ASK)
    last_answer(kept)
    kept.close()
    assert server.wait() == 0
    assert time.monotonic() - since > 1.0
    assert refused(server)


def test_unix_socket_backlog_is_answered(start: Start, gate: Gate, worker_class: str, tmp_path: Any) -> None:
    path = tmp_path / "s"
    server = start(worker_class, "-b", f"unix:{path}")
    server.address = str(path)
    with server.connect() as busy:
        busy.send(request_bytes("GET", "/hold"))
        held = gate.enter()
        waiting = [server.connect() for _ in range(5)]
        for client in waiting:
            client.send(ASK)
        server.send_signal(signal.SIGTERM)
        server.stderr.wait("TERM: draining")
        held.release()
        for client in waiting:
            assert client.response().status == 200
            client.close()
    assert server.wait() == 0
    assert not path.exists()


def test_who_does_not_end_in_time_is_answered_all_the_same(
    start: Start, gate: Gate, worker_class: str
) -> None:
    if worker_class == "sync":
        pytest.skip("its only thread is inside the application: the master ends it")
    server = start(worker_class, "--graceful-timeout", "0.5")
    with server.connect() as client:
        client.send(request_bytes("GET", "/hold"))
        gate.enter()
        server.send_signal(signal.SIGTERM)
        try:
            assert client.response().status == 504
        except Closed as fault:
            raise AssertionError("closed without an answer") from fault
    assert server.wait() == 0

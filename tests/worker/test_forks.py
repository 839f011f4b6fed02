"""Processes that the application forks: they have the application's things, and none of the worker's."""

from __future__ import annotations

import signal
import threading

import procfs
import pytest
from launcher import Events, Server, until
from rawclient import Ending, request_bytes

from .conftest import Gate, Start, refused

CLOSE = ("Connection", "close")
SOON = 5.0  # seconds for what must not wait for a child that lives longer

WAYS = {
    "sync": ("sync",),
    "threads": ("threads",),
    "gevent": ("gevent",),
    "sync-preload": ("sync", "--preload"),
    "threads-preload": ("threads", "--preload"),
}


@pytest.fixture(params=WAYS)
def server(request: pytest.FixtureRequest, start: Start, events: Events) -> Server:
    worker_class, *flags = WAYS[request.param]
    found = start(worker_class, *flags, app="forks:application", env=events.env)
    # CPython 3.12 and later tell whoever forks beside threads that it is dangerous. It is.
    found.forgive(r"DeprecationWarning: .* use of fork\(\) may lead to deadlocks")
    return found


def worker_of(server: Server) -> str:
    return server.get("/pid").text


def gone(pid: str) -> None:
    until(lambda: procfs.state(int(pid)) in "ZX", f"process {pid} ends")


def test_child_answers_nobody(server: Server, gate: Gate, events: Events) -> None:
    """It waits, and has a loop to do so in: neither new clients nor kept ones are its own."""
    worker = worker_of(server)
    with server.connect() as kept:
        assert kept.request("GET", "/pid").keeps
        child = server.get("/fork?hold").text
        held = gate.enter()
        for _ in range(30):
            assert worker_of(server) == worker
            assert kept.request("GET", "/pid").text == worker
        held.release()
        events.expect("child done")
        assert kept.request("GET", f"/reap?{child}").text == "0"


def test_child_has_no_descriptor_of_the_worker(
    server: Server, events: Events, request: pytest.FixtureRequest
) -> None:
    with server.connect() as kept:
        assert kept.request("GET", "/pid").keeps
        child = server.get("/fork?look").text
        own = int("gevent" in request.node.callspec.id)
        events.expect(f"0 sockets, {own} epoll instances")
        assert server.get(f"/reap?{child}").text == "0"


def test_close_is_seen_though_a_child_lives(server: Server, gate: Gate, events: Events) -> None:
    """The end of a connection is its last descriptor's, and the child was born with one of each."""
    with server.connect(deadline=SOON) as kept, server.connect(deadline=SOON) as forking:
        assert kept.request("GET", "/pid").keeps
        child = forking.request("GET", "/fork?hold", CLOSE).text
        held = gate.enter()
        assert forking.end() is Ending.CUT
        assert not kept.request("GET", "/pid", CLOSE).keeps
        assert kept.end() is Ending.CUT
        held.release()
        events.expect("child done")
        assert server.get(f"/reap?{child}").text == "0"


def test_worker_drains_though_a_child_lives(server: Server, gate: Gate, events: Events) -> None:
    child = server.get("/fork?hold").text
    held = gate.enter()
    server.send_signal(signal.SIGTERM)
    assert server.wait(SOON) == 0
    assert refused(server)
    assert server.trouble() == []
    assert procfs.state(int(child)) not in "ZX"
    held.release()
    events.expect("child done")
    gone(child)


def test_signal_for_the_child_is_the_childs(server: Server, gate: Gate) -> None:
    worker = worker_of(server)
    child = server.get("/fork?hold").text
    gate.enter()
    assert server.get(f"/kill?{child}").text == str(-signal.SIGTERM)
    assert server.get("/terminate?20").text == str({-signal.SIGTERM})
    assert worker_of(server) == worker


def test_processes_of_multiprocessing_cost_no_answer(server: Server) -> None:
    """Their job is over while requests are under way."""
    worker = worker_of(server)
    failed: list[str] = []

    def ask() -> None:
        try:
            for _ in range(15):
                assert server.get("/sleep?0.02").text == "0.02"
                assert worker_of(server) == worker
        except (AssertionError, OSError) as fault:
            failed.append(repr(fault))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    children = [server.get("/process?0.05").text for _ in range(8)]
    for client in clients:
        client.join()
    assert failed == []
    for child in children:
        gone(child)


@pytest.mark.parametrize(("how", "status"), [("leave", 7), ("come-back", 1)])
def test_child_that_comes_back_ends_after_it_has_waited(server: Server, how: str, status: int) -> None:
    worker = worker_of(server)
    child = server.get(f"/fork?{how}").text
    assert server.get(f"/reap?{child}").text == str(status)
    assert worker_of(server) == worker


def test_child_that_aborts_answers_nobody(server: Server) -> None:
    """Not with the 504 either that an aborted worker has for its clients."""
    server.forgive("Fatal Python error: Aborted")
    with server.connect() as client:
        assert client.request("GET", "/fork-and-reap?abort").text == str(-signal.SIGABRT)
        assert client.request("GET", "/echo?next").text == "next"


def test_child_can_do_all_that_an_application_does(server: Server, events: Events) -> None:
    child = server.get("/fork?labour").text
    events.expect("ear echo 127.0.0.1")
    assert server.get(f"/reap?{child}").text == "0"


def test_child_of_a_child_is_left_alone(server: Server, events: Events) -> None:
    child = server.get("/fork?daemon").text
    assert server.get(f"/reap?{child}").text == "0"
    events.expect(str(b"." * 16))


def test_program_that_is_started_by_a_fork(server: Server) -> None:
    assert server.get("/run?word").text == "word"


@pytest.mark.parametrize("worker_class", ["threads", "gevent"])
def test_other_requests_go_on_once(start: Start, gate: Gate, events: Events, worker_class: str) -> None:
    """Whoever waits in the worker when a request forks is not woken in the child, too: not for its answer."""
    server = start(worker_class, app="forks:application", env=events.env)
    server.forgive(r"DeprecationWarning: .* use of fork\(\) may lead to deadlocks")
    worker = worker_of(server)
    with server.connect() as waiting:
        waiting.send(request_bytes("GET", "/hold-and-say?once"))
        first = gate.enter()
        child = server.get("/fork?hold").text
        second = gate.enter()
        first.release()
        assert waiting.response().text == "once"
        second.release()
        assert server.get(f"/reap?{child}").text == "0"
    assert events.waiting() == [f"once in {worker}", "child done"]


@pytest.mark.parametrize("worker_class", ["sync", "threads", "gevent"])
def test_access_log_has_a_line_for_each_request(start: Start, gate: Gate, worker_class: str) -> None:
    """What is in its buffer when a request forks is not written twice."""
    server = start(worker_class, "--access-logfile", "-", app="forks:application")
    server.forgive(r"DeprecationWarning: .* use of fork\(\) may lead to deadlocks")
    child = server.get("/fork?hold").text
    held = gate.enter()
    for number in range(20):
        assert server.get(f"/echo?{number}").text == str(number)
    held.release()
    assert server.get(f"/reap?{child}").text == "0"
    server.stop()
    lines = [line for line in server.stdout.lines if "GET /" in line]
    assert len(lines) == len(set(lines)) == 22

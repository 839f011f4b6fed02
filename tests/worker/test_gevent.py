"""What an application may do with gevent in a gevent worker, and what the log says when it keeps the hub."""

from __future__ import annotations

import pytest
from launcher import Events, Server, until
from rawclient import Ending, request_bytes

from .conftest import Gate, Start

pytest.importorskip("gevent")


@pytest.fixture
def server(start: Start) -> Server:
    return start("gevent", "--stall-timeout", "0.1", app="greens:application")


def test_greenlets_timers_and_timeouts_of_the_application(server: Server) -> None:
    assert server.get("/spawn?green").text == "GREEN"
    assert server.get("/pool?5").text == "[0, 1, 4, 9, 16]"
    assert server.get("/timeout?20").text == "timed out"
    assert server.get("/timer?0.01").text == "armed"
    assert server.get("/wait?20").text == "True"  # rung behind the end of the request that armed it


@pytest.mark.parametrize("how", ["", "waited"])
def test_timeout_that_is_left_running_hits_no_other_request(server: Server, how: str) -> None:
    server.forgive("was left running by a request that is over: dropped")
    with server.connect() as one, server.connect() as other:
        for _ in range(3):
            assert one.request("GET", f"/leave-timeout?{how}").text == "left"
            # Others run in what would be its greenlet, and wait there when it fires.
            assert other.request("GET", "/wait?0.1").text == "False"
            assert other.request("GET", "/timeout?20").text == "timed out"
    server.stderr.wait("was left running by a request that is over: dropped", count=3)
    server.stop()


def test_greenlet_that_is_killed_behind_its_request(server: Server) -> None:
    with server.connect() as client:
        for _ in range(3):
            assert client.request("GET", "/keep").text == "kept"
            until(lambda: server.get("/kept").text == "0", "it is killed while it is parked")
    server.stop()


def test_request_that_keeps_the_hub_is_told_once(server: Server) -> None:
    assert server.get("/burn?0.5").text == "0.5"
    server.stderr.wait(
        r"WARNING.* the hub was not served for \d+\.\d s: GET /burn\?0\.5 HTTP/1\.1 held it, "
        r"at .*greens\.py:\d+ in burn"
    )
    assert server.get("/spawn?green").text == "GREEN"
    assert len([line for line in server.stderr.lines if "the hub was not served" in line]) == 1
    server.pardon()


def test_greenlet_that_keeps_the_hub_is_told(server: Server) -> None:
    assert server.get("/burn-apart?0.5").text == "0.5"
    server.stderr.wait(
        r"WARNING.* the hub was not served for \d+\.\d s: a greenlet of the application held it, "
        r"at .*greens\.py:\d+ in burn"
    )
    server.pardon()


@pytest.fixture
def forking(start: Start, events: Events) -> Server:
    return start("gevent", app="forks:application", env=events.env)


def test_greenlet_forks_and_ends(forking: Server, events: Events) -> None:
    """Whatever brings the child back to prefork's own frames ends it, and is not a fault of the worker's."""
    worker = forking.get("/pid").text
    for how, status in (("leave", "7"), ("come-back", "1"), ("labour", "0")):
        child = forking.get(f"/fork-in-greenlet?{how}").text
        assert forking.get(f"/reap?{child}").text == status
    child = forking.get("/fork?wait-for-nothing").text
    assert forking.get(f"/reap?{child}").text == "1"
    forking.stderr.wait("LoopExit: This operation would block forever")
    forking.pardon()
    assert forking.get("/pid").text == worker


def test_first_child_may_end_before_it_is_watched(forking: Server) -> None:
    """gevent catches SIGCHLD from its first child watcher on, which it makes behind the fork."""
    assert forking.get("/fork-late?0.2").text == "0"


def test_timeout_around_a_fork_is_the_childs_too(forking: Server, events: Events) -> None:
    child = forking.get("/fork-with-timeout?0.05").text
    events.expect("timed out")
    assert forking.get(f"/reap?{child}").text == "0"


def test_greenlet_of_the_import_stays_in_the_worker(start: Start, events: Events, gate: Gate) -> None:
    """It has waited since before the worker began to serve."""
    server = start("gevent", app="ticking:application", env=events.env)
    listener = gate.enter()
    child = server.get("/fork?hold").text
    held = gate.enter()
    listener.release()
    worker = server.get("/pid").text
    events.expect(f"rung in {worker}")
    held.release()
    events.expect("child done")
    assert server.get(f"/reap?{child}").text == "0"
    assert events.waiting() == []


def test_request_forks_amid_others(start: Start, events: Events, gate: Gate) -> None:
    """The hub was in the middle of what a poll had brought. In the child it does not go on there, nor does it
    act on deadlines, or write the access log."""
    flags = ("--keep-alive", "1", "--access-logfile", "-")
    server = start("gevent", *flags, app="forks:application", env=events.env)
    targets = ["/burn?0.3", "/fork?hold", *(f"/echo?{number}" for number in range(5)), "/hold-and-say?once"]
    clients = [server.connect() for _ in targets]
    for number, client in enumerate(clients):
        assert client.request("GET", f"/echo?first-{number}").keeps
    for client, target in zip(clients, targets, strict=True):
        client.send(request_bytes("GET", target))
    first, second = gate.enter(), gate.enter()  # the child, and the request behind it
    texts = [client.response().text for client in clients[:-1]]
    assert texts[2:] == [str(number) for number in range(5)]
    for client in clients[:-1]:
        assert client.end() is Ending.CUT
    first.release()
    second.release()
    worker = server.get("/pid").text
    assert clients[-1].response().text == "once"
    assert server.get(f"/reap?{texts[1]}").text == "0"
    assert sorted(events.waiting()) == ["child done", f"once in {worker}"]
    server.stop()
    lines = [line for line in server.stdout.lines if "GET /" in line]
    assert len(lines) == len(set(lines)) == 2 * len(targets) + 2

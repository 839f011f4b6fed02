"""Worker class threads: who is served next when there are more clients than threads; what they are called."""

from __future__ import annotations

import json
import select
import subprocess
from pathlib import Path

import pytest
from launcher import program
from rawclient import DEADLINE, request_bytes

from .conftest import Gate, Start

CLIENTS = 24
THREADS = 4
RESERVED = 64 << 20  # bytes; HEAP_MAX_SIZE, malloc/arena.c of glibc
ROUNDS = 25  # answers for each client, if all are served alike


@pytest.mark.parametrize("seconds", ["0.003", "0.01"])
def test_slow_requests_take_turns(start: Start, seconds: str) -> None:
    """Whoever was told to be ready first is served first; no client gets twice what another one gets."""
    server = start("threads", "--threads", str(THREADS))
    request = request_bytes("GET", f"/sleep?{seconds}")
    clients = [server.connect() for _ in range(CLIENTS)]
    for client in clients:
        assert client.request("GET", "/pid").keeps
    poller = select.poll()
    for client in clients:
        poller.register(client.socket, select.POLLIN)
        client.send(request)
    by_descriptor = {client.socket.fileno(): client for client in clients}
    served = dict.fromkeys(by_descriptor, 0)
    while sum(served.values()) < CLIENTS * ROUNDS:
        ready = poller.poll(DEADLINE * 1000)
        assert ready, f"nothing within {DEADLINE} s"
        for descriptor, _ in ready:
            client = by_descriptor[descriptor]
            assert client.response().text == seconds
            served[descriptor] += 1
            client.send(request)
    least, most = min(served.values()), max(served.values())
    assert least * 2 > most, f"{least} to {most} answers: {sorted(served.values())}"
    for client in clients:
        client.close()


def test_status_names_the_thread_of_a_request(start: Start, gate: Gate) -> None:
    server = start("threads", "--threads", str(THREADS))
    with server.connect() as client:
        client.send(request_bytes("GET", "/hold"))
        held = gate.enter()
        asked = [*program(), "status", str(server.pid), "--json"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        held.release()
        assert client.response().text == "held"
    ((request,),) = [each["requests_now"] for each in json.loads(told)["workers"]]
    assert (request["target"], request["thread_name"][:-1]) == ("/hold", "prefork-")


@pytest.mark.parametrize(("env", "arenas"), [({}, 1), ({"MALLOC_ARENA_MAX": "1"}, 0)])
def test_allocators_own_arenas(start: Start, env: dict[str, str], arenas: int) -> None:
    """One beside the main one, whatever the number of threads, unless somebody has said how many."""
    server = start("threads", "--threads", str(THREADS), env=env)
    clients = [server.connect() for _ in range(2 * THREADS)]
    for client in clients:  # all threads at once
        client.send(request_bytes("GET", "/sleep?0.05"))
    for client in clients:
        assert client.response().status == 200
        client.close()
    (worker,) = server.worker_pids()
    assert heaps(worker) == arenas


def heaps(pid: int) -> int:
    """Arenas of malloc(3) beside the main one: each has reserved 64 MB that end at a multiple of that."""
    spans = [line.split()[:2] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return sum(access == "---p" and int(span.partition("-")[2], 16) % RESERVED == 0 for span, access in spans)

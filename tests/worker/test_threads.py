"""Worker class threads: who is served next when there are more clients than threads; what they are called."""

from __future__ import annotations

import json
import select
import subprocess

import pytest
from launcher import program
from rawclient import DEADLINE, request_bytes

from .conftest import Gate, Start

CLIENTS = 24
THREADS = 4
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

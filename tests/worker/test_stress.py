"""Many requests at once, some slow at random: every answer comes once, to its own client, and in order.

The clients pipeline, so a worker that hands its turn from thread to thread (or parks greenlets) has every
chance to mix them up. Afterwards the worker is what it was before.

The usual run does 20,000 requests a class; PREFORK_TEST_FULL=1 does 100,000 with random aborts (issue 3).
"""

from __future__ import annotations

import os
import random
import select
import socket
import struct
from collections import deque

import procfs
import pytest
from launcher import Server, until
from rawclient import DEADLINE, request_bytes

from prefork.net import control

from .conftest import Gate, Start

REQUESTS = 20_000
ABORTED_REQUESTS = 100_000 if os.environ.get("PREFORK_TEST_FULL") else REQUESTS
CLIENTS = 24
DEPTH = 8  # requests under way on one connection, at most
SLOW = 0.01  # of all requests take a moment
ABORTS = 0.002  # of all answers are not waited for: the client goes, with or without a word


class Asker:
    """One connection that asks for numbers, several at a time, and compares the answers as they come."""

    def __init__(self, server: Server, chance: random.Random, number: int) -> None:
        self.socket = socket.create_connection(server.address, DEADLINE)
        self.socket.setblocking(False)
        self._chance = chance
        self._number = number
        self._asked = 0
        self._due: deque[str] = deque()
        self._buffer = b""
        self.answered = 0

    def leave(self) -> None:
        """With answers under way, in order or by a reset."""
        if self._chance.random() < 0.5:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def ask(self, most: int) -> int:
        """Send up to `most` requests; say how many."""
        count = min(most, DEPTH - len(self._due))
        data = b""
        for _ in range(count):
            self._asked += 1
            slow = self._chance.random() < SLOW
            text = f"{self._chance.choice((0.001, 0.004, 0.02))}{self._asked:06}" if slow else ""
            mark = text or f"{self._number}-{self._asked}"
            data += request_bytes("GET", f"/sleep?{mark}" if slow else f"/echo?{mark}")
            self._due.append(mark)
        if data:
            assert self.socket.send(data) == len(data)
        return count

    def receive(self) -> None:
        data = self.socket.recv(1 << 18)
        assert data, "the server has closed"
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            lines = head.split(b"\r\n")
            assert lines[0] == b"HTTP/1.1 200 OK", lines
            (length,) = (int(line[16:]) for line in lines if line.lower().startswith(b"content-length: "))
            if len(rest) < length:
                return
            assert rest[:length].decode() == self._due.popleft()
            self.answered += 1
            self._buffer = rest[length:]

    @property
    def waits(self) -> bool:
        return bool(self._due)


def state(pid: int) -> tuple[int, int]:
    """Threads and descriptors."""
    return procfs.threads(pid), len(procfs.descriptors(pid))


@pytest.mark.parametrize("aborts", [0.0, ABORTS], ids=["patient", "aborting"])
@pytest.mark.parametrize(
    ("flags", "at_once"),
    [(("sync",), 1), (("threads", "--threads", "8"), 8), (("gevent", "--worker-connections", "50"), 50)],
    ids=["sync", "threads", "gevent"],
)
def test_every_answer_once_and_in_order(
    start: Start, gate: Gate, flags: tuple[str, ...], at_once: int, aborts: float
) -> None:
    server = start(*flags)
    (worker,) = server.worker_pids()
    assert server.get("/echo?1").text == "1"

    def at_rest() -> bool:
        totals = next(control.ask(server.pid, "status"))["totals"]
        return bool(totals["running"] == 0 and totals["connections"] == 0)

    until(at_rest, "the first client has gone")
    before = state(worker)
    chance = random.Random(1)
    askers = {}
    poller = select.poll()
    done = 0
    total = left = ABORTED_REQUESTS if aborts else REQUESTS

    def join() -> Asker:
        found = Asker(server, chance, len(askers) + done)
        askers[found.socket.fileno()] = found
        poller.register(found.socket, select.POLLIN)
        return found

    for _ in range(CLIENTS):
        left -= join().ask(left)
    while any(each.waits for each in askers.values()):
        events = poller.poll(DEADLINE * 1000)
        assert events, f"nothing within {DEADLINE} s"
        for descriptor, _ in events:
            each = askers[descriptor]
            each.receive()
            if left and chance.random() < 0.7:
                left -= each.ask(min(left, chance.randint(1, DEPTH)))
            elif left and not each.waits:
                left -= each.ask(min(left, 1))
            if chance.random() < aborts * DEPTH and each.waits:
                poller.unregister(descriptor)
                done += askers.pop(descriptor).answered
                each.leave()
                left -= join().ask(left)
    done += sum(each.answered for each in askers.values())
    assert done == total if not aborts else total * 0.5 < done < total
    for each in askers.values():
        each.socket.close()
    until(at_rest, "nothing runs, nothing is held")
    until(lambda: state(worker) == before, f"threads and descriptors are {before} again, not {state(worker)}")
    assert server.worker_pids() == [worker]
    # No more than ever ran at once; one for each abort would be far more.
    assert int(server.get("/greenlets").text) <= 2 * CLIENTS
    # All that can run at once still can: no thread, greenlet or slot was lost.
    held = [server.connect() for _ in range(at_once)]
    for client in held:
        client.send(request_bytes("GET", "/hold"))
    for request in [gate.enter() for _ in held]:
        request.release()
    for client in held:
        assert client.response().text == "held"
        client.close()

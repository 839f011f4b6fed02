"""Gigantic pipelines: fair to others, bounded in memory (issue 2)."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import procfs
from rawclient import request_bytes

COUNT = 20_000
# Requests of the pipeline between two answers to somebody else. The server's share is far smaller: most of
# them pass while this process has not yet sent the next request.
LONGEST_WAIT = COUNT // 4


def test_others_get_their_turn(server: Any, worker_class: str) -> None:
    """20,000 requests in one go on one worker: another client is answered long before they are through."""
    running = server("wsgi_cases:application", worker_class=worker_class)
    pipeline = running.connect()
    data = request_bytes("GET", "/count") * (COUNT - 1) + request_bytes(
        "GET", "/count", ("Connection", "close")
    )
    sender = threading.Thread(target=pipeline.offer, args=(data,))
    with pipeline, running.connect() as other:
        assert other.request("GET", "/hello").keeps

        def take() -> None:  # and no more: who parses here keeps the other client from sending
            while pipeline.fill():
                pass

        reader = threading.Thread(target=take)
        sender.start()
        reader.start()
        turns = [0]
        while turns[-1] < COUNT:
            turns.append(int(other.request("GET", "/count").body))
        sender.join()
        reader.join()
        seen = [int(pipeline.response().body) for _ in range(COUNT)]
        assert seen == sorted(seen)
        waits = [later - earlier for earlier, later in itertools.pairwise(turns)]
        assert max(waits) < LONGEST_WAIT, waits


def test_client_that_never_reads(server: Any, worker_class: str) -> None:
    """200 x 5 MB asked for and none read: the server stops taking requests from that connection instead of
    heaping up answers."""
    running = server("wsgi_cases:application", worker_class=worker_class)
    (pid,) = running.worker_pids()
    running.get("/blob")
    before = procfs.resident(pid)
    with running.connect(receive_buffer=4096) as client:
        client.send(request_bytes("GET", "/sized?n=5000000&chunk=5000000") * 200)
        for _ in range(50):
            assert running.get("/hello").status == 200
        grown = procfs.resident(pid) - before
    assert running.get("/hello").status == 200
    assert grown < 32 << 20, f"{grown >> 20} MB"


def test_pipeline_of_bodies_that_nobody_reads(server: Any, worker_class: str) -> None:
    running = server("wsgi_cases:application", worker_class=worker_class)
    (pid,) = running.worker_pids()
    running.get("/hello")
    before = procfs.resident(pid)
    with running.connect(receive_buffer=4096) as client:
        client.socket.setblocking(False)
        data = request_bytes("POST", "/sum", body=b"b" * 100_000) * 5
        sent = 0
        for _ in range(200):
            try:
                sent += client.socket.send(data[sent % len(data) :])
            except BlockingIOError:
                pass
            assert running.get("/hello").status == 200
        grown = procfs.resident(pid) - before
    assert grown < 32 << 20, f"{grown >> 20} MB"

"""Connections spread over the workers, and a busy worker accepts none (issue 2)."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import pytest
from rawclient import request_bytes

CONNECTIONS = 32
REQUESTS = 4  # a connection


@pytest.mark.parametrize("how", ["one by one", "at once"])
def test_spread(server: Any, worker_class: str, how: str) -> None:
    """32 kept connections over 4 workers: requests per worker differ by at most 2 x. epoll alone wakes the
    same worker again and again."""
    running = server("wsgi_cases:application", worker_class=worker_class, workers=4).wait_workers(4)
    clients = []
    for _ in range(CONNECTIONS):
        client = running.connect()
        clients.append(client)
        if how == "one by one":
            assert client.request("GET", "/hello").status == 200
    answered: Counter[int] = Counter()
    for _ in range(REQUESTS):
        for client in clients:
            client.send(request_bytes("GET", "/where"))
        for client in clients:
            answered[json.loads(client.response().body)["pid"]] += 1
    for client in clients:
        client.close()
    assert sorted(answered) == sorted(running.worker_pids())
    assert max(answered.values()) <= 2 * min(answered.values()), answered


def test_busy_worker_accepts_nothing(server: Any, worker_class: str, events: Any, tmp_path: Any) -> None:
    """While the application runs in one of two workers, new clients are the other's, all of them at once."""
    if worker_class != "sync":
        pytest.skip("the other classes serve others while the application runs")
    fifo = tmp_path / "words"
    os.mkfifo(fifo)
    running = server(
        "wsgi_cases:application", worker_class=worker_class, workers=2, env=events.env
    ).wait_workers(2)
    with running.connect() as held:
        held.send(request_bytes("GET", f"/hold/one?fifo={fifo}"))
        events.expect("holding one")
        others = [running.connect() for _ in range(20)]
        for client in others:
            client.send(request_bytes("GET", "/where"))
        pids = {json.loads(client.response().body)["pid"] for client in others}
        for client in others:
            client.close()
        assert len(pids) == 1
        fifo.write_bytes(b"!")
        assert held.response().body == b"held"

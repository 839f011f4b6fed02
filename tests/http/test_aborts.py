"""A client that resets or leaves at any moment leaks nothing (issue 2)."""

from __future__ import annotations

from typing import Any

import procfs
import pytest
from launcher import until
from rawclient import Connection, chunked, request_bytes

# What a client sends before it goes: every state of a connection is left in.
MOMENTS = {
    "at once": b"",
    "in the method": b"GE",
    "in the head": b"GET /hello HTTP/1.1\r\nHost: te",
    "before the body": b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n",
    "in the body": b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nbbbb",
    "in a spooled body": b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: 900000\r\n\r\n"
    + b"b" * 800_000,
    "in a chunk": b"POST /sum HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbb",
    "in a spooled chunk": b"POST /sum HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(*[b"b" * 100_000] * 8, last=b"5\r\nb"),
    "after Expect": b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "after the request": request_bytes("GET", "/hello"),
    "after a pipeline": request_bytes("GET", "/hello") * 40,
    "in a large answer": request_bytes("GET", "/blob"),
    "in a pipeline of large answers": request_bytes("GET", "/blob") * 5,
    "in a stream": request_bytes("GET", "/sized?n=5000000&length=no"),
    "in an endless stream": request_bytes("GET", "/endless/a"),
    "in a file": request_bytes("GET", "/file/a?size=5000000"),
    "in a file without descriptor": request_bytes("GET", "/file/a?size=5000000&kind=like"),
    "after a fault": b"\x00\r\n\r\n",
    "after a cut answer": request_bytes("GET", "/too-short/a"),
}
ENDS = ("reset", "close", "half close, then reset", "read a little, then reset")


def leave(client: Connection, end: str) -> None:
    if end == "half close, then reset":
        client.half_close()
    if end == "read a little, then reset":
        client.deadline = 0.02
        try:
            client.fill()
        except TimeoutError:
            pass
    if end == "close":
        client.close()
    else:
        client.reset()


@pytest.mark.parametrize("end", ENDS)
def test_nothing_leaks(server: Any, worker_class: str, end: str) -> None:
    running = server("wsgi_cases:application", *("--linger-timeout", "0.2"), worker_class=worker_class)
    running.forgive("")
    (pid,) = running.worker_pids()
    for data in MOMENTS.values():
        assert running.exchange(request_bytes("GET", "/hello", ("Connection", "close"))).status == 200
        del data
    threads = procfs.threads(pid)
    before = len(procfs.descriptors(pid))
    for name, data in MOMENTS.items():
        for _ in range(5):
            client = running.connect(receive_buffer=4096)
            client.offer(data)
            try:
                leave(client, end)
            except OSError:  # the server was faster
                client.close()
        assert running.get("/hello").body == b"Hello, World!", name
        until(lambda: len(procfs.descriptors(pid)) <= before, f"{name}: {procfs.descriptors(pid)}")
    assert running.worker_pids() == [pid]
    assert procfs.threads(pid) == threads


def test_half_closed_pipeline_is_finished(server: Any, worker_class: str) -> None:
    """Not every client that stops sending has left: the answers in front of its FIN are still wanted."""
    running = server("wsgi_cases:application", worker_class=worker_class)
    with running.connect() as client:
        client.send(request_bytes("GET", "/blob") * 3)
        client.half_close()
        for _ in range(3):
            assert len(client.response().body) == 5_000_000
        assert client.drain() == b""

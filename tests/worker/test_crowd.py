"""Thousands of kept-alive clients that are silent: they cost a worker memory, and nothing else."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import procfs
import pytest
from launcher import DEADLINE, Server, until
from rawclient import request_bytes

from .conftest import Start, counters

CROWD = 5_000
EACH = 3 * 1024  # bytes of the worker that one may cost, the kernel's own aside


@pytest.fixture
def descriptors() -> Iterator[int]:
    """Room for that many in this process; the limit that a server may be given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CROWD + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"this system allows {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield needed
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def private(pid: int) -> int:
    """Bytes that only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def kept_client(server: Server) -> socket.socket:
    client = socket.create_connection(server.address, DEADLINE)
    client.sendall(request_bytes("GET", "/pid"))
    assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
    return client


@pytest.mark.parametrize(
    "flags",
    [("sync",), ("threads", "--threads", "4", "--worker-connections", "6000"), ("gevent",)],
    ids=lambda flags: flags[0],
)
def test_idle_clients(start: Start, descriptors: int, flags: tuple[str, ...]) -> None:
    server = start(*flags, limits={"NOFILE": descriptors})
    (worker,) = server.worker_pids()
    crowd = [kept_client(server) for _ in range(100)]  # whatever is made once, is made
    greenlets = server.get("/greenlets").text
    before, threads = private(worker), procfs.threads(worker)
    crowd += [kept_client(server) for _ in range(CROWD - 100)]
    each = (private(worker) - before) / (CROWD - 100)
    assert each < EACH
    assert procfs.threads(worker) == threads
    assert server.get("/greenlets").text == greenlets
    # All are there still, the first and the last.
    for client in (crowd[0], crowd[-1]):
        client.sendall(request_bytes("GET", "/pid"))
        assert client.recv(4096).endswith(str(worker).encode())
    assert len(procfs.descriptors(worker)) > CROWD
    print(f"{flags[0]}: {each:.0f} bytes for each idle connection")
    for client in crowd:
        client.close()
    until(lambda: len(procfs.descriptors(worker)) < 100, "all are closed")
    assert counters(worker).keys() == {int(each.name) for each in Path(f"/proc/{worker}/task").iterdir()}


def test_threads_hold_no_more_than_they_may(start: Start) -> None:
    """--worker-connections: a new client takes the place of who has been idle longest."""
    server = start("threads", "--worker-connections", "10")
    (worker,) = server.worker_pids()
    empty = len(procfs.descriptors(worker))
    clients = [server.connect() for _ in range(30)]
    for client in clients:
        assert client.request("GET", "/pid").status == 200
    assert len(procfs.descriptors(worker)) - empty <= 10
    for client in clients[-10:]:
        assert client.request("GET", "/pid").status == 200
    for client in clients:
        client.close()


def test_gevent_holds_as_many_as_come(start: Start) -> None:
    """There --worker-connections bounds what runs, not who is connected."""
    pytest.importorskip("gevent")
    server = start("gevent", "--worker-connections", "10")
    clients = [server.connect() for _ in range(30)]
    for _ in range(2):
        for client in clients:
            assert client.request("GET", "/pid").keeps
    for client in clients:
        client.close()

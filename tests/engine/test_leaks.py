"""Nothing grows: memory, objects, references and descriptors, each measured in a process of its own.

The scripts are run by this interpreter with the harness beside them; they print their figures as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SANITIZED = bool(os.environ.get("PREFORK_TEST_SANITIZED"))  # its allocator keeps what was freed

COMMON = """
import gc, io, json, os, random, resource, sys, tempfile
sys.path.insert(0, sys.argv[1])
from harness import *

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def descriptors():
    return len(os.listdir("/proc/self/fd"))
"""

MIXED = (
    COMMON
    + """
path = tempfile.mkstemp()[1]
with open(path, "wb") as file:
    file.write(b"f" * 30_000)
kept = []

class Result:
    def __init__(self, *chunks):
        self.chunks = iter(chunks)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.chunks)
    def close(self):
        pass

def app(environ, start_response):
    kind = environ["PATH_INFO"][1:]
    if kind == "raise":
        raise ValueError("the application's")
    if kind == "cycle":
        environ["self"] = environ
    if kind == "keep":
        kept[:] = [start_response, environ]
    if kind == "hints":
        environ["wsgi.early_hints"]([("Link", "</x>")])
    if kind == "bad":
        start_response("200 OK", [("X", "a\\nb")])
    size = 9000 if kind == "long" else 1
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("X", "y" * size)])
    if kind == "write":
        write(b"written")
    if kind == "file":
        return environ["wsgi.file_wrapper"](open(path, "rb"))
    if kind == "cut":
        return Result(b"one", None)
    if kind == "many":
        return Result(b"one", b"two" * 1000, b"three")
    if kind == "read":
        return [environ["wsgi.input"].read()]
    return [b"Hello"]

KINDS = ["", "", "", "raise", "cycle", "keep", "hints", "bad", "long", "write", "file", "cut", "many"]
HEADS = [b"GET /", b"\\0", b"GET / HTTP/1.1\\r\\nHost: a\\r\\nX : y\\r\\n\\r\\n", post(b"12345")[:-2],
         chunked(b"123")[:-4], chunked(b"x" * 300)[:-20], post(b"s" * 5000)[:-1],
         get("/", "A_B: c"), get("/", "X-Forwarded-Proto: https")]
options = {"body_memory_limit": 1000, "log": "%(r)s %(s)s %(B)s %(a)s"}
numbers = random.Random(1)
key_objects = [ValueError, app, b"Hello", "GET", "HTTP/1.1", "HTTP_HOST", None, "", "text/plain"]

def references():
    return [sys.getrefcount(each) for each in key_objects]

def living(number):
    client = clients[number % len(clients)]
    if client.state == "CLOSED" or client.sock.fileno() < 0:
        client.sock.close()
        rig.clients.remove(client)
        clients[number % len(clients)] = client = rig.client()
    return client

def round():
    # About 60 requests, some good, some bad, some abandoned.
    for number in range(40):
        client = living(number)
        client.send(get("/" + numbers.choice(KINDS), f"X-Junk-{numbers.randrange(3000)}: {numbers.random()}"))
        rig.turns()
        client.take()
        if client.state == "LINGER":
            client.close()
            rig.turns()
    for size in (0, 1, 500, 5000):
        for data in (post(b"b" * size, "/read"), chunked(b"b" * size, b"c", target="/read")):
            client = rig.client()
            client.ask(data)
            client.close()
            rig.turns()
            rig.clients.remove(client)
    for data in HEADS:
        client = rig.client()
        client.send(data)
        rig.turns()
        client.close()
        rig.turns()
        rig.clients.remove(client)
    client = rig.client()
    client.narrow()
    client.send(get("/file") + get("/many"))
    rig.turns()
    client.take(numbers.randrange(20_000))
    rig.turns()
    client.close()
    rig.turns()
    rig.clients.remove(client)
    rig.faults.clear(), rig.refusals.clear(), rig.notices.clear(), rig.spools.clear()
    os.ftruncate(rig.log_fd, 0)

def measure():
    for number in range(len(clients)):
        living(number)
    gc.collect()
    return {"resident": resident(), "descriptors": descriptors(), "objects": len(gc.get_objects()),
            "references": references(), "blocks": sys.getallocatedblocks(), "requests": rig.worker.requests}

with Rig(app, secure={"X-Forwarded-Proto": "https"}, **options) as rig:
    clients = [rig.client() for _ in range(5)]
    rounds = int(sys.argv[2])
    for _ in range(rounds // 10):
        round()
    before = measure()
    for _ in range(rounds):
        round()
    after = measure()
    held = rig.station.held()
os.unlink(path)
print(json.dumps({"before": before, "after": after, "held": held}))
"""
)

IDLE = (
    COMMON
    + """
COUNT = 2000
resource.setrlimit(resource.RLIMIT_NOFILE, (5000, max(5000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))

def agent(number):
    return get("/", f"User-Agent: agent {number}", "Accept: */*", f"Cookie: id={number}")

with Rig(tcp=True, slots=1, keepalive=3600) as rig:
    for number in range(20):  # what is made once is no connection's
        client = rig.client().send(agent(number))
        rig.until(lambda: client.state == "OPEN" and rig.worker.requests > number)
        client.close()
        rig.until(lambda: client.state == "CLOSED")
    rig.clients.clear()
    del client
    ready, go = os.pipe()
    if os.fork() == 0:
        # Another process: its sockets must not count.
        address = rig.listener.getsockname()
        sockets = []
        for number in range(COUNT):
            sock = socket.create_connection(address)
            sock.sendall(agent(number))
            while not sock.recv(65536).endswith(b"Hello"):
                pass
            sockets.append(sock)
        os.close(go)
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    gc.collect()
    before = resident()
    rig.epoll.register(rig.listener.fileno(), 1)
    while rig.worker.requests < COUNT + 20:
        rig.turn(10)
        while (connection := rig.endpoint.accept()) is not None:
            connection.turn(0)
    gc.collect()
    after = resident()
    assert rig.station.held() == len(rig.station.waiting(2)) == COUNT
    print(json.dumps({"each": (after - before) / COUNT}))
    os.close(go)
    os.wait()
    while rig.station.held():
        rig.turn(10)
    rig.epoll.unregister(rig.listener.fileno())
"""
)


def run(script: str, *arguments: str) -> dict[str, Any]:
    """The figures that the script prints."""
    command = [sys.executable, "-c", script, str(Path(__file__).parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def mixed() -> dict[str, Any]:
    """50,000 requests (about; a tenth of them before the first look)."""
    rounds = 850 if os.environ.get("PREFORK_TEST_FULL") else 200
    return run(MIXED, str(rounds))


def test_descriptors_stay(mixed: dict[str, Any]) -> None:
    assert mixed["after"]["descriptors"] == mixed["before"]["descriptors"]
    assert mixed["held"] == 5


def test_objects_stay(mixed: dict[str, Any]) -> None:
    before, after = mixed["before"], mixed["after"]
    assert abs(after["objects"] - before["objects"]) < 50
    assert abs(after["blocks"] - before["blocks"]) < 2500, "values of the table of names come and go"


def test_references_stay(mixed: dict[str, Any]) -> None:
    before, after = mixed["before"]["references"], mixed["after"]["references"]
    requests = mixed["after"]["requests"] - mixed["before"]["requests"]
    assert requests > 8000
    for one, other in zip(before, after, strict=True):
        assert abs(one - other) < requests / 100, (before, after)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's allocator keeps what was freed")
def test_memory_stays(mixed: dict[str, Any]) -> None:
    grown = mixed["after"]["resident"] - mixed["before"]["resident"]
    assert grown < 2 << 20, f"{grown} bytes more"  # what the allocators keep comes to rest behind 10,000


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's allocator keeps what was freed")
def test_idle_connection_is_small() -> None:
    """2,000 kept-alive connections, each after a browser's request."""
    each = run(IDLE)["each"]
    assert each < 2048, f"{each} bytes"

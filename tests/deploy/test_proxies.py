"""Each proxy's file from deploy/, run by the real program in front of a real server.

One proxy and one server serve all tests of a row. The rows: every proxy over TCP, nginx and Apache over a
Unix socket too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import proxies
import pytest
from backends import Backend, start_backend
from probes import PROBES, Probe
from proxies import Proxy
from rawclient import DEADLINE, Closed, Connection, Violation

from benchmarks.traffic import Ask, Outcome, Swarm, Visitor

ROWS = ("nginx", "nginx-unix", "apache", "apache-unix", "haproxy")
CLIENT = "127.0.0.9"  # where the clients of these tests come from: neither the proxy nor prefork
LAST = b"GET /echo?n=last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
PATIENCE = 1.0  # seconds without an answer, after which a proxy is taken to wait for more
UPLOAD = os.urandom(1 << 20) * 50


@dataclass
class Pair:
    """A proxy and the server behind it."""

    proxy: Proxy
    backend: Backend

    def connect(self) -> Connection:
        return Connection(self.proxy.address, source=CLIENT)


@pytest.fixture(scope="module", params=ROWS)
def pair(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    outside_program: Callable[[str], str],
) -> Iterator[Pair]:
    name = request.param
    with ExitStack() as stack:
        folder = proxies.open_folder()
        stack.callback(shutil.rmtree, folder)
        backend = start_backend(stack, folder, unix=name.endswith("-unix"))
        proxy = proxies.start(name, outside_program, backend.address)
        stack.callback(proxy.close)
        yield Pair(proxy, backend)
        backend.server.stop()


def test_forged_fields_count_for_nothing(pair: Pair) -> None:
    forged = [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Protocol", "ssl"),
        ("X-Forwarded-Ssl", "on"),
        ("Forwarded", "for=203.0.113.7;proto=https"),
        ("SCRIPT_NAME", "/environ"),
        ("PATH_INFO", "/nowhere"),
    ]
    with pair.connect() as client:
        environ = json.loads(client.request("GET", "/environ", ("Host", "shop.example:8080"), *forged).body)
    assert environ["HTTP_X_FORWARDED_FOR"] == CLIENT
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_HOST"] == "shop.example:8080"
    assert "HTTP_FORWARDED" not in environ
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/environ")


def test_connections_to_prefork_are_kept(pair: Pair) -> None:
    """Requests of one client do not each cost a connection to prefork."""
    ports = set()
    with pair.connect() as client:
        for _ in range(20):
            response = client.request("GET", "/environ")
            assert response.keeps
            environ = json.loads(response.body)
            # A Unix socket has no port; the worker that holds the connection stays the same at least.
            ports.add(environ.get("REMOTE_PORT") or response.get("x-worker"))
    assert len(ports) == 1, ports


def test_large_upload(pair: Pair) -> None:
    with pair.connect() as client:
        response = client.request("POST", "/upload", body=UPLOAD)
    assert response.text == f"{len(UPLOAD)} {hashlib.sha256(UPLOAD).hexdigest()}"


def test_streaming(pair: Pair, tmp_path: Path) -> None:
    """The first piece arrives while the application still works on the second."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    with pair.connect() as client:
        client.send(f"GET /stream?fifo={fifo} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        response = client.head()
        assert response.get("transfer-encoding") == "chunked"
        assert client.chunk() == b"first"
        fifo.write_bytes(b".")
        assert client.chunk() == b"second"
        assert client.chunk() is None


def test_head_and_no_content_keep_the_connection(pair: Pair) -> None:
    with pair.connect() as client:
        assert client.request("HEAD", "/").status == 200
        assert client.request("GET", "/nowhere").status == 404
        assert client.request("GET", "/echo?n=again").text == "again"


def test_static_files(pair: Pair) -> None:
    """What needs no application does not reach it."""
    if pair.proxy.name == "haproxy":
        pytest.skip("HAProxy serves no files")
    pair.backend.seen()
    with pair.connect() as client:
        assert client.request("GET", "/static/style.css").text == "body {}\n"
    assert pair.backend.seen() == []


def test_files_handed_out(pair: Pair) -> None:
    """X-Accel-Redirect: the application decides, nginx sends; nobody gets the file by asking for it."""
    if pair.proxy.name != "nginx":
        pytest.skip("X-Accel-Redirect is nginx's")
    with pair.connect() as client:
        assert client.request("GET", "/handed-out").text == "for some eyes only\n"
        assert client.request("GET", "/private/report.txt").status == 404


@pytest.mark.parametrize("probe", PROBES, ids=[probe.name for probe in PROBES])
def test_smuggling(pair: Pair, probe: Probe) -> None:
    """However proxy and server read the probe, they agree on how many requests it is: the application sees no
    request that the prober gets no answer to, and the next clients get their own answers."""
    pair.backend.seen()
    answers = answers_to(pair, probe.data)
    seen = pair.backend.seen()
    with pair.connect() as client:
        followers = [client.request("GET", f"/echo?n={number}").text for number in range(6)]
    assert followers == [str(number) for number in range(6)]
    assert pair.backend.seen() == [f"GET /echo?n={number}" for number in range(6)]
    assert len(seen) <= answers, seen
    assert len(seen) <= probe.requests + 1, seen


def answers_to(pair: Pair, data: bytes) -> int:
    """Send a probe and, behind it, an honest request that ends the connection; count the answers until
    it does.

    A proxy that takes the honest one for the rest of a body waits for more: then it is told that none comes.
    """
    count = 0
    with Connection(pair.proxy.address, source=CLIENT, deadline=PATIENCE) as client:
        client.offer(data + LAST)
        while True:
            try:
                client.response(date=False)
                count += 1
            except TimeoutError:
                client.half_close()
                client.deadline = DEADLINE
            except (Closed, Violation):
                # nginx takes a line without a version for HTTP/0.9, whose answers are bytes without a head.
                return count + bool(client.buffer)


def test_reloads_lose_nothing(pair: Pair) -> None:
    """32 clients that keep their connections and 8 that do not, through five reloads: every request is
    answered with 200, and the new code is served afterwards."""
    ask = Ask("/echo?n=1", expect=b"1")
    post = Ask("/echo", "POST", body=b"posted", expect=b"posted")
    visitors = (
        [Visitor(lambda: ask)] * 24
        + [Visitor(lambda: post)] * 8
        + [Visitor(lambda: ask, keep_alive=False)] * 8
    )
    server = pair.backend.server
    with Swarm(pair.proxy.address, visitors) as swarm:
        assert swarm.wait_total(200)
        for number in range(2, 7):
            pair.backend.write_version(str(number))
            mark = server.stderr.mark
            server.send_signal(signal.SIGHUP)
            server.stderr.wait("ready", since=mark)
            assert swarm.wait_more(200)
    tally = swarm.tally
    assert tally.counts[Outcome.OK] == tally.total, tally.describe()
    with pair.connect() as client:
        assert client.request("GET", "/version").text == "6"

"""A master is killed while requests keep its workers from their loops: the next one has its port at once."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from launcher import Server, until
from procfs import session

from .conftest import Project, Start, settled, where

HELD = """
import os, socket


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/loop":
        open("began", "a").write("x")
        while not os.path.exists("over"):
            pass
    if path == "/read":
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect("peer")
            peer.recv(1)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]
"""


class Hold:
    """Keeps requests in the application until it is opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._peer = socket.socket(socket.AF_UNIX)
        self._peer.bind(str(folder / "peer"))
        self._peer.listen()
        self._held: list[socket.socket] = []

    def begun(self, target: str, count: int) -> None:
        """Wait until so many requests are in."""
        if target == "/loop":
            until((self._folder / "began").exists, "it loops")
            until(lambda: (self._folder / "began").read_text() == count * "x", "all of them loop")
        else:
            self._held += [self._peer.accept()[0] for _ in range(count)]

    def open(self) -> None:
        (self._folder / "over").touch()
        for each in self._held:
            each.close()

    def close(self) -> None:
        self.open()
        self._peer.close()


@pytest.fixture
def hold(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    project.write(HELD)
    monkeypatch.chdir(project.folder)  # the path of a unix socket is short
    hold = Hold(Path())
    yield hold
    hold.close()


def at(server: Server) -> str:
    where(server)
    host, port = server.address
    return f"{host}:{port}"


@pytest.mark.parametrize("target", ["/loop", "/read"])
@pytest.mark.parametrize(
    ("workers", "requests", "flags"),
    [(1, 1, []), (2, 1, []), (2, 2, []), (1, 2, ["--threads", "2"]), (1, 1, ["-k", "gevent"])],
    ids=["one", "one of two", "two", "threads", "gevent"],
)
def test_next_master_binds_while_requests_of_the_killed_one_run(
    start: Start, hold: Hold, *, target: str, workers: int, requests: int, flags: list[str]
) -> None:
    if "gevent" in flags:
        pytest.importorskip("gevent")
    server = start("-b", "127.0.0.1:0", *flags, workers=workers, handed=False)
    address = at(server)
    with ExitStack() as stack:
        clients = []
        for count in range(1, requests + 1):
            clients.append(stack.enter_context(server.connect()))
            clients[-1].send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
            hold.begun(target, count if target == "/loop" else 1)
        server.send_signal(signal.SIGKILL)
        server.process.wait()
        successor = start("-b", address, *flags, workers=workers, handed=False)
        where(successor)
        assert successor.get("/").text == "done"
        hold.open()
        assert [client.response().body for client in clients] == [b"done"] * requests
    until(lambda: not session(server.pid), "nobody of the old one is left")


def test_who_waits_when_the_master_dies_is_served(start: Start, hold: Hold) -> None:
    server = start("-b", "127.0.0.1:0", workers=1, handed=False)
    address = at(server)
    with server.connect() as running, server.connect() as waiting:
        running.send(b"GET /read HTTP/1.1\r\nHost: a\r\n\r\n")
        hold.begun("/read", 1)
        waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.send_signal(signal.SIGKILL)
        server.process.wait()
        settled(start("-b", address, workers=1, handed=False), 1)
        hold.open()
        assert running.response().body == b"done"
        assert waiting.response().body == b"done"
    until(lambda: not session(server.pid), "nobody of the old one is left")

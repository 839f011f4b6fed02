"""Requests that read or write for long: the others are served meanwhile (--stream-request-body, events)."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from launcher import DEADLINE, Server
from rawclient import chunked, request_bytes

from .conftest import Gate, Start

pytestmark = pytest.mark.parametrize("worker_class", ["threads", "gevent"])


@pytest.fixture
def server(start: Start, worker_class: str) -> Server:
    return start(worker_class, "--stream-request-body", app="streams:application")


@pytest.fixture
def client(server: Server) -> Iterator[socket.socket]:
    assert isinstance(server.address, tuple)
    with socket.create_connection(server.address, timeout=DEADLINE) as sock:
        yield sock


def heard(client: socket.socket, end: bytes) -> bytes:
    """What the client receives up to there."""
    data = b""
    while not data.endswith(end):
        more = client.recv(1 << 16)
        assert more, data
        data += more
    return data


def test_events(server: Server, client: socket.socket, gate: Gate) -> None:
    client.sendall(request_bytes("GET", "/events"))
    for number in range(3):
        held = gate.enter()
        assert server.get("/").text == "at once"
        held.release()
        assert b"data: %d\n\n" % number in heard(client, b"\n\n\r\n" if number < 2 else b"0\r\n\r\n")


def test_body_is_read_while_it_comes(server: Server, client: socket.socket, gate: Gate) -> None:
    head, body = request_bytes("POST", "/pieces", body=b"firstlater").split(b"first")
    client.sendall(head + b"first")
    held = gate.enter()  # it has read the first part
    assert server.get("/").text == "at once"
    held.release()
    assert server.get("/").text == "at once"  # it waits for the client now
    client.sendall(body)
    assert heard(client, b"first later").startswith(b"HTTP/1.1 200")


def test_a_body_of_unknown_length_says_so(server: Server) -> None:
    """Without one of the two, CherryPy answers 411, and Bottle reads nothing, without a word."""
    answer = server.request("POST", "/coding", ("Transfer-Encoding", "chunked"), body=chunked(b"one", b"two"))
    assert answer.body == b"chunked None onetwo"


def test_continue_with_the_first_read(server: Server, client: socket.socket, gate: Gate) -> None:
    """RFC 9110 10.1.1; who never reads the body does not ask for it."""
    request = request_bytes("POST", "/later", ("Expect", "100-continue"), body=b"asked for")
    client.sendall(request.removesuffix(b"asked for"))
    held = gate.enter()
    assert server.get("/").text == "at once"
    assert select.select([client], [], [], 0)[0] == []
    held.release()
    assert heard(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"asked for")
    assert heard(client, b"asked for").startswith(b"HTTP/1.1 200")


def test_no_continue_once_the_answer_has_begun(server: Server, client: socket.socket) -> None:
    """RFC 9110 15.2: an interim response comes before the final one, or not at all."""
    request = request_bytes("POST", "/behind", ("Expect", "100-continue"), body=b"asked for")
    client.sendall(request.removesuffix(b"asked for"))
    assert heard(client, b"begun").startswith(b"HTTP/1.1 200")
    client.sendall(b"asked for")
    assert heard(client, b"asked for") == b"asked for"
    assert client.recv(1) == b""


def test_continue_waits_for_room(server: Server, gate: Gate) -> None:
    """It goes out behind what the client has not taken yet, while the application waits for the body."""
    assert isinstance(server.address, tuple)
    request = request_bytes("POST", "/hinted", ("Expect", "100-continue"), body=b"asked for")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(DEADLINE)
        client.connect(server.address)
        client.sendall(request.removesuffix(b"asked for"))
        gate.enter().release()  # four megabytes of hints are on their way
        assert server.get("/").text == "at once"
        interim = heard(client, b"HTTP/1.1 100 Continue\r\n\r\n")
        assert interim.count(b"HTTP/1.1 103") == 200
        client.sendall(b"asked for")
        assert heard(client, b"asked for").startswith(b"HTTP/1.1 200")

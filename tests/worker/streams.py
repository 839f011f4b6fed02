"""An application that writes for as long as the test wants, and reads its body when the test wants."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any

Environ = dict[str, Any]


def wait() -> None:
    """Until the test opens the gate (conftest.py)."""
    with socket.create_connection(("127.0.0.1", int(os.environ["GATE"]))) as gate:
        gate.recv(1)


def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/events":
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return events()
        case "/pieces":
            body = environ["wsgi.input"].read(5)
            wait()
            body += b" " + environ["wsgi.input"].read()
        case "/later":
            wait()
            body = environ["wsgi.input"].read()
        case "/hinted":
            for _ in range(200):
                environ["wsgi.early_hints"]([("Link", "x" * 20_000)])
            wait()
            body = environ["wsgi.input"].read()
        case "/behind":
            start_response("200 OK", [("Content-Length", "14")])(b"begun")
            return [environ["wsgi.input"].read()]
        case "/coding":
            coding, size = environ.get("HTTP_TRANSFER_ENCODING"), environ.get("CONTENT_LENGTH")
            body = b"%s %s " % (str(coding).encode(), str(size).encode()) + environ["wsgi.input"].read()
        case _:
            body = b"at once"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def events() -> Iterator[bytes]:
    for number in range(3):
        wait()
        yield b"data: %d\n\n" % number

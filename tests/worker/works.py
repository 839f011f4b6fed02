"""The application of the worker tests: it does what the path says, and /hold what the test says."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from testevents import say

Environ = dict[str, Any]
kept: list[bytes] = []  # what /leak has taken


def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    match path.strip("/").split("/")[0]:
        case "hold":  # until the test opens the gate
            with socket.create_connection(("127.0.0.1", int(os.environ["GATE"]))) as gate:
                gate.recv(1)
            text = "held"
        case "say":
            say(query)
            text = query
        case "echo":
            text = query
        case "sleep":
            time.sleep(float(query))
            text = query
        case "leak":
            kept.append(b"x" * int(query))
            text = str(os.getpid())
        case "greenlets":
            text = str(greenlets())
        case "queue":
            text = str(environ["prefork.queue_ms"])
        case "length":
            text = str(len(environ["wsgi.input"].read()))
        case "sized":
            start_response("200 OK", [("Content-Length", query)])
            return (b"x" * min(65536, int(query) - at) for at in range(0, int(query), 65536))
        case "deadline":
            text = deadline(environ["prefork.deadline"], query)
        case "raise":
            raise ValueError("as asked")
        case _:
            text = str(os.getpid())
    body = text.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def greenlets() -> int:
    """How many are alive: the hub, this request's, those that wait or are parked. None without gevent."""
    if "gevent" not in sys.modules:
        return 0
    from greenlet import greenlet

    return sum(isinstance(each, greenlet) for each in gc.get_objects())


def deadline(found: Any, how: str) -> str:
    """What prefork.deadline says: left before and after an extension, from here or from somewhere else."""
    said: list[str] = []

    def ask() -> None:
        try:
            before = found.remaining()
            found.extend(100)
            said.append(f"{before} {found.remaining()}")
        except RuntimeError as fault:
            said.append(str(fault))

    if how.startswith("extend="):
        seconds = float(how.partition("=")[2])
        for _ in range(4):
            found.extend(seconds)
            time.sleep(seconds / 2)
        said.append("done")
    elif how == "greenlet":
        import gevent

        gevent.spawn(ask).join()
    elif how == "thread":
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    else:
        ask()
    return said[0]

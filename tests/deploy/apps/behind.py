"""The application behind the proxies: it says what reached it.

PREFORK_TEST_SEEN names a file to which every request's target is appended, so that a request which a proxy
never meant to send is seen by the test.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

Environ = dict[str, Any]
StartResponse = Callable[..., object]

SEEN = os.environ.get("PREFORK_TEST_SEEN", "")
# The code of this generation: what the file said when it was imported.
VERSION = Path(os.environ.get("PREFORK_TEST_VERSION", os.devnull)).read_text().strip()


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if SEEN:
        with open(SEEN, "ab") as seen:  # noqa: PTH123 - one append, one line, whichever worker
            seen.write(f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}\n".encode())
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    page = PAGES.get(environ["PATH_INFO"])
    if page is None:
        return answer(start_response, b"no such page\n", "404 Not Found")
    return page(environ, query, start_response)


def answer(
    start_response: StartResponse, body: bytes, status: str = "200 OK", *fields: tuple[str, str]
) -> list[bytes]:
    length = ("Content-Length", str(len(body)))
    start_response(status, [("Content-Type", "text/plain"), length, ("X-Worker", str(os.getpid())), *fields])
    return [body]


def hello(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, b"hello\n")


def version(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, VERSION.encode())


def echo(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, query.get("n", "").encode() + environ["wsgi.input"].read())


def facts(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    shown = {key: value for key, value in environ.items() if isinstance(value, str)}
    return answer(start_response, json.dumps(shown).encode())


def variables(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, json.dumps(sorted(os.environ)).encode())


def upload(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    digest, length = hashlib.sha256(), 0
    while data := environ["wsgi.input"].read(1 << 20):
        digest.update(data)
        length += len(data)
    return answer(start_response, f"{length} {digest.hexdigest()}".encode())


def stream(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterator[bytes]:
    """The second piece follows when the test, which has to have the first by then, writes to the FIFO."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Accel-Buffering", "no")])
    yield b"first"
    with open(query["fifo"], "rb") as word:  # noqa: PTH123
        word.read(1)
    yield b"second"


def handed_out(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, b"", "200 OK", ("X-Accel-Redirect", "/private/report.txt"))


def slow(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(float(query["seconds"]))
    return answer(start_response, b"slow\n")


PAGES = {
    "/": hello,
    "/healthz": hello,
    "/version": version,
    "/echo": echo,
    "/environ": facts,
    "/variables": variables,
    "/upload": upload,
    "/stream": stream,
    "/handed-out": handed_out,
    "/slow": slow,
}

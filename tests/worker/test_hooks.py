"""pre_request and post_request, as gunicorn calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefork.worker.hookviews import Request, Response

from .conftest import Start

BOTH = """
def pre_request(worker, req):
    req.mark = "left here"
    names = sorted(name for name, _ in req.headers)
    worker.log.info("before: %s %s path %s query %s version %s headers %s of %d",
                    req.method, req.uri, req.path, req.query, req.version, names, worker.nr)

def post_request(worker, req, environ, resp):
    worker.log.info("after: %s, %s %s, %s %d bytes, %s", req.mark, resp.status_code, resp.status,
                    dict(resp.headers), resp.sent, environ["PATH_INFO"])
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    def write(text: str) -> tuple[str, str]:
        (tmp_path / "hooks.conf.py").write_text(text)
        return "-c", "hooks.conf.py"

    return write


def test_both_see_the_request_and_its_answer(
    start: Start, configured: Callable[[str], tuple[str, str]], worker_class: str
) -> None:
    server = start(worker_class, *configured(BOTH))
    assert server.request("POST", "/say%20it?x=1&y", ("X-A", "1"), body=b"four").status == 200
    server.stderr.wait(
        r"before: POST /say%20it\?x=1&y path /say%20it query x=1&y version \(1, 1\) headers "
        r"\['CONNECTION', 'CONTENT-LENGTH', 'HOST', 'X-A'\] of 0"
    )
    (match,) = server.stderr.wait(r"after: left here, 200 200 OK, (\{.*\}) (\d+) bytes, /say it")
    assert match[1] == f"{{'Content-Type': 'text/plain', 'Content-Length': '{match[2]}'}}"


@pytest.mark.parametrize(
    "arguments", ["worker, req", "worker, req, environ", "worker, req, environ, resp", "*all"]
)
def test_arguments_as_gunicorn_allows(
    start: Start, configured: Callable[[str], tuple[str, str]], arguments: str
) -> None:
    text = f"import os\ndef post_request({arguments}):\n    os.write(2, b'called\\n')\n"
    server = start("sync", *configured(text))
    server.get("/pid")
    server.stderr.wait("^called$")


def test_faults_of_hooks(
    start: Start, configured: Callable[[str], tuple[str, str]], worker_class: str
) -> None:
    """Before the request it is the request that fails; after it, only the log knows."""
    text = (
        "def pre_request(worker, req):\n    if req.query == 'no': raise ValueError('not now')\n"
        "def post_request(worker, req):\n    raise KeyError('too late')\n"
    )
    server = start(worker_class, *configured(text))
    server.forgive("")
    with server.connect() as client:
        assert client.request("GET", "/pid").status == 200
        assert client.request("GET", "/pid").status == 200
        assert client.request("GET", "/pid?no").status == 500
    server.stderr.wait("not now")
    server.stderr.wait("too late", count=3)


def test_answer_that_the_application_did_not_give(
    start: Start, configured: Callable[[str], tuple[str, str]]
) -> None:
    server = start("sync", *configured(BOTH))
    server.forgive("")
    assert server.get("/raise").status == 500
    server.stderr.wait(r"after: left here, 500 500 Internal Server Error, \{\} \d+ bytes, /raise")


ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/a?b",
    "QUERY_STRING": "b",
    "SERVER_PROTOCOL": "HTTP/1.0",
    "CONTENT_TYPE": "text/plain",
    "HTTP_X_ONE": "1",
    "REMOTE_ADDR": "::1",
    "REMOTE_PORT": "8765",
    "wsgi.url_scheme": "https",
}


@pytest.mark.parametrize(
    ("target", "path"),
    [("/a?b", "/a"), ("/", "/"), ("*", "*"), ("http://host/a/b?c", "/a/b"), ("http://host", "/")],
)
def test_path(target: str, path: str) -> None:
    assert Request({**ENVIRON, "RAW_URI": target}).path == path


def test_views() -> None:
    request = Request(ENVIRON)
    assert (request.version, request.scheme) == ((1, 0), "https")
    assert request.peer_addr == ("::1", 8765)
    assert Request({**ENVIRON, "REMOTE_ADDR": "", "REMOTE_PORT": ""}).peer_addr == ""
    assert request.headers == [("X-ONE", "1"), ("CONTENT-TYPE", "text/plain")]
    assert Response(404, None, None, 0).status == "404"
    assert Response(503, None, None, 0).status == "503 Service Unavailable"
    assert Response(200, "200 Fine", [("A", "b")], 3).headers == [("A", "b")]

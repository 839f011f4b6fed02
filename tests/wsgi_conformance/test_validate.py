"""The demo inside wsgiref.validate, in every worker class (the Flask and Django ones are in tests/apps)."""

from __future__ import annotations

from typing import Any

import pytest
from rawclient import chunked

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def demo(server: Any, worker_class: str) -> Any:
    running = server("validated:demo", worker_class=worker_class)
    yield running
    assert not [line for line in running.stderr.lines if "AssertionError" in line]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_demo(demo: Any, method: str) -> None:
    with demo.connect() as client:
        for _ in range(3):
            answer = client.request(method, "/?a=b", body=b"body" if method in ("POST", "PUT") else None)
            assert answer.status < 500, answer.text
        assert client.request("POST", "/", ("Transfer-Encoding", "chunked"), body=chunked(b"x")).status < 500
    assert demo.exchange(b"GET / HTTP/1.0\r\n\r\n").status == 200


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/hello",
            "/late",
            "/empty-chunks/a",
            "/nothing/a",
            "/empty-list/a",
            "/write/a",
            "/exc-info-before/a",
        ),
        *(
            "/sized?n=3000000",
            "/sized?n=3000000&length=no",
            "/file/a?size=100000",
            "/file/a?size=100000&kind=like",
        ),
        *("/reply/a?status=204%20No%20Content", "/reads?do=read-5,readline,readlines,iterate", "/errors/a"),
        *("/reply/a?status=304%20Not%20Modified", "/environ", "/hints"),
    ],
)
def test_cases(worker_class: str, validated_cases: Any, target: str) -> None:
    """Everything that the cases do right is right to the validator too, in both versions and with HEAD."""
    with validated_cases.connect() as client:
        for method in ("GET", "HEAD", "POST"):
            fields = [("Content-Type", "text/plain")] if method == "POST" else []
            answer = client.request(method, target, *fields, body=b"a\nb\n" if method == "POST" else None)
            assert answer.status in (200, 204, 304) or "exc-info" in target, answer.text
    assert not [line for line in validated_cases.stderr.lines if "AssertionError" in line]


@pytest.fixture(scope="module")
def validated_cases(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from contextlib import ExitStack

    from serving import start_server

    with ExitStack() as stack:
        running = start_server(
            stack, "validated:cases", worker_class=worker_class, cwd=tmp_path_factory.mktemp("validated")
        )
        yield running
        running.stop()

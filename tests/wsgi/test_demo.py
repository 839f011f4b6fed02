"""The demo application, by itself and inside wsgiref.validate; real servers serve it in other tests."""

import ast
import io
import subprocess
import sys
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from prefork.demo import PAGE, VIEWS, app


def ask(
    target: str, method: str = "GET", body: bytes = b"", **environ: Any
) -> tuple[str, dict[str, str], bytes]:
    path, _, query = target.partition("?")
    environ |= {"SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": method}
    if body:
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    setup_testing_defaults(environ)
    said: list[Any] = []

    def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
        said[:] = [status, fields]
        return lambda data: None

    answer: Any = validator(app)(environ, start_response)
    try:
        content = b"".join(answer)
    finally:
        answer.close()
    fields = dict(said[1])
    if "Content-Length" in fields and method != "HEAD":
        assert int(fields["Content-Length"]) == len(content)
    return said[0], fields, content


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_the_page(method: str) -> None:
    assert ask("/", method)[::2] == ("200 OK", PAGE)


def test_the_page_names_every_view() -> None:
    named = {
        line.split()[0].partition("?")[0] for line in PAGE.decode().splitlines() if line.startswith("  /")
    }
    assert named == set(VIEWS)


@pytest.mark.parametrize(
    ("target", "status", "size"),
    [
        ("/sleep?s=0", "200 OK", None),
        ("/stream?n=3&every=0", "200 OK", len(b"piece 1 of 3\n") * 3),
        ("/stream?n=2&every=0.000001", "200 OK", len(b"piece 1 of 2\n") * 2),
        ("/bytes", "200 OK", 1000),
        ("/bytes?n=0", "200 OK", 0),
        ("/bytes?n=200001", "200 OK", 200_001),
        ("/file?n=200001", "200 OK", 200_001),
        ("/status?code=418", "418 As Asked", 4),
        ("/nothing", "404 Not Found", None),
        ("/bytes?n=x", "400 Bad Request", None),
        ("/bytes?n=-1", "400 Bad Request", None),
        ("/bytes?n=99999999999", "400 Bad Request", None),
        ("/sleep?s=nan", "400 Bad Request", None),
        ("/stream?every=61", "400 Bad Request", None),
        ("/status?code=100", "400 Bad Request", None),
    ],
)
def test_paths(target: str, status: str, size: int | None) -> None:
    said, _, body = ask(target)
    assert said == status
    assert size is None or len(body) == size
    if target.startswith("/file"):
        wrapped: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
        assert ask(target, **wrapped)[2] == body


@pytest.mark.parametrize("code", [204, 304])
def test_statuses_without_a_body(code: int) -> None:
    environ = {"PATH_INFO": "/status", "QUERY_STRING": f"code={code}"}
    said: list[Any] = []
    assert app(environ, lambda *words: said.extend(words)) == []
    assert said == [f"{code} As Asked", []]


@pytest.mark.parametrize("size", [0, 1, 65536, 100_000])
def test_echo(size: int) -> None:
    body = b"x" * size
    status, fields, content = ask("/echo", "POST", body, CONTENT_TYPE="image/png")
    assert (status, content, fields["Content-Type"]) == ("200 OK", body, "image/png")


def test_environ_is_shown_sorted() -> None:
    lines = ask("/environ", HTTP_X="caf\xe9\n\x1b")[2].decode().splitlines()
    assert lines == sorted(lines)
    assert "HTTP_X = 'café\\n\\x1b'" in lines


def test_a_fault_is_raised() -> None:
    with pytest.raises(RuntimeError, match="asked for"):
        ask("/fault")


def test_its_import_imports_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import prefork.demo; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) <= {"__future__", "prefork", "prefork.demo"}

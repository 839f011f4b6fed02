"""What the application is told (PEP 3333, "environ Variables"; CGI names: RFC 3875)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rawclient import chunked


def environ_of(answer: Any) -> dict[str, Any]:
    """key -> value; the types are checked on the way."""
    assert answer.status == 200, answer.text
    about = json.loads(answer.body)
    assert about["type"] == "dict"  # PEP 3333: a builtin dict, no subclass
    assert about["keys"] == ["str"]
    for key, (kind, value) in about["environ"].items():
        if "." not in key:  # CGI variables are native strings of latin-1 characters
            assert kind == "str", key
            value.encode("latin-1")
    return {key: value for key, (_, value) in about["environ"].items()}


def ask(cases: Any, target: str = "/environ", *fields: tuple[str, str]) -> dict[str, Any]:
    return environ_of(cases.server.get(target, *fields))


def test_required_keys(cases: Any) -> None:
    found = ask(cases, "/environ?a=1&b=%20")
    assert found["REQUEST_METHOD"] == "GET"
    assert found["SCRIPT_NAME"] == ""
    assert found["PATH_INFO"] == "/environ"
    assert found["QUERY_STRING"] == "a=1&b=%20"
    assert found["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert found["SERVER_PORT"] == str(cases.server.address[1])
    assert found["SERVER_NAME"]  # PEP 3333: never empty
    assert found["REMOTE_ADDR"] == "127.0.0.1"
    assert found["HTTP_HOST"] == "test"
    assert found["wsgi.version"] == [1, 0]
    assert found["wsgi.url_scheme"] == "http"
    assert found["wsgi.run_once"] is False
    assert found["wsgi.input_terminated"] is True
    assert found.get("CONTENT_LENGTH", "") == ""
    assert found.get("CONTENT_TYPE", "") == ""
    assert "HTTP_CONTENT_LENGTH" not in found
    assert "HTTP_CONTENT_TYPE" not in found


@pytest.mark.parametrize("spelled", ["Transfer-Encoding", "TRANSFER-ENCODING"])
def test_a_decoded_body_is_not_chunked(cases: Any, spelled: str) -> None:
    """RFC 9112 7.1.3: the length is known, the coding gone. Bottle decodes what is said to be chunked."""
    with cases.server.connect() as client:
        for _ in range(3):  # as the first of its kind, and as one of many
            answer = client.request("POST", "/environ", (spelled, "chunked"), body=chunked(b"one", b"two"))
            found = environ_of(answer)
            assert found["CONTENT_LENGTH"] == "6"
            assert "HTTP_TRANSFER_ENCODING" not in found


def test_our_own_keys_are_documented(cases: Any) -> None:
    text = (Path(__file__).parents[2] / "docs" / "applications.md").read_text()
    documented = re.findall(r"^\| `(prefork\.\w+)` \|", text, re.M)
    assert sorted(key for key in ask(cases) if key.startswith("prefork.")) == sorted(documented)


def test_types_of_wsgi_keys(cases: Any) -> None:
    kinds = {key: kind for key, (kind, _) in json.loads(cases.server.get("/environ").body)["environ"].items()}
    assert kinds["wsgi.version"] == "tuple"
    for flag in ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "wsgi.input_terminated"):
        assert kinds[flag] == "bool", flag
    assert kinds["wsgi.url_scheme"] == "str"


def test_multithread_is_true_to_the_class(cases: Any, worker_class: str) -> None:
    """gevent: the application is called again while another call waits (PEP 3333: "by another thread")."""
    assert ask(cases)["wsgi.multithread"] is (worker_class != "sync")


@pytest.mark.parametrize("workers", [1, 2])
def test_multiprocess_is_true_to_the_count(server: Any, worker_class: str, workers: int) -> None:
    """PEP 3333: "may simultaneously invoke the application in another process". A server that can get more
    workers at any moment (TTIN) may always say true; it must not say false with two."""
    running = server("wsgi_cases:application", worker_class=worker_class, workers=workers)
    found = environ_of(running.get("/environ"))
    assert found["wsgi.multiprocess"] in ({True} if workers > 1 else {True, False})


def test_body_variables(cases: Any) -> None:
    answer = cases.server.request(
        "POST", "/environ", ("Content-Type", "text/x; charset=utf-8"), body=b"12345"
    )
    found = environ_of(answer)
    assert found["CONTENT_LENGTH"] == "5"
    assert found["CONTENT_TYPE"] == "text/x; charset=utf-8"
    assert "HTTP_CONTENT_LENGTH" not in found
    assert "HTTP_CONTENT_TYPE" not in found


def test_remote_port(cases: Any) -> None:
    with cases.server.connect() as client:
        port = client.socket.getsockname()[1]
        found = environ_of(client.request("GET", "/environ"))
    assert str(found["REMOTE_PORT"]) == str(port)


# target -> PATH_INFO, QUERY_STRING (RFC 3986; PEP 3333, "Unicode Issues": bytes as latin-1)
TARGETS = {
    "escaped space": ("/environ/a%20b", "/environ/a b", ""),
    "escaped slash": ("/environ/a%2Fb", "/environ/a/b", ""),
    "lower-case escape": ("/environ/a%2fb", "/environ/a/b", ""),
    "utf-8": ("/environ/%C3%A9", "/environ/\xc3\xa9", ""),
    "latin-1": ("/environ/%E9", "/environ/\xe9", ""),
    "no utf-8 at all": ("/environ/%FF%FE", "/environ/\xff\xfe", ""),
    "escaped percent": ("/environ/%2525", "/environ/%25", ""),
    "escaped question mark": ("/environ/a%3Fb?c", "/environ/a?b", "c"),
    "query is not decoded": ("/environ?a=%41%20+b", "/environ", "a=%41%20+b"),
    "empty query": ("/environ?", "/environ", ""),
    "second question mark": ("/environ?a?b", "/environ", "a?b"),
    "semicolon parameters": ("/environ/;v=1?x", "/environ/;v=1", "x"),
    "double slash inside": ("/environ//a", "/environ//a", ""),
    "dots are the application's": ("/environ/../a", "/environ/../a", ""),
    "plus is a plus": ("/environ/a+b", "/environ/a+b", ""),
    "broken escape stays": ("/environ/%zz%4", "/environ/%zz%4", ""),
}


@pytest.mark.parametrize("name", TARGETS)
def test_target(faulty: Any, name: str) -> None:
    target, path, query = TARGETS[name]
    answer = faulty.server.get(target)
    if name == "broken escape stays" and answer.status == 400:
        return  # refusing is as good: RFC 3986 2.1 gives such bytes no meaning
    found = environ_of(answer)
    assert found["PATH_INFO"] == path
    assert found["QUERY_STRING"] == query
    assert found["RAW_URI"] == target


def test_target_as_received(cases: Any) -> None:
    found = ask(cases, "/environ/%41?%41")
    assert found["RAW_URI"] == "/environ/%41?%41"
    assert found["REQUEST_URI"] == "/environ/%41?%41"


def test_double_slash_at_the_start(faulty: Any) -> None:
    """`//x/y` is an absolute path, no authority (RFC 9112 3.2.1): its first segment is empty."""
    answer = faulty.server.get("//environ")
    assert answer.status == 404
    assert "//environ" in answer.text


def test_absolute_form_wins_over_host(cases: Any) -> None:
    """RFC 9112 3.2.2: the host of an absolute target replaces the one in Host."""
    found = ask(cases, "http://example.com:81/environ?q", ("Host", "other"))
    assert found["PATH_INFO"] == "/environ"
    assert found["QUERY_STRING"] == "q"
    assert found["HTTP_HOST"] == "example.com:81"
    assert found["RAW_URI"] == "http://example.com:81/environ?q"


def test_absolute_form_without_a_path(cases: Any) -> None:
    """RFC 9112 3.2.2, RFC 9110 4.2.3: an empty path is the same as "/"."""
    answer = cases.server.get("http://example.com", ("Host", "example.com"))
    assert answer.status == 404
    assert answer.body in (b"no such case: '/'", b"no such case: ''")


def test_asterisk_form_passes_the_validator(server: Any, worker_class: str) -> None:
    """RFC 9112 3.2.4. PEP 3333: PATH_INFO is empty or begins with "/", which wsgiref.validate checks."""
    running = server("validated:cases", worker_class=worker_class)
    assert running.request("OPTIONS", "*").status == 404  # the case named "" does not exist


def test_asterisk_is_for_options_only(faulty: Any) -> None:
    assert faulty.server.exchange(b"GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status == 400


def test_connect_is_refused(faulty: Any) -> None:
    """RFC 9110 9.3.6: an origin server that makes no tunnels must not pass it as an ordinary request."""
    with faulty.server.connect() as client:
        client.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        head = client.head("CONNECT")
    assert head.status in (400, 404, 405, 501)


# Header fields


def test_repeated_fields_are_joined(cases: Any) -> None:
    """RFC 9110 5.3: in order, with a comma; Cookie with a semicolon (RFC 6265 5.4, RFC 9113 8.2.3)."""
    found = ask(
        cases, "/environ", ("X-A", "1"), ("Cookie", "a=1"), ("X-B", ""), ("x-a", "2"), ("Cookie", "b=2")
    )
    assert found["HTTP_X_A"].replace(" ", "") == "1,2"
    assert found["HTTP_COOKIE"].replace(" ", "") == "a=1;b=2"
    assert found["HTTP_X_B"] == ""


def test_values_are_trimmed_latin_1(cases: Any) -> None:
    """RFC 9112 5.1: whitespace around a value is not part of it. PEP 3333: bytes as latin-1."""
    found = environ_of(
        cases.server.exchange(
            b"GET /environ HTTP/1.1\r\nHost:test\r\nConnection: close\r\n"
            b"X-A: \t a \xe9 b\t \r\nX-Empty:   \r\n\r\n"
        )
    )
    assert found["HTTP_X_A"] == "a \xe9 b"
    assert found["HTTP_X_EMPTY"] == ""
    assert found["HTTP_HOST"] == "test"


def test_names_with_underscore_are_dropped(cases: Any) -> None:
    """X_A and X-A would be one key: an attacker could overwrite what a proxy says (DESIGN 7)."""
    found = ask(cases, "/environ", ("X_Forwarded_For", "6.6.6.6"), ("X_A", "bad"), ("X-A", "good"))
    assert found["HTTP_X_A"] == "good"
    assert "HTTP_X_FORWARDED_FOR" not in found


def test_no_field_can_pose_as_a_cgi_variable(cases: Any) -> None:
    """httpoxy and kin: fields only ever become HTTP_ names, except the two that PEP 3333 names."""
    found = ask(
        cases, "/environ", ("Path-Info", "/evil"), ("Script-Name", "/evil"), ("Remote-Addr", "6.6.6.6")
    )
    assert found["PATH_INFO"] == "/environ"
    assert found["SCRIPT_NAME"] == ""
    assert found["REMOTE_ADDR"] == "127.0.0.1"
    assert found["HTTP_PATH_INFO"] == "/evil"


def test_a_hundred_fields(cases: Any) -> None:
    fields = [(f"X-F{number}", str(number)) for number in range(90)]
    found = ask(cases, "/environ", *fields)
    assert all(found[f"HTTP_X_F{number}"] == str(number) for number in range(90))


def test_values_do_not_leak_between_requests(cases: Any) -> None:
    """The engine remembers the last value of each name: another value, and absence, have to show."""
    with cases.server.connect() as client:
        first = environ_of(client.request("GET", "/environ?q", ("X-A", "one"), ("X-B", "b"), body=b"x"))
        second = environ_of(client.request("GET", "/environ", ("X-A", "onf")))
        third = environ_of(client.request("GET", "/environ"))
    assert (first["HTTP_X_A"], second["HTTP_X_A"]) == ("one", "onf")
    assert "HTTP_X_A" not in third
    assert "HTTP_X_B" not in second
    assert first["CONTENT_LENGTH"] == "1"
    assert second.get("CONTENT_LENGTH", "") == ""
    assert second["QUERY_STRING"] == ""


def test_environ_is_the_applications_own(cases: Any) -> None:
    """PEP 3333: the application may modify it in any way; the next request sees nothing of it."""
    with cases.server.connect() as client:
        for _ in range(3):
            assert client.request("GET", "/modify-environ").body == b"nothing"
        found = environ_of(client.request("GET", "/environ"))
    assert found["wsgi.version"] == [1, 0]
    assert found["SERVER_NAME"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH", "x"])
def test_any_method_reaches_the_application(cases: Any, method: str) -> None:
    """RFC 9110 9.1: methods are case-sensitive tokens, and the application decides."""
    assert environ_of(cases.server.request(method, "/environ"))["REQUEST_METHOD"] == method


def test_http_10(cases: Any) -> None:
    found = environ_of(cases.server.exchange(b"GET /environ HTTP/1.0\r\n\r\n"))
    assert found["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in found


def test_errors_stream(cases: Any) -> None:
    """PEP 3333: wsgi.errors takes write, writelines and flush, and text beyond ASCII."""
    token = cases.token()
    mark = cases.server.stderr.mark
    assert cases.server.get(f"/errors/{token}").body == b"ok"
    for word in ("written", "lines", "unicode"):
        cases.server.stderr.wait(f"{word} {token}", since=mark)

"""Requests whose fields are the same bytes as earlier ones': the environ is as if each were the first."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from harness import Answer, Rig, get, post

OURS = ("wsgi.early_hints", "wsgi.input", "prefork.queue_ms", "REMOTE_PORT")  # not compared
TIMES = 4  # a block has a template from the third time on
FIELDS = {
    "few": (),
    "browser": tuple(f"X-{number}: {'v' * number}" for number in range(30)),
    "cookie": ("Cookie: a=b", "Cookie: c=d", "Accept: */*", "Accept: text/html"),
    "https": ("X-Forwarded-Proto: https",),
    "http": ("X-Forwarded-Proto: http",),
    "underscore": ("X_Y: 1", "X-Y: 2"),
    "script name": ("SCRIPT_NAME: /a",),
    "length": ("Content-Length: 0", "Content-Type: text/plain"),
    "upgrade": ("Connection: upgrade", "Upgrade: websocket"),
    "large": ("X-Large: " + "l" * 5000,),
}
LINES = [
    "GET / HTTP/1.1",
    "GET /a/b HTTP/1.1",
    "GET /a/b?c=d HTTP/1.1",
    "GET /a%2Fb?c HTTP/1.1",
    "HEAD /a/b?c=d HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "BREW /a HTTP/1.1",
    "GET / HTTP/1.0",
    "GET http://other/a HTTP/1.1",
    "GET http://other HTTP/1.1",
    f"GET /{'long' * 100} HTTP/1.1",
    f"GET /{'long' * 100}x HTTP/1.1",
    f"GET /{'long' * 100}?{'x' * 10} HTTP/1.1",
]


class Vandal:
    """Keeps what the environs held, and leaves nothing in them as it was."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.seen.append({key: value for key, value in environ.items() if key not in OURS})
        environ["wsgi.input"].read()
        for key in list(environ):
            environ[key] = "spoilt"
        environ.clear()
        start_response("200 OK", [])
        return []


def head(line: str, fields: tuple[str, ...], host: str = "test") -> bytes:
    return "\r\n".join([line, f"Host: {host}", *fields, "", ""]).encode("latin-1")


def rig(app: Vandal, *, trust: bool = False, **options: Any) -> Rig:
    return Rig(
        app,
        trusted=lambda address: trust,
        secure={"X-Forwarded-Proto": "https"},
        forwarders=["SCRIPT_NAME"],
        **options,
    )


def told(data: bytes, **options: Any) -> dict[str, Any]:
    """What a first request's environ holds."""
    app = Vandal()
    with rig(app, **options) as fresh:
        fresh.client().ask(data)
    (only,) = app.seen
    return only


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("script_name", ["", "/a"])
def test_environ_is_that_of_a_first_request(tcp: bool, trust: bool, script_name: str) -> None:
    options: dict[str, Any] = {"trust": trust, "script_name": script_name, "tcp": tcp}
    heads = [head(line, fields) for line, fields in itertools.product(LINES, FIELDS.values())]
    heads += [head(LINES[1], FIELDS["browser"], host) for host in ("test", "tess", "test.x")]
    expected = {data: told(data, **options) for data in heads}
    order = [data for data in heads for _ in range(TIMES)]
    mixed = random.Random(7).choices(heads, k=3 * len(heads))
    app = Vandal()
    with rig(app, **options) as many:
        for data in order + mixed:
            client = many.connect()
            client.send(data)
            while client.connection.turn(0) == 0 and not app.seen:
                pass  # (TCP: the bytes may need a moment)
            client.close()
            client.connection.abandon()
            many.clients.clear()
            assert app.seen.pop() == expected[data], data
            assert not app.seen
    assert len(expected) > 100


def test_kept_connections_are_told_apart() -> None:
    """Whose request it is, is no part of a template."""
    ports: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ports.append(environ["REMOTE_PORT"])
        start_response("200 OK", [])
        return []

    with Rig(app, tcp=True) as many:
        clients = [many.client() for _ in range(3)]
        for client in clients * 3:
            before = len(ports)
            client.send(get("/"))
            many.until(lambda before=before: len(ports) > before)  # type: ignore[misc]
        assert ports == [str(client.sock.getsockname()[1]) for client in clients] * 3


def test_bodies_follow_their_own_request() -> None:
    bodies: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    with Rig(app) as many:
        client = many.client()
        for number in range(6):
            client.answer(post(b"%d" % number))
        client.ask(b"".join(post(b"%d" % number) for number in range(6)))
        client.ask(get("/") + post(b"9") + get("/"))
    assert bodies == [b"0", b"1", b"2", b"3", b"4", b"5"] * 2 + [b"", b"9", b""]


def test_block_alone_decides() -> None:
    """One that begins or ends as another does is not the other; nor is one that is not whole yet."""
    seen: list[tuple[str | None, str | None]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((environ.get("HTTP_A"), environ.get("HTTP_B")))
        start_response("200 OK", [])
        return []

    with Rig(app) as many:
        client = many.client()
        for _ in range(TIMES):
            client.answer(get("/", "A: 1"))
        client.answer(get("/", "A: 1", "B: 2"))
        client.answer(get("/", "A: 2"))
        client.answer(get("/"))
        whole = get("/", "A: 1")
        for place in range(1, len(whole)):
            client.send(whole[:place])
            many.turns()
            client.answer(whole[place:])
    assert seen[TIMES : TIMES + 3] == [("1", "2"), ("2", None), (None, None)]
    assert set(seen[:TIMES] + seen[TIMES + 3 :]) == {("1", None)}


def test_limits_hold_for_the_whole_head() -> None:
    """Known fields behind a longer request line: the limits are those of a first request."""
    fields = ("X: " + "x" * 100,)
    size = len(head("GET / HTTP/1.1", fields))
    app = Vandal()
    with rig(app, head_limit=size + 10, line_limit=100) as many:
        for _ in range(TIMES):
            assert many.client().answer(head("GET / HTTP/1.1", fields)).status == 200
        fits = head(f"GET /{'f' * 10} HTTP/1.1", fields)
        assert many.client().answer(fits).status == 200
        assert Answer(many.client().ask(head(f"GET /{'f' * 11} HTTP/1.1", fields))).status == 431
        assert Answer(many.client().ask(head(f"GET /{'f' * 100} HTTP/1.1", fields))).status == 414
        assert Answer(many.client().ask(head("GET /\0 HTTP/1.1", fields))).status == 400
        assert Answer(many.client().ask(head("GET / HTTP/2.0", fields))).status == 505
    assert len(app.seen) == TIMES + 1


def test_version_1_0_has_its_own_meaning() -> None:
    """Fields that are good in one version and not in the other."""
    coded = b"\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    app = Vandal()
    with rig(app) as many:
        for _ in range(TIMES):
            assert many.client().answer(b"POST / HTTP/1.1" + coded + b"0\r\n\r\n").status == 200
        assert Answer(many.client().ask(b"POST / HTTP/1.0" + coded)).status == 400
        for _ in range(TIMES):
            assert many.client().answer(b"GET / HTTP/1.0\r\nA: b\r\n\r\n").status == 200
        assert Answer(many.client().ask(b"GET / HTTP/1.1\r\nA: b\r\n\r\n")).status == 400


def test_more_blocks_than_are_kept() -> None:
    app = Vandal()
    with rig(app) as many:
        client = many.client()
        for _ in range(3):
            for number in range(40):
                for _ in range(3):
                    client.answer(get("/", f"A: {number}"))
    assert [each["HTTP_A"] for each in app.seen] == [str(n) for n in range(40) for _ in range(3)] * 3

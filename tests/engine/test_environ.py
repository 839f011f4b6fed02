"""From a head to an environ: rows first, then random heads against a reference written without any cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from harness import Rig, base, get, hello
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECURE = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl"}
OURS = ("wsgi.early_hints", "wsgi.input", "prefork.queue_ms")  # not compared


class Collector:
    """An application that keeps the environs it is given, without what holds a response."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.seen.append({key: value for key, value in environ.items() if key not in OURS})
        start_response("200 OK", [])
        return []

    @property
    def last(self) -> dict[str, Any]:
        return self.seen[-1]


def environ_of(data: bytes, **options: Any) -> dict[str, Any]:
    app = Collector()
    with Rig(app, **options) as rig:
        rig.client().ask(data)
    assert len(app.seen) == 1, rig.refusals
    return app.last


def changes(data: bytes, **options: Any) -> dict[str, Any]:
    """What the environ has beside or instead of what all requests begin with."""
    plain = base(options.get("script_name", ""))
    found = environ_of(data, **options)
    assert set(plain) - set(OURS) <= set(found)
    return {key: value for key, value in found.items() if key not in plain or plain[key] != value}


def origin(target: str, path: str | None = None, query: str = "") -> dict[str, str]:
    """What a target alone puts into the environ."""
    made = {"RAW_URI": target, "REQUEST_URI": target, "HTTP_HOST": "test"}
    path = target if path is None else path
    if path:
        made["PATH_INFO"] = path
    if query:
        made["QUERY_STRING"] = query
    return made


# --- request line ---


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", origin("/")),
        ("/a/b", origin("/a/b")),
        ("/a?", origin("/a?", "/a")),
        ("/a?b=c", origin("/a?b=c", "/a", "b=c")),
        ("/a?b?c", origin("/a?b?c", "/a", "b?c")),
        ("/?", origin("/?", "/")),
        ("//a", origin("//a")),
        ("/a//b/../c/./", origin("/a//b/../c/./")),
        ("/a;b=c", origin("/a;b=c")),
        ("/%41%62", origin("/%41%62", "/Ab")),
        ("/%2f%2F", origin("/%2f%2F", "///")),
        ("/%00", origin("/%00", "/\0")),
        ("/%c3%a9", origin("/%c3%a9", "/\xc3\xa9")),
        ("/%25%34%31", origin("/%25%34%31", "/%41")),
        ("/%3f?%3f", origin("/%3f?%3f", "/?", "%3f")),
        ("/100%", origin("/100%")),
        ("/%", origin("/%")),
        ("/%4", origin("/%4")),
        ("/%zz%4x%x4", origin("/%zz%4x%x4")),
        ("/%%41", origin("/%%41", "/%A")),
        ("/%4%41", origin("/%4%41", "/%4A")),
        ("/+", origin("/+")),
        ("http://test", {**origin("http://test", "/")}),
        ("http://test/", {**origin("http://test/", "/")}),
        ("http://other:81/a?b", {**origin("http://other:81/a?b", "/a", "b"), "HTTP_HOST": "other:81"}),
        ("http://other?b", {**origin("http://other?b", "/", "b"), "HTTP_HOST": "other"}),
        ("https://other/%41", {**origin("https://other/%41", "/A"), "HTTP_HOST": "other"}),
        ("http://[::1]:8/x", {**origin("http://[::1]:8/x", "/x"), "HTTP_HOST": "[::1]:8"}),
    ],
)
def test_target(target: str, expected: dict[str, str]) -> None:
    assert changes(get(target)) == expected


def test_asterisk() -> None:
    found = changes(get("*", method="OPTIONS"))
    assert found == {**origin("*", ""), "REQUEST_METHOD": "OPTIONS"}
    assert environ_of(get("*", method="OPTIONS"))["PATH_INFO"] == ""


@pytest.mark.parametrize(
    "method",
    ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "GETT", "GE", "get", "Post", "M-SEARCH", "X" * 32],
)
def test_method(method: str) -> None:
    assert changes(get(method=method)) == {**origin("/"), "REQUEST_METHOD": method}


def test_version() -> None:
    assert environ_of(get(version="1.0"))["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert environ_of(get(version="1.1"))["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_keys_of_pep_3333_have_their_types() -> None:
    found = environ_of(get("/a?b", "Content-Type: text/plain", "Cookie: c"))
    for key, value in found.items():
        assert type(key) is str
        if not key.startswith(("wsgi.", "prefork.")):
            assert type(value) is str, key
    for key in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT"):
        assert key in found
    assert found["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert found["wsgi.version"] == (1, 0)
    assert found["wsgi.url_scheme"] == "http"


def test_each_request_has_an_environ_of_its_own() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert "mine" not in environ
        assert environ["SERVER_NAME"] == "localhost"
        environ["mine"] = True
        environ["SERVER_NAME"] = "changed"
        environ.pop("HTTP_HOST")
        del environ["PATH_INFO"]
        return hello(environ, start_response)

    with Rig(app) as rig:
        client = rig.client()
        for _ in range(3):
            assert client.answer(get()).body == b"Hello"
        assert rig.faults == []


def test_environ_may_be_emptied_by_the_application() -> None:
    """The access log and the end of the request live with what is left of it."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ.clear()
        return hello(environ, start_response)

    with Rig(app, log="%(r)s %(s)s", body_memory_limit=3) as rig:
        client = rig.client()
        assert client.answer(get()).body == b"Hello"
        assert (
            client.answer(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789").body
            == b"Hello"
        )
        assert rig.faults == []
        assert len(rig.logged()) == 2


# --- fields ---


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["User-Agent: x"], {"HTTP_USER_AGENT": "x"}),
        (["uSER-aGENT: x"], {"HTTP_USER_AGENT": "x"}),
        (["X: a", "X: b"], {"HTTP_X": "a,b"}),
        (["X: a", "x: b", "X: c"], {"HTTP_X": "a,b,c"}),
        (["X: a", "X:", "X: c"], {"HTTP_X": "a,,c"}),
        (["X:"], {"HTTP_X": ""}),
        (["X: a, b", "X: c"], {"HTTP_X": "a, b,c"}),
        (["Cookie: a=1", "Cookie: b=2"], {"HTTP_COOKIE": "a=1; b=2"}),
        (["cookie: a=1", "COOKIE: b=2", "Cookie: c"], {"HTTP_COOKIE": "a=1; b=2; c"}),
        (["Cookie2: a", "Cookie2: b"], {"HTTP_COOKIE2": "a,b"}),
        (["Content-Type: text/html"], {"CONTENT_TYPE": "text/html"}),
        (["content-TYPE: text/html"], {"CONTENT_TYPE": "text/html"}),
        (["Content-Length: 0"], {"CONTENT_LENGTH": "0"}),
        (["Content-Lengths: 0"], {"HTTP_CONTENT_LENGTHS": "0"}),
        (["Content-Type2: x"], {"HTTP_CONTENT_TYPE2": "x"}),
        (["X: caf\xe9"], {"HTTP_X": "caf\xe9"}),
        (["X: \x80\xff"], {"HTTP_X": "\x80\xff"}),
        (["X: \t a \t b \t "], {"HTTP_X": "a \t b"}),
        (["X-!#$%&'*+.^`|~9: v"], {"HTTP_X_!#$%&'*+.^`|~9": "v"}),
        (["Proxy: http://evil"], {"HTTP_PROXY": "http://evil"}),
        (["-: v"], {"HTTP__": "v"}),
        (["Host: "], {"HTTP_HOST": ""}),
        (["N" * 46 + ": v"], {"HTTP_" + "N" * 46: "v"}),
        (["N" * 47 + ": v"], {"HTTP_" + "N" * 47: "v"}),
        (["N" * 47 + ": v", "n" * 47 + ": w"], {"HTTP_" + "N" * 47: "v,w"}),
        (["n" * 4000 + ": v"], {"HTTP_" + "N" * 4000: "v"}),
        (["X: " + "v" * 1024], {"HTTP_X": "v" * 1024}),
        (["X: " + "v" * 1025, "X: " + "v" * 1025], {"HTTP_X": "v" * 1025 + "," + "v" * 1025}),
    ],
)
def test_fields(fields: list[str], expected: dict[str, str]) -> None:
    assert changes(get("/", *fields)) == {**origin("/"), **expected}


def test_repeated_values_are_the_same_objects() -> None:
    """What clients repeat costs no new object."""
    app = Collector()
    with Rig(app) as rig:
        client = rig.client()
        for agent in ("one", "one", "two", "one"):
            client.ask(get("/path?query", f"User-Agent: {agent}"))
    one, again, two, back = app.seen
    for key in ("HTTP_USER_AGENT", "HTTP_HOST", "PATH_INFO", "RAW_URI", "QUERY_STRING"):
        assert one[key] is again[key]
    assert (two["HTTP_USER_AGENT"], back["HTTP_USER_AGENT"]) == ("two", "one")
    assert next(key for key in one if key == "HTTP_USER_AGENT") is next(
        key for key in two if key == "HTTP_USER_AGENT"
    )


def test_values_of_equal_length_are_told_apart() -> None:
    app = Collector()
    with Rig(app) as rig:
        client = rig.client()
        for number in range(300):
            client.ask(get(f"/{number:03}?{number:03}", f"X: {number:03}"))
    assert [each["HTTP_X"] for each in app.seen] == [f"{number:03}" for number in range(300)]
    assert [each["PATH_INFO"] for each in app.seen] == [f"/{number:03}" for number in range(300)]
    assert [each["QUERY_STRING"] for each in app.seen] == [f"{number:03}" for number in range(300)]


# --- names with an underscore ---

TRAPS = ["X_Real_Ip: 1", "X-Forwarded_For: 2", "_: 3", "CONTENT_LENGTH: 9", "Content_Type: a", "X_REAL_IP: 4"]


def test_underscores_are_dropped_and_named_once() -> None:
    app = Collector()
    with Rig(app) as rig:
        client = rig.client()
        for _ in range(2):
            client.ask(get("/", *TRAPS, "X-Real-Ip: 9"))
        names = sorted(notice.split()[2] for notice in rig.notices)
    assert app.seen[0] == app.seen[1]
    assert app.last["HTTP_X_REAL_IP"] == "9"
    assert not {"HTTP_X_FORWARDED_FOR", "HTTP__", "CONTENT_LENGTH", "CONTENT_TYPE"} & set(app.last)
    assert names == ["CONTENT_LENGTH", "CONTENT_TYPE", "X-FORWARDED_FOR", "X_REAL_IP", "_"]


def test_dropped_names_are_not_remembered_for_ever() -> None:
    app = Collector()
    with Rig(app) as rig:
        client = rig.client()
        for number in range(200):
            client.ask(get("/", f"A_{number}: x"))
    assert len(rig.notices) <= 64


def test_underscores_may_be_refused() -> None:
    for trap in TRAPS:
        with Rig(header_map="refuse") as rig:
            assert rig.client().answer(get("/", trap)).status == 400
            assert rig.refusals == ["underscore"]


def test_underscores_may_be_kept() -> None:
    found = changes(get("/", *TRAPS, "X-Real-Ip: 5"), header_map="dangerous")
    assert found == {
        **origin("/"),
        "HTTP_X_REAL_IP": "1,4,5",
        "HTTP_X_FORWARDED_FOR": "2",
        "HTTP__": "3",
        "HTTP_CONTENT_LENGTH": "9",
        "HTTP_CONTENT_TYPE": "a",
    }


@pytest.mark.parametrize("trusted", [False, True])
def test_forwarder_headers_are_the_proxys(trusted: bool) -> None:
    data = get("/app/page", "SCRIPT_NAME: /app", "REMOTE_USER: me")
    options: dict[str, Any] = {"forwarders": ("SCRIPT_NAME", "PATH_INFO", "REMOTE_USER")}
    app = Collector()
    with Rig(app, tcp=True, trusted=lambda address: trusted, **options) as rig:
        client = rig.client().send(data)
        rig.until(lambda: app.seen)
        client.close()
        rig.until(lambda: client.state == "CLOSED")
    if trusted:
        assert (app.last["SCRIPT_NAME"], app.last["PATH_INFO"]) == ("/app", "/page")
        assert (app.last["HTTP_SCRIPT_NAME"], app.last["HTTP_REMOTE_USER"]) == ("/app", "me")
        assert "REMOTE_USER" not in app.last
    else:
        assert (app.last["SCRIPT_NAME"], app.last["PATH_INFO"]) == ("", "/app/page")
        assert "HTTP_REMOTE_USER" not in app.last


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("/app", "/app/page", ("/app", "/page")),
        ("/app", "/app", ("/app", "")),
        ("/app", "/application", ("", "/application")),
        ("/app", "/other", ("", "/other")),
        ("/app", "/%61pp/page", ("/app", "/page")),
        ("/app/", "/app/page", ("/app", "/page")),
        ("/", "/page", ("", "/page")),
        ("page", "/page", ("", "/page")),
    ],
)
def test_script_name(name: str, target: str, expected: tuple[str, str]) -> None:
    """PEP 3333: the two are the path, SCRIPT_NAME has no "/" at its end, and either may be empty."""
    for _ in range(3):
        by_setting = environ_of(get(target), script_name=name)
        assert (by_setting["SCRIPT_NAME"], by_setting["PATH_INFO"]) == expected
    by_field = environ_of(get(target, f"SCRIPT_NAME: {name}"), forwarders=["SCRIPT_NAME"])
    assert (by_field["SCRIPT_NAME"], by_field["PATH_INFO"]) == expected


def test_script_name_of_the_proxy_replaces_that_of_the_setting() -> None:
    both = ["SCRIPT_NAME: /a/b", "SCRIPT_NAME: /a"]
    for fields in (both[:1], both, [both[1], both[1]]):
        found = environ_of(get("/a/b/c", *fields), forwarders=["SCRIPT_NAME"], script_name="/a")
        assert found["SCRIPT_NAME"] == fields[-1].partition(" ")[2]
        assert found["SCRIPT_NAME"] + found["PATH_INFO"] == "/a/b/c"


def test_nobody_says_what_the_path_is() -> None:
    """A proxy that lets some paths through and not others has seen the target, and passes on what it does not
    know."""
    found = environ_of(get("/public", "PATH_INFO: /admin"), forwarders=["SCRIPT_NAME", "PATH_INFO"])
    assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["HTTP_PATH_INFO"]) == ("", "/public", "/admin")


def test_paths_beside_the_script_name_in_turn() -> None:
    """From the template too: a path that is not below it has none."""
    app = Collector()
    with Rig(app, script_name="/app") as rig:
        client = rig.client()
        for count, target in enumerate(["/app/1", "/other", "/app/1", "/other", "/app", "/"], 1):
            client.send(get(target))
            rig.until(lambda: len(app.seen) == count)  # noqa: B023
            assert app.last["SCRIPT_NAME"] + app.last["PATH_INFO"] == target
            assert bool(app.last["SCRIPT_NAME"]) == target.startswith("/app")
        client.close()


# --- https by a proxy ---


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ([], "http"),
        (["X-Forwarded-Proto: https"], "https"),
        (["x-forwarded-PROTO: https"], "https"),
        (["X-Forwarded-Proto: http"], "http"),
        (["X-Forwarded-Proto: HTTPS"], "http"),
        (["X-Forwarded-Proto: https, http"], "http"),
        (["X-Forwarded-Proto:"], "http"),
        (["X-Forwarded-Ssl: on"], "https"),
        (["X-Forwarded-Ssl: off"], "http"),
        (["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"], "https"),
        (["X-Forwarded-Proto: https", "X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"], None),
        (["X-Forwarded-Ssl: off", "X-Forwarded-Proto: https"], None),
        (["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"], None),
        (["X-Forwarded-Proto: http", "X-Forwarded-Ssl: off"], "http"),
        (["X-Forwarded-Proto: \u20ac".encode().decode("latin-1")], "http"),
    ],
)
def test_scheme(fields: list[str], scheme: str | None) -> None:
    app = Collector()
    with Rig(app, secure=SECURE) as rig:
        client = rig.client()
        for _ in range(2):  # the second one finds names and values in the table
            answer = rig.client().answer(get("/", *fields))
            assert answer.status == (400 if scheme is None else 200)
        client.close()
    if scheme is None:
        assert rig.refusals == ["scheme_conflict"] * 2
    else:
        assert app.last["wsgi.url_scheme"] == scheme


def test_scheme_of_a_stranger_is_not_believed() -> None:
    app = Collector()
    with Rig(app, tcp=True, secure=SECURE) as rig:
        client = rig.client().send(get("/", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"))
        rig.until(lambda: app.seen)
        assert app.last["wsgi.url_scheme"] == "http"
        assert app.last["HTTP_X_FORWARDED_PROTO"] == "https"
        assert app.last["REMOTE_ADDR"] == "127.0.0.1"
        assert app.last["REMOTE_PORT"] == str(client.sock.getsockname()[1])


def test_trust_is_asked_once_a_connection() -> None:
    asked: list[str] = []

    def trusted(address: str) -> bool:
        asked.append(address)
        return True

    app = Collector()
    with Rig(app, tcp=True, secure=SECURE, trusted=trusted) as rig:
        client = rig.client()
        for _ in range(3):
            client.send(get("/", "X-Forwarded-Proto: https"))
            rig.until(lambda: app.seen)
            assert app.seen.pop()["wsgi.url_scheme"] == "https"
    assert asked == ["127.0.0.1"]


# --- random heads against a reference ---

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
RESERVED = {
    *("host", "content-length", "content-type", "transfer-encoding", "connection", "expect", "upgrade", "te"),
}
# Few characters and lengths: names that share a slot of the table, and come again, are what is looked for.
few_names = st.text("ab-B", min_size=1, max_size=4)
any_names = st.text(TOKEN.replace("_", ""), min_size=1, max_size=60)
names = st.one_of(few_names, few_names, any_names).filter(lambda name: name.lower() not in RESERVED)
value_bytes = st.sampled_from(sorted(set(range(0x21, 0x7F)) | set(range(0x80, 0x100)) | {0x20, 0x09}))
values = st.one_of(
    st.text("xy", max_size=2),
    st.lists(value_bytes, max_size=40).map(lambda codes: "".join(map(chr, codes)).strip(" \t")),
    st.integers(1020, 1030).map(lambda size: "v" * size),
)
targets = st.one_of(
    st.text("ab", max_size=2).map(lambda text: "/" + text),
    st.text("ab?%41é&=;+~".replace("é", ""), max_size=12).map(lambda text: "/" + text),
    st.integers(250, 260).map(lambda size: "/" + "t" * size),
)
heads = st.tuples(targets, st.lists(st.tuples(names, values), max_size=12))


def reference(target: str, fields: list[tuple[str, str]]) -> dict[str, Any]:
    """The same environ, made the plain way."""
    path, _, query = target.partition("?")
    made = base()
    made |= {"RAW_URI": target, "REQUEST_URI": target, "QUERY_STRING": query, "HTTP_HOST": "test"}
    made["PATH_INFO"] = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    for name, value in fields:
        key = "HTTP_" + name.upper().replace("-", "_")
        if key in made:
            made[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
        else:
            made[key] = value
    return {key: value for key, value in made.items() if key not in OURS}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(heads, min_size=1, max_size=12))
def test_random_heads(requests: list[tuple[str, list[tuple[str, str]]]]) -> None:
    app = Collector()
    with Rig(app, fields_limit=100) as rig:
        client = rig.client()
        for target, fields in requests:
            data = get(target, *(f"{name}: {value}" for name, value in fields))
            assert client.answer(data).status == 200
    assert app.seen == [reference(target, fields) for target, fields in requests]


def test_table_survives_more_names_than_it_holds() -> None:
    """Names take each other's place; keys and values stay right, before and after."""
    app = Collector()
    with Rig(app, fields_limit=100) as rig:
        client = rig.client()
        for turn in range(3):
            for first in range(0, 3000, 60):
                fields = [(f"N{number}", f"{turn}-{number}") for number in range(first, first + 60)]
                client.ask(get("/", *(f"{name}: {value}" for name, value in fields), "User-Agent: same"))
                expected = reference("/", [*fields, ("User-Agent", "same")])
                assert app.seen.pop() == expected


JUNK = """
import gc, resource, sys
sys.path.insert(0, sys.argv[1])
from harness import Rig, get

def rounds(first, last):
    for number in range(first, last):
        fields = [f"{'n' * length}{number:07d}x{field}: v" for field in range(40) for length in (10, 900)]
        client.send(get("/", *fields[:80]))
        rig.turns()
        client.take()

with Rig(head_limit=1 << 17) as rig:
    client = rig.client()
    rounds(0, 200)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rounds(200, 1200)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_junk_names_fill_no_memory() -> None:
    """80,000 names that come once, 37 MB of them. Interned for good (as PyUnicode_InternFromString does from
    3.12 on) they would stay."""
    done = subprocess.run(
        [sys.executable, "-c", JUNK, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 4096, f"{done.stdout} KiB more"

"""prefork web called as the application that it is, over a master that the test makes up."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from urllib.parse import urlencode
from wsgiref.validate import validator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from prefork.errors import PreforkError
from prefork.operate import orders, page
from prefork.operate.guard import Guard
from prefork.operate.reading import Reader
from prefork.operate.site import FORM_LIMIT, Site

from .conftest import Master

EVIL = b"/<script>alert(1)</script>'\"&amp;\x1b[2J</main><img src=x onerror=alert(1)>"


class Got:
    def __init__(self, status: str, fields: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status[:3])
        self.fields = {name.lower(): value for name, value in fields}
        self.text = body.decode()


Ask = Callable[..., Got]


@pytest.fixture
def site(master: Master) -> Site:
    return Site(Reader(None, ask=master.ask), Guard(), acts=True)


@pytest.fixture
def ask(site: Site) -> Ask:
    """ask(method, path, query, body=..., FIELD=...); PEP 3333 is held against each answer."""

    def call(method: str = "GET", path: str = "/", query: str = "", body: bytes = b"", **more: str) -> Got:
        said: list[object] = []
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "8001",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost:8001",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": _Errors(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **more,
        }
        if body:
            environ["CONTENT_LENGTH"] = str(len(body))

        def start_response(status: str, fields: object, exc_info: object = None) -> Callable[[bytes], object]:
            said.extend((status, fields))
            return said.append

        iterable = validator(site)(environ, start_response)
        found = b"".join(iterable)
        iterable.close()
        return Got(said[0], said[1], found)  # type: ignore[arg-type]

    return call


class _Errors:
    def flush(self) -> None: ...
    def write(self, text: str) -> None: ...
    def writelines(self, lines: list[str]) -> None: ...


class Tags(HTMLParser):
    """Every start tag, and the text outside of script and style; balanced, or it fails."""

    VOID = ("meta", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.words.append(data)


# --- what it shows


def test_the_page(master: Master, ask: Ask) -> None:
    master.run(0, b"/slow?x=1", seconds=12.3)
    got = ask()
    assert (got.status, got.fields["content-type"]) == (200, "text/html; charset=utf-8")
    text = " ".join(Tags(got.text).words)
    assert "shop" in text and "serving; generation 1, 2 of 2 workers serve" in text
    assert "GET /slow?x=1" in text and "12.3 s" in text


def test_what_clients_and_processes_are_called_is_escaped(master: Master, ask: Ask) -> None:
    harmless = Tags(ask().text).tags
    master.facts["name"] = EVIL.decode()
    master.facts["addresses"] = ["unix:/<b>"]
    master.facts["course"] = "<i>"
    master.run(0, EVIL, seconds=3, method=b"G<u>T")
    master.asked = 0
    got = Site(Reader(None, ask=master.ask), Guard(), acts=True)
    tags = Tags(page.page(page.part(got.figures()), master.facts["name"], "token")).tags
    # A table of requests more, and nothing else: no tag and no attribute comes from outside.
    assert {tag for tag, _ in tags} == {tag for tag, _ in harmless}
    names = {name for _, attributes in tags for name in attributes}
    assert names == {name for _, attributes in harmless for name in attributes}
    text = " ".join(Tags(page.part(got.figures())).words)
    assert r"G<u>T /<script>alert(1)</script>'\"&amp;\x1B[2J" in text.replace('"', '\\"')
    assert "\x1b" not in text


def test_the_policy_lets_nothing_run_but_ours(ask: Ask) -> None:
    got = ask()
    policy = got.fields["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", got.text, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    for tag, attributes in Tags(got.text).tags:
        assert not any(name == "style" or name.startswith("on") for name in attributes), tag
    assert not re.findall(r"(?:src|href|action)=\"(?:\w+:)?//", got.text)


def test_what_refreshes_is_what_the_page_began_with(master: Master, ask: Ask) -> None:
    whole, part = ask(), ask(query="part")
    assert part.fields["x-part"] == "main"
    assert f"<main>{part.text}</main>" in whole.text


def test_json(master: Master, ask: Ask) -> None:
    master.run(0, EVIL, seconds=3)
    got = ask(path="/status.json")
    assert got.fields["content-type"] == "application/json"
    said = json.loads(got.text)
    assert said["server"]["pid"] == master.pid
    assert said["workers"][0]["requests_now"][0]["target"] == EVIL.decode()
    assert said["now"]["busy"] == 0.5


def test_metrics(master: Master, ask: Ask) -> None:
    master.serve(0, 5)
    got = ask(path="/metrics")
    assert got.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {each.name: each for each in text_string_to_metric_families(got.text)}
    assert families["prefork_workers_wanted"].samples[0].value == 2
    assert sum(each.value for each in families["prefork_requests"].samples) == 5


def test_health(master: Master, ask: Ask) -> None:
    assert ask(path="/healthz").text == "serving\n"


def test_health_while_nobody_serves(master: Master, ask: Ask) -> None:
    master.facts["serving"] = 0
    got = ask(path="/healthz")
    assert (got.status, got.text) == (503, "not serving\n")


def test_a_log_that_is_no_file(ask: Ask) -> None:
    got = ask(path="/log")
    assert got.status == 404
    assert got.text.startswith("the error log goes to stderr, not to a file")


# --- who does not answer


@pytest.fixture
def silent(site: Site) -> None:
    """The server has ended."""

    def nobody(pid: int, word: str, patience: float) -> list[dict[str, object]]:
        raise PreforkError("no prefork runs as pid <7>, or none that can be asked")

    site.reader._ask = nobody


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 503), ("/status.json", 503), ("/metrics", 503), ("/healthz", 503), ("/log", 404)],
)
def test_without_a_server(ask: Ask, silent: None, path: str, status: int) -> None:
    got = ask(path=path)
    assert got.status == status
    if path == "/":
        Tags(got.text)
        assert "pid &lt;7&gt;" in got.text
    elif path in ("/healthz", "/metrics"):  # for strangers too
        assert got.text.startswith("no answer")
        assert "pid" not in got.text
    else:
        assert "no prefork runs as pid <7>" in got.text


def test_an_older_server(master: Master, ask: Ask, site: Site) -> None:
    def older(pid: int, word: str, patience: float) -> list[dict[str, object]]:
        if word == "metrics":
            return [{"state": "refused", "cause": "this server knows no such order", "exit_code": 1}]
        said = master.said()
        del said["histograms"], said["requests_per_worker"], said["server"]["errorlog"]
        return [said]

    site.reader._ask = older
    for path, status in (("/", 503), ("/status.json", 503), ("/metrics", 503), ("/log", 404)):
        got = ask(path=path)
        assert got.status == status
        assert (f"pid {master.pid} runs an older prefork" in got.text) == (path != "/metrics")
    assert ask(path="/healthz").status == 200


# --- methods and paths


@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics", "/healthz", "/log"])
def test_head_is_as_get(ask: Ask, path: str) -> None:
    assert ask("HEAD", path).status == ask("GET", path).status
    assert ask("HEAD", path).fields["content-type"] == ask("GET", path).fields["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/", "GET, HEAD"), ("DELETE", "/log", "GET, HEAD"), ("GET", "/act", "POST")],
)
def test_methods(ask: Ask, method: str, path: str, allowed: str) -> None:
    got = ask(method, path)
    assert (got.status, got.fields["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/x", "/status.json/", "/../log", "//", "/favicon.ico"])
def test_paths(ask: Ask, path: str) -> None:
    assert ask(path=path).status == 404


@pytest.mark.parametrize("path", ["/", "/x", "/metrics", "/act"])
def test_every_answer_has_the_fields(ask: Ask, path: str) -> None:
    fields = ask(path=path).fields
    assert fields["cache-control"] == "no-store"
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["x-frame-options"] == "DENY"
    assert fields["referrer-policy"] == "same-origin"


def test_another_name(ask: Ask) -> None:
    for path in ("/", "/metrics", "/log", "/act", "/nothing"):
        assert ask(path=path, HTTP_HOST="evil.example").status == 403


def test_a_password_is_asked_for(site: Site, ask: Ask) -> None:
    site.guard = Guard(password="secret")
    got = ask()
    assert got.status == 401
    assert got.fields["www-authenticate"] == 'Basic realm="prefork web", charset="UTF-8"'


# --- actions

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The orders that were given."""
    found: list[tuple[int, str]] = []

    def give(pid: int, order: str) -> str:
        found.append((pid, order))
        if order == "upgrade":
            raise PreforkError("upgrade failed: <b>")
        return "generation <2> serves"

    monkeypatch.setattr(orders, "give", give)
    return found


def act(ask: Ask, site: Site, order: str = "reload", **more: str) -> Got:
    body = urlencode({"token": more.pop("token", site.guard.token), "order": order}).encode()
    return ask("POST", "/act", body=body, **{"CONTENT_TYPE": FORM, **more})


def test_an_action(master: Master, ask: Ask, site: Site, given: list[tuple[int, str]]) -> None:
    got = act(ask, site, HTTP_ORIGIN="http://localhost:8001")
    assert (got.status, given) == (200, [(master.pid, "reload")])
    assert "generation &lt;2&gt; serves" in got.text
    Tags(got.text)


def test_an_action_that_fails(master: Master, ask: Ask, site: Site, given: list[tuple[int, str]]) -> None:
    got = act(ask, site, "upgrade")
    assert got.status == 409
    assert "upgrade failed: &lt;b&gt;" in got.text


def test_the_forms_of_the_page_are_what_is_taken(ask: Ask, site: Site, given: list[tuple[int, str]]) -> None:
    tags = Tags(ask().text).tags
    tokens = {each["value"] for tag, each in tags if tag == "input"}
    assert tokens == {site.guard.token}
    offered = [each["value"] for tag, each in tags if tag == "button"]
    assert offered == list(orders.ORDERS)
    for order in offered:
        assert act(ask, site, str(order)).status in (200, 409)
    assert [order for _, order in given] == offered


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"token": "x"}, 403),
        ({"token": ""}, 403),
        ({"HTTP_ORIGIN": "http://evil.example"}, 403),
        ({"HTTP_HOST": "evil.example", "HTTP_ORIGIN": "http://evil.example"}, 403),
        ({"REMOTE_ADDR": "192.0.2.1"}, 403),
        ({"order": "stop"}, 400),
        ({"order": ""}, 400),
        ({"order": "status"}, 400),
        ({"CONTENT_TYPE": "text/plain"}, 400),
        ({"CONTENT_TYPE": "multipart/form-data; boundary=x"}, 400),
    ],
)
def test_no_action(
    ask: Ask, site: Site, given: list[tuple[int, str]], more: dict[str, str], status: int
) -> None:
    assert act(ask, site, **more).status == status
    assert given == []


@pytest.mark.parametrize("body", [b"x" * (FORM_LIMIT + 1), b"&".join([b"a=b"] * 11), b"\xff\xfe", b""])
def test_a_body_that_is_no_form(ask: Ask, given: list[tuple[int, str]], body: bytes) -> None:
    assert ask("POST", "/act", body=body, CONTENT_TYPE=FORM).status in (400, 403)
    assert given == []


def test_a_form_that_is_too_long(ask: Ask, site: Site, given: list[tuple[int, str]]) -> None:
    form = urlencode({"token": site.guard.token, "order": "reload"}).encode()
    whole = form + b"&x=" + b"x" * (FORM_LIMIT - len(form) - 3)
    assert ask("POST", "/act", body=whole + b"x", CONTENT_TYPE=FORM).status == 400
    assert given == []
    assert ask("POST", "/act", body=whole, CONTENT_TYPE=FORM).status == 200


def test_actions_are_off_unless_asked_for(ask: Ask, site: Site, given: list[tuple[int, str]]) -> None:
    site.acts = False
    assert act(ask, site).status == 403
    assert given == []
    assert "<form" not in ask().text

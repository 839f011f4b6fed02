"""A real Flask site on four workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from apps_client import multipart
from launcher import Events, Server
from serving import start_server


class Site:
    """The running site, which tells of each close() of a response that is no file."""

    def __init__(self, server: Server, events: Events) -> None:
        self.server = server
        self.events = events

    def settle(self, requests: int) -> None:
        assert [self.events.next() for _ in range(requests)] == ["closed"] * requests
        assert self.events.waiting() == []


@pytest.fixture(scope="module", params=["flask_site.app:app", "validated:flask"])
def running_site(
    request: pytest.FixtureRequest, worker_class: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The site as it is, and inside wsgiref.validate."""
    folder = tmp_path_factory.mktemp("flask")
    heard = Events(folder / "events")
    with ExitStack() as stack:
        stack.callback(heard.close)
        running = start_server(
            stack,
            request.param,
            worker_class=worker_class,
            workers=4,
            env={**heard.env, "FLASK_SITE_DATA": str(folder)},
            cwd=folder,
        )
        yield Site(running, heard)
        running.stop()


@pytest.fixture
def site(running_site: Site) -> Iterator[Site]:
    running_site.events.waiting()
    yield running_site
    assert running_site.server.process.poll() is None
    lines = running_site.server.trouble()
    running_site.server.pardon()
    assert not lines, "\n".join(lines)


def test_pages(site: Site, browsers: Any) -> None:
    browser = browsers(site.server)
    assert browser.get("/").text == "<h1>home</h1>"
    assert browser.request("HEAD", "/").body == b""
    assert browser.get("/missing").status == 404
    assert browser.get("/teapot").status == 418
    assert browser.get("/redirect").headers["Location"] == "/"
    assert browser.get("/nothing").status == 204
    assert "GET" in browser.request("OPTIONS", "/").headers["Allow"]
    assert browser.request("DELETE", "/").status == 405
    assert browser.connections == 1
    site.settle(8)


def test_session(site: Site, browsers: Any) -> None:
    browser = browsers(site.server)
    for count in range(1, 5):
        assert browser.get("/visits").data["visits"] == count
        browser.close()  # the next request goes to whichever worker
    site.settle(4)


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_upload_and_download(site: Site, browsers: Any, blob: bytes, coding: str) -> None:
    browser = browsers(site.server)
    headers, body = multipart({"title": "t"}, "x.bin", blob[:10_000_000])
    sent: Any = body
    if coding == "chunked":
        sent = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
    page = browser.request("POST", f"/upload/{coding}.bin", headers, sent)
    assert page.status == 201, page.text
    digest = hashlib.sha256(blob[:10_000_000]).hexdigest()
    assert page.data == {"digest": digest, "title": "t"}
    got = browser.get(f"/download/{coding}.bin")
    assert hashlib.sha256(got.body).hexdigest() == digest
    again = browser.get(f"/download/{coding}.bin", {"If-None-Match": got.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    part = browser.get(f"/download/{coding}.bin", {"Range": "bytes=1000-1999"})
    assert part.status == 206
    assert part.headers["Content-Range"] == "bytes 1000-1999/10000000"
    assert part.body == blob[1000:2000]
    assert browser.request("HEAD", f"/download/{coding}.bin").headers["Content-Length"] == "10000000"
    assert browser.get(f"/download/{coding}.bin", {"Range": "bytes=20000000-"}).status == 416
    assert browser.connections == 1
    site.settle(4)  # all but the file and its part


@pytest.mark.parametrize("chunks", [0, 1, 1000])
def test_stream(site: Site, browsers: Any, chunks: int) -> None:
    page = browsers(site.server).get(f"/stream/{chunks}")
    assert page.text == "".join(f"/stream/{chunks} {number}\n" for number in range(chunks))
    site.settle(1)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body(site: Site, browsers: Any, size: int, coding: str) -> None:
    data = b"d" * size
    sent: Any = data if coding == "length" else (data[at : at + 65_000] for at in range(0, size, 65_000))
    page = browsers(site.server).request("PUT", "/body", None, sent)
    assert page.data == {"size": size, "digest": hashlib.sha256(data).hexdigest()}
    site.settle(1)


def test_facts(site: Site, browsers: Any) -> None:
    browser = browsers(site.server)
    facts = browser.get("/meta?q=%C3%A9").data
    assert facts == {
        "url": "http://test/meta?q=é",
        "secure": False,
        "address": "127.0.0.1",
        "query": {"q": "é"},
    }
    assert browser.get("/meta", {"X-Forwarded-Proto": "https"}).data["secure"] is True
    site.settle(2)


def test_broken_view(site: Site, browsers: Any) -> None:
    """Flask answers 500 itself, and logs the traceback itself: to wsgi.errors, which is stderr."""
    mark = site.server.stderr.mark
    browser = browsers(site.server)
    assert browser.get("/broken").status == 500
    site.server.stderr.wait("RuntimeError: deliberate, in a view", since=mark)
    assert browser.get("/").status == 200
    site.settle(2)
    site.server.pardon()

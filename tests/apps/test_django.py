"""A real Django project on four workers: what its users do, and that every request is finished."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from apps_client import multipart
from launcher import APPS, Events, Server
from rawclient import Ending
from serving import start_server

WORKERS = 4


class Site:
    """The running project; every test ends with as many request_finished as request_started signals."""

    def __init__(self, server: Server, events: Events) -> None:
        self.server = server
        self.events = events

    def settle(self, requests: int) -> None:
        """Wait for the signals of that many requests: close() was called for each, exactly once."""
        words = [self.events.next() for _ in range(2 * requests)]
        assert sorted(words) == ["finished"] * requests + ["started"] * requests
        assert self.events.waiting() == []


def run_site(
    worker_class: str, data: Path, folder: Path, app: str = "project.wsgi:application", workers: int = WORKERS
) -> Iterator[Site]:
    heard = Events(folder / "events")
    with ExitStack() as stack:
        stack.callback(heard.close)
        running = start_server(
            stack,
            app,
            *("--pythonpath", f"{APPS},{APPS / 'django_site'}"),
            worker_class=worker_class,
            workers=workers,
            env={**heard.env, "DJANGO_SITE_DATA": str(data)},
            cwd=folder,
        )
        yield Site(running, heard)
        running.stop()


@pytest.fixture(scope="module")
def running_site(
    worker_class: str, django_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    yield from run_site(worker_class, django_data, tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(running_site: Site) -> Iterator[Site]:
    running_site.events.waiting()
    yield running_site
    assert running_site.server.process.poll() is None


def log_in(browser: Any) -> None:
    page = browser.get("/admin/login/")
    assert page.status == 200
    form = f"username=root&password=password&csrfmiddlewaretoken={browser.cookies['csrftoken']}&next=/admin/"
    page = browser.request(
        "POST", "/admin/login/", {"Content-Type": "application/x-www-form-urlencoded"}, form.encode()
    )
    assert page.status == 302
    assert page.headers["Location"] == "/admin/"
    assert "sessionid" in browser.cookies


def test_page(site: Site, browsers: Any) -> None:
    page = browsers(site.server).get("/")
    assert (page.status, page.text) == (200, "<h1>home</h1>")
    assert page.headers["Content-Length"] == "13"
    site.settle(1)


def test_admin(site: Site, browsers: Any) -> None:
    """Log in, look around, add an object by the form, see it in the list, log out; one kept connection."""
    browser = browsers(site.server)
    assert browser.get("/admin/").status == 302
    log_in(browser)
    assert "Site administration" in browser.get("/admin/").text
    page = browser.get("/admin/auth/user/add/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token is not None
    form = (
        f"csrfmiddlewaretoken={token[1]}&username=second-{id(browser)}&usable_password=true"
        "&password1=correct-horse-battery&password2=correct-horse-battery&_save=Save"
    )
    page = browser.request(
        "POST", "/admin/auth/user/add/", {"Content-Type": "application/x-www-form-urlencoded"}, form.encode()
    )
    assert page.status == 302, page.text
    assert f"second-{id(browser)}" in browser.get("/admin/auth/user/").text
    token_field = f"csrfmiddlewaretoken={browser.cookies['csrftoken']}".encode()
    page = browser.request(
        "POST", "/admin/logout/", {"Content-Type": "application/x-www-form-urlencoded"}, token_field
    )
    assert page.status == 200
    assert browser.get("/admin/").status == 302
    assert browser.connections == 1
    site.settle(9)


def test_csrf_is_refused(site: Site, browsers: Any) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = browsers(site.server).request("POST", "/admin/login/", form, b"username=root&password=password")
    assert page.status == 403
    site.settle(1)


def test_session_across_connections(site: Site, browsers: Any) -> None:
    """The session outlives the connection, whichever worker answers next."""
    first = browsers(site.server)
    for count in range(1, 4):
        assert first.get("/visits/").data["visits"] == count
    for count in range(4, 10):
        other = browsers(site.server)
        other.cookies = first.cookies
        assert other.get("/visits/").data["visits"] == count
    site.settle(9)


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_upload_and_download_of_50_mb(site: Site, browsers: Any, blob: bytes, coding: str) -> None:
    """The way down is spooled to disk, the way up is wsgi.file_wrapper; the signals prove the close()."""
    browser = browsers(site.server)
    headers, body = multipart({"title": "à large one"}, "blob.bin", blob)
    sent: Any = body
    if coding == "chunked":
        sent = (body[start : start + 250_000] for start in range(0, len(body), 250_000))
    page = browser.request("POST", "/upload/", headers, sent)
    assert page.status == 201, page.text
    digest = hashlib.sha256(blob).hexdigest()
    assert page.data == {"key": page.data["key"], "digest": digest, "size": len(blob), "title": "à large one"}
    got = browser.get(f"/download/{page.data['key']}/")
    assert got.status == 200
    assert got.headers["Content-Length"] == str(len(blob))
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert hashlib.sha256(got.body).hexdigest() == digest
    assert browser.get("/").status == 200
    assert browser.connections == 1
    site.settle(3)


def test_static_like_file(site: Site, browsers: Any, django_data: Path) -> None:
    """django.views.static.serve: Last-Modified and 304, HEAD, a Range that Django does not know, 404."""
    (django_data / "media").mkdir(exist_ok=True)
    (django_data / "media" / "style.css").write_bytes(b"body{}" * 5000)
    browser = browsers(site.server)
    page = browser.get("/media/style.css")
    assert page.body == b"body{}" * 5000
    assert page.headers["Content-Type"] == "text/css"
    page = browser.get("/media/style.css", {"If-Modified-Since": page.headers["Last-Modified"]})
    assert (page.status, page.body) == (304, b"")
    page = browser.request("HEAD", "/media/style.css")
    assert (page.status, page.headers["Content-Length"], page.body) == (200, "30000", b"")
    page = browser.get("/media/style.css", {"Range": "bytes=0-9"})
    assert page.status == 200  # RFC 9110 14.2: a server may ignore Range
    assert len(page.body) == 30_000
    assert browser.get("/media/missing.css").status == 404
    assert browser.connections == 1
    site.settle(5)


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_file_from_memory(site: Site, browsers: Any, size: int) -> None:
    page = browsers(site.server).get(f"/memory/{size}/")
    assert page.body == b"m" * size
    site.settle(1)


@pytest.mark.parametrize("chunks", [0, 1, 2000])
def test_stream(site: Site, browsers: Any, chunks: int) -> None:
    page = browsers(site.server).get(f"/stream/{chunks}/")
    assert page.text == "".join(f"chunk {number}\n" for number in range(chunks))
    site.settle(1)


def test_broken_stream_is_cut(site: Site) -> None:
    site.server.forgive("(?s).*")
    answer = site.server.get("/stream-broken/")
    assert answer.body == b"begun"
    assert answer.ending is not Ending.COMPLETE
    site.settle(1)


def test_client_that_leaves_a_download(site: Site, browsers: Any, blob: bytes) -> None:
    """request_finished comes even when nobody is there any more."""
    headers, body = multipart({"title": "left"}, "left.bin", blob)
    key = browsers(site.server).request("POST", "/upload/", headers, body).data["key"]
    client = site.server.connect(receive_buffer=4096)
    client.send(f"GET /download/{key}/ HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    client.head()
    client.reset()
    site.settle(2)


@pytest.mark.parametrize("size", [0, 1, 300_000, 5_000_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body(site: Site, browsers: Any, size: int, coding: str) -> None:
    """Django reads nothing without CONTENT_LENGTH: a chunked upload works because the body is complete."""
    data = b"d" * size
    sent: Any = data if coding == "length" else (data[at : at + 65_000] for at in range(0, size, 65_000))
    page = browsers(site.server).request("PUT", "/body/", None, sent)
    assert page.data["size"] == size
    assert page.data["digest"] == hashlib.sha256(data).hexdigest()
    site.settle(1)


def test_too_large_for_django(site: Site, browsers: Any) -> None:
    """The application's own limit: it answers without reading, and the connection goes on."""
    browser = browsers(site.server)
    assert browser.request("POST", "/body/", None, b"x" * (11 << 20)).status == 400
    assert browser.get("/").status == 200
    site.settle(2)


def test_request_facts(site: Site, browsers: Any) -> None:
    browser = browsers(site.server)
    facts = browser.get("/meta/?q=%C3%A9&r=a%20b").data
    assert facts == {
        "secure": False,
        "host": "test",
        "absolute": "http://test/meta/?q=%C3%A9&r=a%20b",
        "address": "127.0.0.1",
        "query": {"q": "é", "r": "a b"},
        "path": "/meta/",
        "script": "",
    }
    assert browser.get("/meta/", {"X-Forwarded-Proto": "https"}).data["secure"] is True
    site.settle(2)


def test_answers_of_other_kinds(site: Site, browsers: Any) -> None:
    browser = browsers(site.server)
    assert browser.get("/missing/").status == 404
    assert browser.get("/nothing/").status == 204
    assert browser.get("/redirect/").headers["Location"] == "/"
    assert browser.get("/admin").status == 301  # APPEND_SLASH
    assert browser.request("HEAD", "/").body == b""
    assert browser.get("/", {"Host": "evil"}).status == 400  # ALLOWED_HOSTS
    assert browser.connections == 1
    site.settle(6)


def test_broken_view(site: Site, browsers: Any) -> None:
    site.server.forgive("(?s).*")
    browser = browsers(site.server)
    page = browser.get("/broken/")
    assert page.status == 500
    assert "Traceback" not in page.text
    assert browser.get("/").status == 200
    site.settle(2)


def test_many_browsers_at_once(site: Site, browsers: Any) -> None:
    """Eight clients, each with its own session, over four workers: nobody gets another's answer."""
    faults: list[BaseException] = []
    pids: set[int] = set()

    def browse(browser: Any) -> None:
        try:
            for count in range(1, 9):
                facts = browser.get("/visits/").data
                assert facts["visits"] == count
                pids.add(facts["pid"])
                mine = bytes([count]) * 50_000
                assert (
                    browser.request("POST", "/body/", None, mine).data["digest"]
                    == hashlib.sha256(mine).hexdigest()
                )
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=browse, args=(browsers(site.server),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    assert len(pids) > 1
    site.settle(8 * 16)


def test_validated(worker_class: str, django_data: Path, browsers: Any, tmp_path: Path) -> None:
    """The whole project inside wsgiref.validate."""
    for site in run_site(worker_class, django_data, tmp_path, "project.wsgi:validated", workers=1):
        browser = browsers(site.server)
        log_in(browser)
        assert browser.get("/admin/").status == 200
        assert browser.request("POST", "/body/", None, (b"a", b"b")).data["size"] == 2
        assert browser.get("/stream/3/").text.endswith("chunk 2\n")
        assert len(browser.get("/memory/70000/").body) == 70_000
        # Not /nothing/: Django gives a 204 a Content-Type, to which the validator objects.
        site.settle(6)

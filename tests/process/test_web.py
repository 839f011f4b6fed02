"""`prefork web` beside real servers, itself a real one."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
from launcher import Server, listen, program, until
from procfs import state
from prometheus_client.parser import text_string_to_metric_families

from prefork.errors import PreforkError
from prefork.net import control
from prefork.operate import running
from prefork.operate.reading import Reader

from .conftest import Project, Start, answer

Web = Callable[..., Server]


@pytest.fixture
def web(project: Project) -> Iterator[Web]:
    """web(*words, env=...) -> prefork web, answering, on a socket of its own."""
    started: list[Server] = []
    with ExitStack() as stack:

        def begin(*words: object, handed: bool = True, **options: object) -> Server:
            listeners = [listen()] if handed else []
            server = Server(
                ["web", "--host", "test", *map(str, words)],
                listeners=listeners,
                cwd=project.folder,
                **options,  # type: ignore[arg-type]
            )
            stack.callback(server.kill)
            started.append(server)
            server.stderr.wait(r"ready after .*: generation 1, 1 worker")
            return server

        yield begin
        for each in started:
            if each.process.returncode is None:
                each.stop()


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program(), "web", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=cwd,
    )


def act(view: Server, order: str) -> tuple[int, str]:
    """Press that button of the page: the status, and what the answer says."""
    page = view.get("/")
    (token,) = set(re.findall(r'name="token" value="([^"]+)"', page.text))
    form = urlencode({"token": token, "order": order}).encode()
    fields = [
        ("Host", "test"),
        ("Origin", "http://test"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Connection", "close"),
    ]
    with view.connect() as client:
        found = client.request("POST", "/act", *fields, body=form)
    return found.status, found.text


def test_what_it_shows(start: Start, web: Web, project: Project) -> None:
    server = start("-p", "pid", "-n", "shop <b>", "--error-logfile", "error.log", ready=False).wait_ready()
    answer(server)
    view = web("pid")
    with server.connect() as client:
        client.offer(b"GET /sleep/60?<script>alert(1)</script> HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: "/sleep/60" in view.get("/").text, "the request is shown")
        page = view.get("/").text
        assert "GET /sleep/60?&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert page.count("<script>") == 1
        assert "<h1>shop &lt;b&gt;</h1>" in page
        said = json.loads(view.get("/status.json").text)
        assert said["server"]["pid"] == server.pid
        assert sorted(each["pid"] for each in said["workers"]) == sorted(server.worker_pids())
        assert all(each["memory"] > 1 << 20 for each in said["workers"])
        assert (said["now"]["running"], said["now"]["at_once"]) == (1, 2)
    metrics = {each.name: each for each in text_string_to_metric_families(view.get("/metrics").text)}
    assert metrics["prefork_workers_wanted"].samples[0].value == 2
    assert " ready after " in view.get("/log").text
    assert (view.get("/healthz").status, view.get("/healthz").text) == (200, "serving\n")
    for path in ("/", "/metrics", "/log", "/healthz"):
        head = view.request("HEAD", path)
        assert (head.status, head.body) == (200, b"")
    assert view.request("PUT", "/log").status == 405
    assert view.get("/nothing").status == 404
    server.kill()


def test_a_restart_is_followed(start: Start, web: Web, project: Project) -> None:
    first = start("-p", "pid", workers=1)
    view = web("pid")
    assert view.get("/healthz").status == 200
    first.stop()
    until(lambda: view.get("/healthz").status == 503, "it is heard of")
    assert view.get("/metrics").status == 503
    assert "cannot be read: No such file" in view.get("/").text
    second = start("-p", "pid", workers=1)
    until(lambda: view.get("/healthz").status == 200, "it is found")
    assert json.loads(view.get("/status.json").text)["server"]["pid"] == second.pid


def test_the_only_server_is_followed_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    mine: list[Server] = []
    monkeypatch.setattr(
        control, "running", lambda: [each.pid for each in mine if control.is_master(each.pid)]
    )
    reader = Reader(None)
    with pytest.raises(PreforkError, match=r"^no prefork runs here$"):
        reader.read()
    mine.append(start(workers=1))
    assert reader.read()["server"]["pid"] == mine[0].pid
    mine.append(start(workers=1))
    assert reader.read()["server"]["pid"] == mine[0].pid
    mine[0].stop()
    assert reader.read()["server"]["pid"] == mine[1].pid


def test_of_several_the_one_in_the_same_folder_takes_its_place(
    start: Start, monkeypatch: pytest.MonkeyPatch, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, second = start(workers=1), start(workers=1)
    elsewhere = start("--chdir", str(tmp_path_factory.mktemp("x")), "--pythonpath", str(project.folder))
    alive = [first.pid]
    monkeypatch.setattr(control, "running", lambda: alive)
    reader = Reader(None)
    assert reader.read()["server"]["pid"] == first.pid
    first.stop()
    alive[:] = [elsewhere.pid, second.pid]
    assert reader.read()["server"]["pid"] == second.pid


def test_nobody_means_the_view(
    start: Start, web: Web, monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    server, view = start(workers=1), web()
    assert {server.pid, view.pid} <= set(control.running())
    monkeypatch.setattr(control, "running", lambda: [server.pid, view.pid])
    assert running.find(None) == server.pid
    monkeypatch.setattr(control, "running", lambda: [view.pid])
    with pytest.raises(PreforkError, match=r"^no prefork runs here$"):
        running.find(None)


def test_a_master_that_is_stopped(start: Start, web: Web) -> None:
    server = start(workers=1)
    view = web(server.pid)
    server.send_signal(signal.SIGSTOP)
    until(lambda: state(server.pid) == "T", "it is stopped")
    until(lambda: view.get("/healthz").status == 503, "it is noticed")
    assert "it is stopped (SIGSTOP)" in view.get("/").text
    server.send_signal(signal.SIGCONT)
    until(lambda: view.get("/healthz").status == 200, "it is back")


class TestActions:
    def test_reload(self, start: Start, web: Web, project: Project) -> None:
        server = start()
        view = web(server.pid, "--actions")
        project.mark("second")
        status, text = act(view, "reload")
        assert (status, "generation 2 serves with 2 workers" in text) == (200, True)
        assert answer(server)[0] == "second"

    def test_reload_that_fails(self, start: Start, web: Web, project: Project) -> None:
        server = start(workers=1)
        view = web(server.pid, "--actions")
        project.write("import nothing_of_that_name\n")
        status, text = act(view, "reload")
        assert (status, "reload failed: " in text, "nothing_of_that_name" in text) == (409, True, True)
        assert answer(server)[0] == "first"
        server.pardon()

    def test_more_and_less(self, start: Start, web: Web) -> None:
        server = start(workers=1)
        view = web(server.pid, "--actions")
        assert act(view, "ttin")[0] == 200
        until(lambda: len(server.worker_pids()) == 2, "there is one more")
        assert act(view, "ttou")[0] == 200
        until(lambda: len(server.worker_pids()) == 1, "there is one less")

    def test_upgrade(self, start: Start, web: Web, project: Project) -> None:
        server = start("-p", "pid", workers=1)
        view = web("pid", "--actions")
        status, text = act(view, "upgrade")
        (pid,) = map(int, re.findall(r"pid (\d+) has taken over", text))
        assert (status, pid) == (200, int((project.folder / "pid").read_text()))
        until(
            lambda: json.loads(view.get("/status.json").text).get("server", {}).get("pid") == pid,
            "the new one is shown",
        )
        os.kill(pid, signal.SIGTERM)
        assert server.wait() == 0
        server.kill()

    def test_off(self, start: Start, web: Web) -> None:
        view = web(start(workers=1).pid)
        assert "<form" not in view.get("/").text
        assert view.request("POST", "/act", body=b"order=reload").status == 403

    def test_a_server_that_has_ended(self, start: Start, web: Web) -> None:
        server = start(workers=1)
        view = web(server.pid, "--actions")
        page = view.get("/").text
        server.stop()
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', page))
        form = urlencode({"token": token, "order": "ttin"}).encode()
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        found = view.request("POST", "/act", kind, body=form)
        assert found.status == 409
        assert f"pid {server.pid} cannot be told: No such process" in found.text


def test_a_password(start: Start, web: Web, project: Project) -> None:
    (project.folder / "password").touch(0o600)
    (project.folder / "password").write_text("se:cret\n")
    view = web(start(workers=1).pid, "--password-file", "password")
    assert view.get("/").status == 401
    assert view.get("/", ("Authorization", "Basic eDpzZTpjcmV0")).status == 200  # x:se:cret
    assert view.get("/", ("Authorization", "Basic eDp4")).status == 401
    assert view.get("/healthz").status == 200


def test_names(start: Start, web: Web) -> None:
    view = web(start(workers=1).pid, "--host", "ops.example.org")
    for host, status in (("ops.example.org", 200), ("localhost:1", 200), ("evil.example", 403)):
        data = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        assert view.exchange(data).status == status


def test_a_unix_socket(start: Start, web: Web, project: Project) -> None:
    server = start(workers=1)
    view = web(server.pid, "-b", "unix:web.sock", "--actions", handed=False)
    path = project.folder / "web.sock"
    view.stderr.wait(re.escape(f" at unix:{path}: "))
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    view.address = str(path)
    assert view.get("/healthz").status == 200
    assert view.get("/").status == 200


def test_the_projects_settings_are_not_its_own(start: Start, web: Web, project: Project) -> None:
    server = start("-p", "pid", workers=1)
    (project.folder / "prefork.toml").write_text("workers = 3\npidfile = 'pid'\n")
    (project.folder / "html.py").write_text("raise RuntimeError('not for you')\n")
    view = web("pid", env={"PREFORK_WORKERS": "4", "WEB_CONCURRENCY": "5", "PREFORK_PIDFILE": "pid"})
    assert len(view.worker_pids()) == 1
    assert int((project.folder / "pid").read_text()) == server.pid
    assert view.get("/").status == 200


def test_no_server_to_begin_with(web: Web, project: Project) -> None:
    view = web("pid")
    view.stderr.wait(r"^prefork: pid file pid cannot be read: .*; it is looked for again at each request$")
    assert view.get("/healthz").status == 503


def test_two_servers(start: Start, project: Project) -> None:
    start(workers=1), start(workers=1)
    done = run(cwd=project.folder)
    assert done.returncode == 2
    assert "servers run here" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_users_server(start: Start) -> None:
    server = start(workers=1)
    reader = Reader(str(server.pid))
    os.seteuid(65534)
    try:
        with pytest.raises(PreforkError, match=rf"^pid {server.pid} is another user's: it answers that user"):
            reader.read()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--all",), 2, "prefork web knows no --all"),
        (("1", "2"), 2, "one server is shown, not also 2"),
        (("-b",), 2, "-b needs a value"),
        (("-b", "[::"), 2, "--bind: '[::': write IPv6 as"),
        (("-b", "0.0.0.0:0", "--actions"), 2, "other machines can reach it: --actions needs --password-file"),
        (("-b", ":0", "--actions"), 2, "other machines can reach it"),
        (("-b", "fd://9", "--actions"), 2, "other machines can reach it"),
        (("--password-file", "/none"), 2, "--password-file = '/none': cannot be read: No such file"),
        ((str(os.getpid()),), 1, f"no prefork runs as pid {os.getpid()}, or none that can be asked"),
    ],
)
def test_words(words: tuple[str, ...], code: int, said: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("prefork: error: ")
    assert said in done.stderr


def test_help() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: prefork web ")

"""Logs of a whole server: who writes where, with logging configured, as a daemon, and after USR1."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher import Server, until
from procfs import children, descriptors, state, title

from .conftest import Project, Start, where

APP = """
import os, sys

print("imported")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fault":
        raise ValueError("the application's")
    print("printed", path)
    os.system(f"echo from a child {path}")
    print("to errors", path, file=environ["wsgi.errors"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

CONFIG = """
logconfig_dict = {{
    "version": 1,
    "formatters": {{"plain": {{"format": "%(name)s|%(levelname)s|%(process)d|%(message)s"}}}},
    "handlers": {{"file": {{"class": "{handler}", "filename": "configured.log", "formatter": "plain"}}}},
    "loggers": {{name: {{"level": "INFO", "handlers": ["file"]}} for name in {names}}},
}}
access_log_format = '%(r)s %(s)s'
"""

# Others get their turn in the middle of a record, as with a handler that waits for a socket.
WAITING = """
import logging, time


class Handler(logging.FileHandler):
    def emit(self, record):
        time.sleep(0.001)
        super().emit(record)
"""

KINDS = {"sync": (), "threads": ("--threads", "2"), "gevent": ("-k", "gevent")}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write(APP)
    return project


@pytest.fixture
def configured(project: Project) -> Path:
    return project.folder / "configured.log"


def configure(project: Project, *names: str, handler: str = "logging.FileHandler") -> tuple[str, ...]:
    (project.folder / "waiting.py").write_text(WAITING)
    (project.folder / "conf.py").write_text(CONFIG.format(names=names, handler=handler))
    return ("-c", "conf.py")


def flags_of(kind: str) -> tuple[str, ...]:
    if kind == "gevent":
        pytest.importorskip("gevent")
    return KINDS[kind]


def records(file: Path) -> list[list[str]]:
    """Name, level, process and message of each."""
    return [line.split("|", 3) for line in file.read_text().splitlines() if line.count("|") >= 3]


# With logging configured


@pytest.mark.parametrize("name", ["gunicorn.error", "prefork.error"])
def test_what_workers_say_goes_to_the_configured_logger(
    start: Start, project: Project, configured: Path, name: str
) -> None:
    server = start(*configure(project, name), workers=1, ready=False)
    until(lambda: configured.exists() and "ready" in configured.read_text(), "it is ready")
    (worker,) = server.worker_pids()
    assert server.get("/fault").status == 500
    os.kill(worker, signal.SIGTERM)
    until(lambda: "drains" in configured.read_text(), "it has heard")
    server.stop()
    said = {message for _, _, pid, message in records(configured) if pid == str(worker)}
    assert said >= {f"TERM: worker {worker} drains", "GET /fault HTTP/1.1: the application raised ValueError"}
    assert "ValueError: the application's" in configured.read_text()
    assert server.stderr.lines == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gunicorn.access", "prefork.access"])
def test_requests_are_records_of_the_access_logger(
    start: Start, project: Project, configured: Path, kind: str, name: str
) -> None:
    server = start(*flags_of(kind), *configure(project, name), workers=1)
    (worker,) = server.worker_pids()
    server.get("/1")
    until(lambda: len(records(configured)) == 1, "it is written while the worker is idle")
    with server.connect() as client:
        for number in range(2, 9):
            client.request("GET", f"/{number}")
    server.stop()
    assert records(configured) == [
        [name, "INFO", str(worker), f"GET /{number} HTTP/1.1 200"] for number in range(1, 9)
    ]
    assert not any("HTTP/1.1" in line for line in (*server.stdout.lines, *server.stderr.lines))
    server.stderr.wait(f"compiled engine, access log logger {name}$")


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_waits_loses_nothing(
    start: Start, project: Project, configured: Path, kind: str
) -> None:
    flags = configure(project, "gunicorn.access", handler="waiting.Handler")
    server = start(*flags_of(kind), "--pythonpath", ".", *flags, workers=1, env={"PYTHONPATH": "."})
    target = "/" + 200 * "x"
    count = 400  # more than the engine's buffer holds
    with server.connect() as client:
        for _ in range(count):
            client.offer(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.response("GET").status == 200
    server.stop()
    assert [message for _, _, _, message in records(configured)] == [f"GET {target} HTTP/1.1 200"] * count


def test_a_file_gets_the_requests_too_and_both_are_opened_again(
    start: Start, project: Project, configured: Path
) -> None:
    access = project.folder / "access.log"
    flags = configure(project, "gunicorn.access")
    server = start(*flags, "--access-logfile", "access.log", workers=1)
    server.get("/before")
    until(lambda: len(records(configured)) == 1, "the first is written")
    for file in (access, configured):
        file.rename(f"{file}.1")
    (worker,) = server.worker_pids()
    server.send_signal(signal.SIGUSR1)
    moved = {f"{access}.1", f"{configured}.1"}
    until(lambda: not moved & set(descriptors(worker).values()), "the worker has opened them again")
    server.get("/after")
    server.stop()
    assert Path(f"{access}.1").read_text() == "GET /before HTTP/1.1 200\n"
    assert access.read_text() == "GET /after HTTP/1.1 200\n"
    assert [each[3] for each in records(Path(f"{configured}.1"))] == ["GET /before HTTP/1.1 200"]
    assert [each[3] for each in records(configured)] == ["GET /after HTTP/1.1 200"]


# wsgi.errors


def test_wsgi_errors_is_stderr_without_a_file(start: Start) -> None:
    server = start(workers=1)
    server.get("/x")
    server.stderr.wait("^to errors /x$")


@pytest.mark.parametrize("kind", KINDS)
def test_wsgi_errors_is_the_error_log(start: Start, project: Project, kind: str) -> None:
    log = project.folder / "e.log"
    server = start(*flags_of(kind), "--error-logfile", "e.log", workers=1, ready=False)
    until(lambda: log.exists() and "ready" in log.read_text(), "it is ready")
    server.get("/before")
    assert "to errors /before\n" in log.read_text()
    log.rename(f"{log}.1")
    server.send_signal(signal.SIGUSR1)
    until(log.exists, "it is opened again")

    def is_there() -> bool:
        server.get("/after")  # the worker may hear a little later than the master
        return "to errors /after\n" in log.read_text()

    until(is_there, "the worker has opened it again")
    assert not any("to errors" in line for line in server.stderr.lines)


# Daemon


@pytest.fixture
def daemon(start: Start, project: Project) -> Iterator[Start]:
    """daemon(*flags) -> a Server whose command has returned; it is stopped in order when the test is over."""
    begun: list[int] = []

    def begin(*flags: str) -> Server:
        log = project.folder / "e.log"
        server = start(
            "-D", "-p", "pid", "--error-logfile", "e.log", "-b", "127.0.0.1:0", *flags,
            workers=1, handed=False, ready=False,
        )  # fmt: skip
        assert server.wait() == 0
        begun.append(int((project.folder / "pid").read_text()))
        server.stderr.lines += log.read_text().splitlines()
        where(server)
        return server

    yield begin
    for pid in begun:
        os.kill(pid, signal.SIGTERM)
        until(lambda pid=pid: state(pid) in "XZ", "the daemon is gone")


@pytest.mark.parametrize("kind", KINDS)
def test_a_daemon_captures_what_is_printed(daemon: Start, project: Project, kind: str) -> None:
    log = project.folder / "e.log"
    server = daemon(*flags_of(kind), "--capture-output", "--access-logfile", "-")
    if kind != "gevent":  # whose mold keeps it
        server.stdout.wait_end()  # nobody holds the terminal any more
        server.stderr.wait_end()
    server.get("/1")
    said = ["imported", "printed /1", "from a child /1", "to errors /1"]
    assert [line for line in log.read_text().splitlines() if not line.startswith("[")] == said
    log.rename(f"{log}.1")
    os.kill(int((project.folder / "pid").read_text()), signal.SIGUSR1)
    until(log.exists, "it is opened again")

    def is_there() -> bool:
        server.get("/2")
        return "from a child /2\n" in log.read_text()

    until(is_there, "the worker has opened it again")
    family = children(int((project.folder / "pid").read_text()))
    (worker,) = [pid for pid in family if title(pid).startswith("prefork: worker")]
    os.kill(worker, signal.SIGKILL)  # whoever comes later inherits what the master has
    until(lambda: "imported" in log.read_text(), "another has come")


def test_a_daemon_without_capture_holds_no_terminal(daemon: Start, project: Project) -> None:
    server = daemon("--access-logfile", "-")
    server.stdout.wait_end()
    server.stderr.wait_end()
    server.get("/1")
    assert "to errors /1\n" in (project.folder / "e.log").read_text()
    assert "printed" not in (project.folder / "e.log").read_text()


BORROWS = """
{first}
import logging

borrowed = logging.getLogger("gunicorn.error")
own = logging.getLogger("own")
own.handlers = borrowed.handlers
own.setLevel(borrowed.level)


def app(environ, start_response):
    own.info("asked for %s", environ["PATH_INFO"])
    own.debug("not at this level")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize("flags", ["-k sync", "-k threads", "-k gevent", "--preload"])
@pytest.mark.parametrize("place", ["stderr", "file"])
def test_an_application_borrows_gunicorns_handlers(
    start: Start, project: Project, flags: str, place: str
) -> None:
    """As Flask applications behind gunicorn do, while they are imported."""
    project.write(BORROWS.format(first="" if flags != "-k sync" else "import decimal"))
    path = project.folder / "error.log"
    to_file = ("--error-logfile", str(path)) if place == "file" else ()
    server = start(*flags.split(), *to_file, workers=1, ready=not to_file)
    until(lambda: not to_file or (path.exists() and "ready after" in path.read_text()), "it is ready")
    assert server.get("/here").text == "ok"
    server.stop()
    lines = path.read_text().splitlines() if to_file else server.stderr.lines
    assert sum(line.endswith("[INFO] asked for /here") for line in lines) == 1
    assert not any("not at this level" in line for line in lines)

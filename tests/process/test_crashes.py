"""Workers that crash: what the log says, and how fast they come back."""

from __future__ import annotations

import os
import re
import signal

import pytest
from launcher import until
from procfs import state
from rawclient import Closed

from .conftest import APP, Project, Start, answer

CRASH = (
    APP.replace("import os, time", "import ctypes, os, time")
    + """

crash, quiet = ctypes.string_at, app


def app(environ, start_response):
    if environ["PATH_INFO"] == "/crash":
        crash(0)
    return quiet(environ, start_response)
"""
)


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["fork", "mold"])
@pytest.mark.parametrize("place", ["stderr", "file"])
def test_segfault(start: Start, project: Project, place: str, flags: tuple[str, ...]) -> None:
    project.write(CRASH)
    log = project.folder / "error.log"
    to_file = ("--error-logfile", str(log)) if place == "file" else ()
    server = start(*to_file, *flags, workers=1, ready=not to_file)
    if to_file:
        until(lambda: log.exists() and "ready after" in log.read_text(), "it is ready")
    with pytest.raises(Closed):
        server.get("/crash?id=7")
    answer(server)
    if place == "file":
        until(lambda: "was killed by" in log.read_text(), "the death is in the log")
        text = log.read_text()
        assert not [line for line in server.stderr.lines if "Fatal" in line]
    else:
        server.stderr.wait("was killed by")
        text = "\n".join(server.stderr.lines)
    # First the stack, then who it was and what it did.
    stack, _, rest = text.partition("was killed by SIGSEGV")
    assert re.search(r"Fatal Python error: Segmentation fault", stack)
    assert re.search(r'site_app\.py", line \d+ in app', stack)
    assert re.search(r"running GET /crash\?id=7 for 0\.\d s", rest)
    server.pardon()


@pytest.mark.parametrize("kind", ["sync", "threads", "gevent"])
def test_abort(start: Start, project: Project, kind: str) -> None:
    """By the application itself it is a crash like others: nobody is told that something took too long."""
    project.write(CRASH.replace("crash(0)", "os.abort()"))
    server = start("-k", kind, workers=1)
    with pytest.raises(Closed):
        server.get("/crash?id=7")
    server.stderr.wait(r"was killed by SIGABRT, running GET /crash\?id=7 for 0\.\d s")
    answer(server)
    server.pardon()


def test_the_same_path_again(start: Start, project: Project) -> None:
    server = start("--threads", "2", workers=2)
    for _ in range(2):
        with pytest.raises(Closed):
            server.get("/exit/7?who=me")
    server.stderr.wait(
        r"exited with code 7, running GET /exit/7\?who=me for 0\.\d s;"
        r" GET /exit/7 was running in 2 deaths of the last 10 min"
    )
    server.pardon()


def test_idle_worker_that_is_killed_is_reported_with_its_last_request(start: Start) -> None:
    server = start(workers=1)
    _, pid = answer(server, "/page")
    os.kill(pid, signal.SIGTERM)  # somebody else's, and no crash: it drains
    server.stderr.wait(rf"TERM: worker {pid} drains")
    until(lambda: pid not in server.worker_pids(), "it has left")  # nobody else serves: it takes who waits
    _, pid = answer(server, "/page?2")
    until(lambda: state(pid) == "S", "the request is over also for the worker")
    os.kill(pid, signal.SIGKILL)
    server.stderr.wait(
        rf"worker {pid} was killed by SIGKILL; the last request it has answered was GET /page\?2"
    )
    server.pardon()


def test_request_that_kills_workers_makes_no_fork_storm(start: Start) -> None:
    """Each client that comes back costs a worker; between two deaths there is more and more time."""
    server = start(workers=1)
    for _ in range(5):
        with pytest.raises(Closed):
            server.get("/exit/1")
    waits = server.stderr.wait(r"the next one in ([\d.]+) s", count=4)
    assert [float(each[1]) for each in waits] == [0.1, 0.2, 0.4, 0.8]
    answer(server)
    server.pardon()

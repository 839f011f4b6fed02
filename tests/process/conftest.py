"""Servers for the tests of supervision: an application that a test can break, every process accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from launcher import Server, listen

# Answers with the generation's marker and the worker's pid; other paths do what they say.
APP = """
import os, time

MARK = "first"


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/sleep/"):
        time.sleep(float(path.removeprefix("/sleep/")))
    if path.startswith("/exit/"):
        os._exit(int(path.removeprefix("/exit/")))
    if path == "/hang":  # with the GIL, in a call that no signal ends
        import ctypes
        libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)
    body = f"{MARK} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

Start = Callable[..., Server]
START_LINE = re.compile(
    r"prefork \S+ at (?P<where>.+): (?P<workers>\d+) (?P<kind>\w+) workers?, pid (?P<pid>\d+)"
)


class Project:
    """A folder with an application that a test can change or break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "site_app.py"
        self.write(APP)

    def write(self, text: str) -> None:
        """Replace the application. A compiled copy of the same second and size must not be taken for it."""
        beside = self.path.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.path)

    def mark(self, word: str) -> None:
        """Let the application answer with another word."""
        self.write(APP.replace('"first"', repr(word)))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    """start(*flags, workers=2, handed=True, env=...) -> a Server whose first generation is ready.

    handed: the test binds and hands over; else the flags say where to listen, and `where(server)` finds it.
    """
    started: list[Server] = []
    with ExitStack() as stack:

        def begin(
            *flags: str,
            app: str = "site_app:app",
            workers: int | None = 2,
            handed: bool = True,
            ready: bool = True,
            env: dict[str, str] | None = None,
            **options: Any,
        ) -> Server:
            server = Server(
                [app, *(() if workers is None else ("-w", str(workers))), *flags],
                listeners=[listen()] if handed else [],
                env={"PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
                cwd=project.folder,
                **options,
            )
            stack.callback(server.kill)
            started.append(server)
            if ready:
                settled(server, 1)
            return server

        yield begin
        for each in started:
            if each.process.returncode is None:
                each.stop()


def settled(server: Server, generation: int, *, since: int = 0) -> None:
    """Wait until all workers of that generation serve."""
    server.stderr.wait(rf"ready.*: generation {generation}\b", since=since)


def where(server: Server) -> list[str]:
    """The addresses of the start line; the first becomes the server's."""
    (match,) = server.stderr.wait(START_LINE.pattern)
    texts = match["where"].split(" ")
    text = texts[0].removeprefix("http://")
    if text.startswith("unix:@"):
        server.address = "\0" + text.removeprefix("unix:@")
    elif text.startswith("unix:"):
        server.address = text.removeprefix("unix:")
    else:
        host, _, port = text.rpartition(":")
        server.address = (host.strip("[]"), int(port))
    return texts


def answer(server: Server, target: str = "/") -> tuple[str, int]:
    """Ask once: (the marker, the pid of the worker that answered)."""
    response = server.get(target)
    assert response.status == 200
    word, pid = response.text.split()
    return word, int(pid)


__all__ = ["APP", "Project", "Start", "answer", "settled", "where"]

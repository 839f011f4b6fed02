"""How the tests' servers are started: the worker classes that exist, their flags, and one way to begin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from launcher import APPS, Events, Server, listen

# Every worker class that exists; all tests that take the fixture `worker_class` run once for each.
WORKER_CLASSES = ("sync", "threads", "gevent")


def chosen_classes() -> Sequence[str]:
    """All of them, or those named in PREFORK_TEST_CLASSES=sync,gevent (development)."""
    named = os.environ.get("PREFORK_TEST_CLASSES", "")
    return [name for name in named.split(",") if name] or WORKER_CLASSES


def class_arguments(worker_class: str) -> list[str]:
    """The flags that choose a class; threads get a few, so that requests do run side by side."""
    if worker_class == "threads":
        return ["-k", "gthread", "--threads", "4"]
    return ["-k", worker_class]


def start_server(
    stack: ExitStack,
    app: str,
    *arguments: str,
    worker_class: str | None = None,
    workers: int = 1,
    address: tuple[str, int] | str = ("127.0.0.1", 0),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limits: Mapping[str, int] | None = None,
    ready: bool = True,
) -> Server:
    """Start a server for `app` (a module of tests/apps, or any importable one) on a socket of its own.

    It is killed when the stack unwinds, if nothing has stopped it before. limits: RLIMIT names and values.
    """
    command = [app, "-w", str(workers), "--pythonpath", str(APPS), *arguments]
    if worker_class is not None:
        command += class_arguments(worker_class)
    server = Server(command, listeners=[listen(address)], env=env, cwd=cwd, limits=limits)
    stack.callback(server.kill)
    if ready:
        server.wait_ready()
    return server


class Cases:
    """A server of apps/wsgi_cases and what its applications say."""

    def __init__(self, server: Server, events: Events) -> None:
        self.server = server
        self.events = events
        self._tokens = 0

    def token(self) -> str:
        """A name that no other request of this server has, by which a test finds its own traces."""
        self._tokens += 1
        return f"t{self._tokens}"

    def closes(self, token: str) -> int:
        """How often close() was called for that token so far."""
        return int(self.server.get(f"/closes-of/{token}").text)

    def closed_once(self, token: str) -> None:
        """Wait for close(), then make sure that it was called no second time (PEP 3333: exactly once)."""
        self.events.expect(f"closed {token}")
        assert self.closes(token) == 1
        assert self.events.waiting() == []

    def check_alive(self) -> None:
        lines = "\n".join(self.server.stderr.lines[-60:])
        assert self.server.process.poll() is None, f"the server died:\n{lines}"


def run_cases(worker_class: str, folder: Path) -> Iterator[Cases]:
    """One worker with apps/wsgi_cases; stopped, and judged, when the generator goes on."""
    heard = Events(folder / "events")
    with ExitStack() as stack:
        stack.callback(heard.close)
        running = start_server(
            stack, "wsgi_cases:application", worker_class=worker_class, env=heard.env, cwd=folder
        )
        yield Cases(running, heard)
        running.stop()

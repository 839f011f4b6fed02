"""Shared fixtures: real servers of every worker class, and the guard that the built package is tested.

`server` starts what a test asks for; `worker_class` runs a test once a class. Helper modules live in
tests/support and are imported by their plain names.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

for folder in ("support", "apps"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

from launcher import APPS, PEER, Events, Server, listen

# Every worker class that exists; all tests that take `worker_class` run once for each.
WORKER_CLASSES = ("sync",)
COMPILED: tuple[str, ...] = ()  # modules of prefork.engine

StartServer = Callable[..., Server]


def pytest_configure(config: pytest.Config) -> None:
    """Stop at once when what would be tested is a tree without its compiled room, or another package."""
    del config
    if PEER or not COMPILED:
        return
    try:
        importlib.metadata.distribution("prefork")
        for name in COMPILED:
            module = importlib.import_module(f"prefork.engine.{name}")
            if not str(module.__file__).endswith(".so"):
                raise ImportError(f"{module.__name__} is not compiled")
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        pytest.exit(f"prefork is not built here ({error}): run pip install -e '.[test]'", returncode=4)


def chosen_classes() -> Sequence[str]:
    """All of them, or those named in PREFORK_TEST_CLASSES=sync,gevent (development)."""
    named = os.environ.get("PREFORK_TEST_CLASSES", "")
    return [name for name in named.split(",") if name] or WORKER_CLASSES


@pytest.fixture(scope="session", params=chosen_classes())
def worker_class(request: pytest.FixtureRequest) -> str:
    """The worker class to run the test against."""
    return str(request.param)


def class_arguments(worker_class: str) -> list[str]:
    """The flags that choose a class; threads get a few, so that requests do run side by side."""
    if worker_class == "threads":
        return ["-k", "gthread", "--threads", "4"]
    return ["-k", worker_class]


def program_for_test(name: str) -> str:
    """The path of an outside program; without it the test skips, or fails where .ci/run demands it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("PREFORK_REQUIRE_PROGRAMS"):
            pytest.fail(f"{name} is not installed, and PREFORK_REQUIRE_PROGRAMS is set")
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="session")
def outside_program() -> Callable[[str], str]:
    """outside_program("nginx") -> path; skips, or fails where .ci/run demands it."""
    return program_for_test


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    """Words from the application to the test."""
    with ExitStack() as stack:
        heard = Events(tmp_path / "events")
        stack.callback(heard.close)
        yield heard


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
    """Start a server for `app` (a module of tests/apps, or any importable one) on a socket of its own."""
    command = [app, "-w", str(workers), "--pythonpath", str(APPS), *arguments]
    if worker_class is not None:
        command += class_arguments(worker_class)
    server = Server(
        command, listeners=[listen(address)], env=env, cwd=cwd, limits=limits, workers=workers
    )
    stack.callback(server.kill)
    if ready:
        server.wait_ready()
    return server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StartServer]:
    """server(app, *flags, worker_class=..., workers=..., env=..., limits=...) -> a running Server.

    When the test is over each one is stopped with TERM and has to exit with 0, leave no process behind and
    have logged no trouble, unless the test stopped it itself.
    """
    started: list[Server] = []
    with ExitStack() as stack:

        def start(app: str, *arguments: str, **options: Any) -> Server:
            options.setdefault("cwd", tmp_path)
            started.append(start_server(stack, app, *arguments, **options))
            return started[-1]

        yield start
        for each in started:
            if each.process.returncode is None:
                each.stop()


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


def run_cases(worker_class: str, folder: Path) -> Iterator[Cases]:
    heard = Events(folder / "events")
    with ExitStack() as stack:
        stack.callback(heard.close)
        running = start_server(
            stack, "wsgi_cases:application", worker_class=worker_class, env=heard.env, cwd=folder
        )
        yield Cases(running, heard)
        running.stop()


@pytest.fixture(scope="session")
def cases_server(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    """One worker with apps/wsgi_cases, shared by the tests of one class."""
    yield from run_cases(worker_class, tmp_path_factory.mktemp(f"cases-{worker_class}"))


@pytest.fixture(scope="session")
def faulty_server(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    """Another one, for applications and clients that misbehave."""
    for running in run_cases(worker_class, tmp_path_factory.mktemp(f"faulty-{worker_class}")):
        running.server.forgive("")
        yield running


@pytest.fixture
def cases(cases_server: Cases) -> Iterator[Cases]:
    """Applications that do nothing wrong: the log has to stay free of trouble."""
    cases_server.events.waiting()
    yield cases_server
    running = cases_server.server
    assert running.process.poll() is None, "the server died:\n" + "\n".join(running.stderr.lines[-60:])
    lines = running.trouble()
    running.pardon()
    assert not lines, "unexpected on stderr:\n" + "\n".join(lines)


@pytest.fixture
def faulty(faulty_server: Cases) -> Iterator[Cases]:
    """Applications that break the rules: the log may say so, the server has to live on."""
    faulty_server.events.waiting()
    yield faulty_server
    running = faulty_server.server
    assert running.process.poll() is None, "the server died:\n" + "\n".join(running.stderr.lines[-60:])
    assert running.get("/hello").body == b"Hello, World!"


__all__ = ["PEER", "WORKER_CLASSES"]

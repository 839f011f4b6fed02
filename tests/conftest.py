"""Shared fixtures: real servers of every worker class, and the guard that the built package is tested.

`server` starts what a test asks for; `cases` and `faulty` share one server a class for small applications;
`worker_class` runs a test once a class. Helper modules live in tests/support and are imported by their plain
names, as are the applications of tests/apps.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

for folder in ("support", "apps"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

from launcher import PEER, Events, Server  # noqa: E402
from serving import Cases, chosen_classes, run_cases, start_server  # noqa: E402

PROJECT = Path(__file__).parent.parent / "pyproject.toml"

StartServer = Callable[..., Server]


def compiled_modules() -> list[str]:
    """Every module that has to be built, as the build itself lists them."""
    listed = tomllib.loads(PROJECT.read_text())["tool"]["setuptools"]["ext-modules"]
    return [module["name"] for module in listed]


def pytest_configure(config: pytest.Config) -> None:
    """Stop at once when what would be tested is a tree without its compiled room."""
    del config
    if PEER:
        return
    try:
        importlib.metadata.distribution("prefork")
        for name in compiled_modules():
            module = importlib.import_module(name)
            if not str(module.__file__).endswith(".so"):
                raise ImportError(f"{name} is not compiled")
    except Exception as error:  # not built, half built, or built from other sources: one line says what to do
        pytest.exit(f"prefork is not built here ({error}): run pip install -e '.[test]'", returncode=4)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ten thousand collected tests are no garbage.

    Hundreds of tests call gc.collect(), which would look through them each time. What a test makes itself is
    still looked at.
    """
    del session
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=chosen_classes())
def worker_class(request: pytest.FixtureRequest) -> str:
    """The worker class to run the test against."""
    return str(request.param)


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
    heard = Events(tmp_path / "events")
    yield heard
    heard.close()


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
    cases_server.check_alive()
    lines = cases_server.server.trouble()
    cases_server.server.pardon()
    assert not lines, "unexpected on stderr:\n" + "\n".join(lines)


@pytest.fixture
def faulty(faulty_server: Cases) -> Iterator[Cases]:
    """Applications and clients that break the rules: the log may say so, the server has to live on."""
    faulty_server.events.waiting()
    yield faulty_server
    faulty_server.check_alive()
    assert faulty_server.server.get("/hello").body == b"Hello, World!"

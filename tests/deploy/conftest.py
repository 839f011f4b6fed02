"""Fixtures of the deploy tests: the application behind the proxies, and the way to outside programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
# benchmarks.traffic, the client that classifies every request. Last: prefork is the one that is installed.
sys.path.append(str(Path(__file__).parent.parent.parent))

import checkout
import systemd
from backends import Backend, start_backend


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Callable[..., Backend]]:
    """backend(*flags, unix=..., workers=...) -> a running Backend."""
    started: list[Backend] = []
    with ExitStack() as stack:

        def start(*flags: str, **options: Any) -> Backend:
            started.append(start_backend(stack, tmp_path, *flags, **options))
            return started[-1]

        yield start
        for each in started:
            if each.server.process.returncode is None:
                each.server.stop()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for a checkout of prefork, which pip installs at once."""
    return checkout.make(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def booted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[systemd.Booted]:
    """A machine with systemd, one for all tests that need it; `booted.shared` is a folder of both sides."""
    if why := systemd.why_not():
        pytest.skip(why)
    shared = tmp_path_factory.mktemp("systemd")
    try:
        machine = systemd.Booted(shared, lent=[source], env=checkout.environment(source))
    except (AssertionError, OSError) as fault:
        pytest.skip(f"systemd does not come up in a machine here: {fault}")
    with machine:
        yield machine

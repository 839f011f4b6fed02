"""The mixed user in locust against a live server: headless, and driven through the web UI.

Locust is in the extra `load`, not in `test`: without it these skip.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launcher import DEADLINE, Server, until

from benchmarks.launch import APPS, free_port

LOCUSTFILE = APPS.parent / "locustfile.py"
Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def site(server: Callable[..., Server]) -> str:
    """The URL of a server of the mixed site."""
    running = server("mixed:app", "--pythonpath", str(APPS), worker_class="threads", workers=2)
    assert isinstance(running.address, tuple)
    return "http://{}:{}".format(*running.address)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What locust says."""
    return tmp_path / "locust.log"


@pytest.fixture
def spawn(log: Path) -> Iterator[Spawn]:
    """spawn(*arguments) -> locust, which is killed in the end if it still runs."""
    program = shutil.which("locust", path=sysconfig.get_path("scripts")) or shutil.which("locust")
    if program is None:
        pytest.skip("locust is not installed (pip install 'prefork[load]')")
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as said:
            argv = [program, "-f", str(LOCUSTFILE), *arguments]
            started.append(subprocess.Popen(argv, cwd=log.parent, stdout=said, stderr=subprocess.STDOUT))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def ask(url: str, **form: object) -> bytes:
    """GET, or POST when there is a form."""
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, data, DEADLINE) as answer:
        found: bytes = answer.read()
        return found


def test_headless(site: str, spawn: Spawn, log: Path) -> None:
    """A run ends by itself, without a failure and with every kind of request."""
    users = ("--headless", "-u", "20", "-r", "20", "-t", "3s")
    process = spawn("--host", site, *users, "--json-file", str(log.with_suffix("")))
    assert process.wait(60) == 0, log.read_text()
    rows = json.loads(log.with_suffix(".json").read_text())
    assert {row["name"] for row in rows} >= {"page", "search", "form", "upload", "download", "stream"}
    assert sum(row["num_failures"] for row in rows) == 0


def test_web_ui(site: str, spawn: Spawn) -> None:
    """The page is there; a swarm is started, watched and stopped as its buttons do."""
    port = free_port()
    spawn("--host", site, "--web-host", "127.0.0.1", "--web-port", str(port))
    ui = f"http://127.0.0.1:{port}"

    def answers() -> bytes:
        try:
            return ask(f"{ui}/")
        except OSError:
            return b""

    until(answers, "the web UI answers")
    assert b"<title>Locust" in answers()

    def stats() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask(f"{ui}/stats/requests"))
        return found

    def total() -> dict[str, Any]:
        return next((row for row in stats()["stats"] if row["name"] == "Aggregated"), {"num_requests": 0})

    assert json.loads(ask(f"{ui}/swarm", user_count=10, spawn_rate=10))["success"]
    until(lambda: stats()["state"] == "running" and total()["num_requests"] > 200, "200 answers")
    assert total()["num_failures"] == 0
    assert json.loads(ask(f"{ui}/stop", stop="yes"))["success"]
    until(lambda: stats()["state"] == "stopped", "the swarm has stopped")
    assert stats()["errors"] == []

"""gevent workers: a mold imports gevent for them, and patches nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from launcher import Server, until
from procfs import children

from .conftest import Project, Start, settled
from .test_preload import lose_mold, molds, workers

pytest.importorskip("gevent")

APP = """
import os, socket, sys
from gevent import monkey

PATCHED = monkey.is_module_patched("socket") and monkey.is_module_patched("ssl")


def app(environ, start_response):
    body = f"{os.getpid()} {PATCHED}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

# What a new process finds before anything is done in it, and a hook behind the patching.
HOOKS = """
import json, os, sys

def born():
    monkey = sys.modules.get("gevent.monkey")
    found = {"there": monkey is not None, "saved": sorted(monkey.saved) if monkey else []}
    with open(f"born.{os.getpid()}", "w") as file:
        json.dump(found, file)

os.register_at_fork(after_in_child=born)

def post_fork(server, worker):
    from gevent import monkey
    with open(f"hook.{os.getpid()}", "w") as file:
        file.write(str(monkey.is_module_patched("socket")))
"""

HARMLESS = """
import json, os, sys
before = sorted(os.listdir("/proc/self/fd"))
import socket, time
plain = socket.socket, time.sleep
from prefork.worker import patching
patching.warm()
import gevent.monkey
from gevent._hub_local import get_hub_if_exists
print(json.dumps({
    "hub": repr(get_hub_if_exists()),
    "threads": len(os.listdir("/proc/self/task")),
    "opened": sorted(set(os.listdir("/proc/self/fd")) - set(before)),
    "saved": sorted(gevent.monkey.saved),
    "plain": plain == (socket.socket, time.sleep),
    "early": sorted(set(patching.COPIERS) & set(sys.modules)),
}))
"""


def test_importing_gevent_leaves_nothing_that_a_fork_could_not_take() -> None:
    told = subprocess.run([sys.executable, "-c", HARMLESS], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == {
        "hub": "None",
        "threads": 1,
        "opened": [],
        "saved": [],
        "plain": True,
        "early": [],
    }


@pytest.fixture
def server(start: Start, project: Project) -> Server:
    project.write(APP)
    (project.folder / "hooks.py").write_text(HOOKS)
    server = start("-k", "gevent", "-c", "hooks.py")
    settled(server, 1)
    return server


def born(project: Project, pid: int) -> dict[str, object]:
    found: dict[str, object] = json.loads((project.folder / f"born.{pid}").read_text())
    return found


def test_workers_are_born_with_gevent_and_patch_it_themselves(server: Server, project: Project) -> None:
    (mold,) = molds(server)
    for pid in workers(server, 2):
        assert born(project, pid) == {"there": True, "saved": []}
        assert (project.folder / f"hook.{pid}").read_text() == "True"
    assert server.get("/").text.endswith(" True")
    assert mold in children(server.pid)
    assert not [line for line in server.stderr.lines if "WARNING" in line]


def test_what_was_imported_too_early_is_named(start: Start, project: Project) -> None:
    project.write(APP)
    (project.folder / "hooks.py").write_text("import http.client\n")
    server = start("-k", "gevent", "-c", "hooks.py", workers=1)
    server.stderr.wait(r"WARNING.* imported before monkey-patching, .*: http\.client(, ssl)? \(imported by")
    server.pardon()


def test_killed_worker_comes_from_the_mold_again(server: Server, project: Project) -> None:
    old = workers(server, 2)
    os.kill(old[0], signal.SIGKILL)
    server.stderr.wait(rf"worker {old[0]} was killed by SIGKILL")
    until(lambda: len(set(workers(server, 2)) - {old[0]}) == 2, "a new one")
    (new,) = set(workers(server, 2)) - set(old)
    assert born(project, new)["there"]
    server.pardon()


def test_reload_makes_another_mold(server: Server) -> None:
    before = molds(server)
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    until(lambda: len(molds(server)) == 1 and molds(server) != before, "a mold for the new generation")


def test_killed_mold_is_replaced(server: Server) -> None:
    lose_mold(server)


def test_gevent_that_cannot_be_imported_is_said_in_one_line(start: Start, project: Project) -> None:
    package = project.folder / "gevent"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('half installed')\n")
    server = start("-k", "gevent", ready=False, env={"PYTHONPATH": str(project.folder)})
    server.pardon()
    assert server.wait() == 3
    assert any("gevent cannot be imported: half installed" in line for line in server.stderr.lines)
    assert not any("Traceback" in line for line in server.stderr.lines)

"""Hooks of the configuration file, as gunicorn calls them, in a real server."""

from __future__ import annotations

import os
import signal

import pytest
from launcher import until
from procfs import state

from .conftest import Project, Start, answer, settled

HOOKS = """
import os

NAMES = [
    ("on_starting", "server"), ("on_reload", "server"), ("when_ready", "server"),
    ("pre_fork", "server worker"), ("post_fork", "server worker"),
    ("post_worker_init", "worker"), ("worker_int", "worker"),
    ("child_exit", "server worker"), ("worker_exit", "server worker"), ("nworkers_changed", "server new old"),
    ("on_exit", "server"),
]


def note(name, values):
    facts = []
    for value in values:
        if isinstance(value, int | None):
            facts.append(str(value))
        elif hasattr(value, "age"):
            facts.append(f"worker {value.age} {value.pid == os.getpid()} {value.pid > 0}")
        else:
            facts.append(f"server {value.pid == os.getpid()} {value.num_workers} {value.cfg.workers}")
    os.write(1, f"{name}: {', '.join(facts)}\\n".encode())


for name, arguments in NAMES:
    words = ", ".join(arguments.split())
    exec(f"def {name}({words}): note({name!r}, [{words}])")
"""


def test_hooks(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text(HOOKS)
    server = start("-c", "conf.py", workers=1)
    server.send_signal(signal.SIGHUP)
    server.stdout.wait("child_exit")
    server.send_signal(signal.SIGTTIN)
    server.stdout.wait("post_worker_init: worker 3")
    server.stderr.wait("2 workers instead of 1")
    # Past its hook it is not ready yet: it is once it sleeps in its loop.
    until(lambda: [state(pid) for pid in server.worker_pids()] == ["S", "S"], "both serve")
    server.stop(signal.SIGINT)
    lines = server.stdout.lines
    assert [line for line in lines if "worker 1 " in line or not line.count("worker ")][:9] == [
        "nworkers_changed: server True 1 1, 1, None",
        "on_starting: server True 1 1",
        "pre_fork: server True 1 1, worker 1 False False",
        "post_fork: server False 1 1, worker 1 True True",
        "post_worker_init: worker 1 True True",
        "when_ready: server True 1 1",
        "on_reload: server True 1 1",
        "worker_exit: server False 1 1, worker 1 True True",
        "child_exit: server True 1 1, worker 1 False True",
    ]
    assert "nworkers_changed: server True 2 1, 2, 1" in lines
    assert sum(line.startswith("worker_int: worker") for line in lines) == 2
    assert lines[-1] == "on_exit: server True 2 1"


def test_hook_that_fails_at_the_start_ends_the_server(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text("def on_starting(server):\n    1 / 0\n")
    server = start("-c", "conf.py", ready=False)
    assert server.wait() == 3
    server.stderr.wait("hook on_starting failed: ZeroDivisionError")


def test_hook_that_fails_later_is_logged(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text("def when_ready(server):\n    1 / 0\n")
    server = start("-c", "conf.py")
    server.stderr.wait(r"ERROR\] hook when_ready failed")
    answer(server)
    server.pardon()


def test_when_ready_comes_when_all_workers_serve(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text(
        "import os\n"
        "def post_worker_init(worker):\n    os.write(1, b'worker\\n')\n"
        "def when_ready(server):\n    os.write(1, b'ready\\n')\n"
    )
    server = start("-c", "conf.py", workers=3)
    server.stdout.wait("^ready$")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    assert server.stdout.lines == ["worker"] * 3 + ["ready"] + ["worker"] * 3


def test_hook_that_calls_exit_is_logged(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text("import sys\ndef child_exit(server, worker):\n    sys.exit(4)\n")
    server = start("-c", "conf.py", workers=1)
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.stderr.wait(r"ERROR\] hook child_exit failed")
    server.stderr.wait("SystemExit: 4")
    answer(server)
    server.forgive("hook child_exit failed", "Traceback", "killed by SIGKILL")


GENERATIONS = """
import os

MARK = {mark!r}
workers = {workers}
raw_env = ["MARK=" + MARK]


def note(name, server):
    seen = [os.environ.get(key, "none") for key in ("MARK", "OTHER")]
    os.write(1, " ".join([name, MARK, str(server.cfg.workers), *seen]).encode() + b"\\n")


def on_reload(server): note("on_reload", server)
def pre_fork(server, worker): note("pre_fork", server)
def post_fork(server, worker): note("post_fork", server)
def worker_exit(server, worker): note("worker_exit", server)
def child_exit(server, worker): note("child_exit", server)
"""


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_hooks_see_their_own_generation(start: Start, project: Project, preload: tuple[str, ...]) -> None:
    """Its functions, its settings, its environment: also while the generation before still serves."""
    path = project.folder / "conf.py"
    path.write_text(GENERATIONS.format(mark="old", workers=1))
    server = start("-c", "conf.py", *preload, workers=None, env={"MARK": "outside"})
    path.write_text(GENERATIONS.format(mark="new", workers=2).replace("MARK=", "OTHER="))
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    server.stdout.wait("child_exit")
    server.stop()
    old, new = "old 1 old none", "new 2 outside new"
    assert server.stdout.lines[:2] == [f"pre_fork {old}", f"post_fork {old}"]
    assert f"on_reload {new}" in server.stdout.lines
    later = server.stdout.lines[2:]
    assert {line for line in later if "_fork" in line} == {f"pre_fork {new}", f"post_fork {new}"}
    assert {line for line in later if "worker_exit" in line} == {f"worker_exit {old}", f"worker_exit {new}"}


@pytest.mark.parametrize("flags", ["-k sync", "-k threads", "-k gevent", "--preload"])
def test_worker_abort(start: Start, project: Project, flags: str) -> None:
    """It runs where Python still does, behind the stacks, and the worker dies of the signal all the same."""
    (project.folder / "conf.py").write_text(
        "def worker_abort(worker):\n    worker.log.info('aborted: %s %s', worker.pid, worker.aborted)\n"
    )
    server = start("-c", "conf.py", *flags.split(), workers=1)
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGABRT)
    server.stderr.wait("Fatal Python error: Aborted")
    server.stderr.wait(f"aborted: {pid} True")
    server.stderr.wait(rf"worker {pid} was killed by SIGABRT")
    until(lambda: server.worker_pids() not in ([], [pid]), "it is replaced")
    answer(server)
    server.pardon()

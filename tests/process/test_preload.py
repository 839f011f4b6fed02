"""--preload: a mold for each generation, and workers that are the master's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from launcher import Server, program, until
from procfs import children, session, state, title
from rawclient import Closed

from .conftest import APP, Project, Start, answer, settled

PARENT = """
import os
IMPORTED_BY = os.getpid()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = f"{IMPORTED_BY} {os.getppid() if path == '/parent' else os.getpid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def molds(server: Server) -> list[int]:
    return [pid for pid in children(server.pid) if title(pid).startswith("prefork: mold")]


def workers(server: Server, count: int) -> list[int]:
    """Pids of the workers, once they are so many: one may be ready before the process between it and the mold
    has ended, which is what makes it the master's child."""
    until(lambda: len(_workers(server)) == count, f"{count} workers")
    return _workers(server)


def _workers(server: Server) -> list[int]:
    return [pid for pid in children(server.pid) if title(pid).startswith("prefork: worker")]


def test_workers_are_forked_by_the_mold_and_belong_to_the_master(start: Start, project: Project) -> None:
    project.write(PARENT)
    server = start("--preload", workers=3)
    (mold,) = molds(server)
    workers(server, 3)
    assert server.get("/parent").text == f"{mold} {server.pid}"
    server.stop()


def test_hup_makes_a_new_mold_and_the_old_one_ends(start: Start, project: Project) -> None:
    server = start("--preload", workers=2)
    (mold,) = molds(server)
    before = set(workers(server, 2))
    project.mark("second")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    assert answer(server)[0] == "second"
    until(lambda: state(mold) == "X", "the old mold is gone")
    until(lambda: not before & set(_workers(server)), "the old workers are gone")
    assert len(molds(server)) == 1
    workers(server, 2)


def lose_mold(server: Server) -> None:
    """A killed mold is replaced while its two workers serve on, and the next one makes workers."""
    (mold,) = molds(server)
    before = workers(server, 2)
    os.kill(mold, signal.SIGKILL)
    server.stderr.wait(rf"mold {mold} was killed by SIGKILL")
    until(lambda: bool(molds(server)) and molds(server) != [mold], "another mold")
    assert workers(server, 2) == before
    os.kill(before[0], signal.SIGKILL)
    server.stderr.wait(rf"worker {before[0]} was killed by SIGKILL")
    until(lambda: before[0] not in workers(server, 2), "a new worker")
    assert server.get("/").status == 200
    server.pardon()


def test_killed_mold_is_replaced_while_workers_serve(start: Start) -> None:
    lose_mold(start("--preload", workers=2))


def test_killed_mold_that_cannot_import_again_is_told_once(start: Start, project: Project) -> None:
    server = start("--preload", workers=1)
    (mold,) = molds(server)
    project.write("import nothing_of_that_name\n")
    os.kill(mold, signal.SIGKILL)
    server.stderr.wait("nothing_of_that_name")
    assert answer(server)[0] == "first"
    until(lambda: not molds(server), "no mold")
    project.mark("again")
    (worker,) = workers(server, 1)
    os.kill(worker, signal.SIGKILL)  # a worker is needed: a mold is tried once more
    until(lambda: _workers(server) not in ([], [worker]), "another worker")
    assert answer(server)[0] == "again"
    server.pardon()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import nothing_of_that_name\n", 4, "nothing_of_that_name"),
        ("def nothing(:\n", 4, "site_app"),
        ("import os\nos._exit(9)\n", 3, r"mold \d+ exited with code 9 before it had imported the appl"),
        ("import os, signal\nos.kill(os.getpid(), 9)\n", 3, r"mold \d+ was killed by SIGKILL before"),
    ],
    ids=["import", "syntax", "exit", "kill"],
)
def test_mold_that_cannot_import_ends_the_start(
    start: Start, project: Project, text: str, code: int, said: str
) -> None:
    project.write(text)
    server = start("--preload", workers=2, ready=False)
    assert server.wait() == code
    server.stderr.wait(said)
    assert len([line for line in server.stderr.lines if "rror" in line and "mold" in line]) <= 1
    assert not session(server.pid)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        ("import os\nos._exit(9)\n", r"mold \d+ exited with code 9 before"),
    ],
    ids=["import", "exit"],
)
def test_reload_that_the_mold_cannot_import_changes_nothing(
    start: Start, project: Project, text: str, said: str
) -> None:
    server = start("--preload", workers=2)
    before = workers(server, 2)
    project.write(text)
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(f"reload failed, generation 1 serves on: .*{said}")
    assert answer(server)[0] == "first"
    assert workers(server, 2) == before
    server.pardon()
    project.mark("third")
    server.send_signal(signal.SIGHUP)
    settled(server, 3)
    assert answer(server)[0] == "third"


def test_import_that_hangs_ends_at_boot_timeout_with_its_stack(start: Start, project: Project) -> None:
    server = start("--preload", "--boot-timeout", "0.5", workers=1)
    project.write("import time\ntime.sleep(60)\n")
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(
        r"generation 1 serves on: mold \d+ did not end its import within 0\.5 s \(boot_timeout\)"
    )
    server.stderr.wait(r"site_app\.py.*line 2 in <module>")
    assert answer(server)[0] == "first"
    server.pardon()


def test_term_ends_the_mold_s_import_at_once(start: Start, project: Project) -> None:
    project.write("import os, time\nos.write(1, b'importing\\n')\ntime.sleep(60)\n")
    server = start("--preload", workers=2, ready=False)
    server.stdout.wait("importing")
    server.stop()


def test_everything_ends_when_the_master_is_killed(start: Start) -> None:
    server = start("--preload", workers=2)
    server.send_signal(signal.SIGKILL)
    server.process.wait()
    until(lambda: not session(server.pid), "no process is left")


def test_worker_that_dies_is_reported_with_its_request(start: Start) -> None:
    server = start("--preload", workers=1)
    with pytest.raises(Closed):
        server.get("/exit/7")
    server.stderr.wait(r"worker \d+ exited with code 7.*GET /exit/7")
    answer(server)
    server.pardon()


UNSAFE = """
import sqlite3, socket, threading
quiet = threading.Event()
threading.Thread(target=quiet.wait, name="poller", daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
database = sqlite3.connect("shared.db")
memory = sqlite3.connect(":memory:")
"""


def test_what_is_unsafe_to_share_is_named(start: Start, project: Project) -> None:
    project.write(UNSAFE + APP)
    server = start("--preload", workers=1)
    server.stderr.wait(r"preload: after the import thread 'poller' runs, and will not in the workers")
    (found,) = server.stderr.wait(r"descriptor \d+ is a socket bound to 127\.0\.0\.1:(\d+)")
    server.stderr.wait(rf"descriptor \d+ is a socket connected to 127\.0\.0\.1:{found[1]}")
    server.stderr.wait(rf"SQLite file {project.folder}/shared\.db is open")
    assert not any(":memory:" in line for line in server.stderr.lines)
    server.pardon()


# As the agents of profilers and tracers do, which are loaded before the server.
AGENT = """
import os, threading


def begin():
    threading.Thread(target=threading.Event().wait, name="agent", daemon=True).start()


begin()
os.register_at_fork(after_in_child=begin)


def post_fork(server, worker):
    print("agents", sum(each.name == "agent" for each in threading.enumerate()), flush=True)
"""


@pytest.mark.parametrize("arguments", [("--preload",), ("-k", "gevent")])
def test_threads_that_come_with_the_fork_are_not_named(
    start: Start, project: Project, arguments: tuple[str, ...]
) -> None:
    """They are in the workers as they are in the mold."""
    (project.folder / "prefork.conf.py").write_text(AGENT)
    server = start(*arguments, workers=1)
    server.stdout.wait("agents [1-9]")
    assert not any("preload: after the import thread" in line for line in server.stderr.lines)
    server.pardon()


LAZY = """
import sqlite3


class Lazy:
    @property
    def __class__(self):
        print("made what it stands for", flush=True)
        raise ImportError("a library that is not here")


lazy = Lazy()
"""


def test_lazy_objects_are_left_alone(start: Start, project: Project) -> None:
    """Django and others have them for what may never be used, or cannot be had (GEOS)."""
    project.write(LAZY + APP)
    server = start("--preload", workers=1)
    answer(server)
    assert not any("made what it stands for" in line for line in server.stdout.lines)


def test_a_clean_application_is_not_warned_about(start: Start) -> None:
    server = start("--preload", workers=1)
    assert not any("preload:" in line for line in server.stderr.lines)


def test_preload_can_be_switched_on_at_a_reload(start: Start, project: Project) -> None:
    (project.folder / "prefork.toml").write_text("workers = 2\n")
    server = start(workers=2)
    (project.folder / "prefork.toml").write_text("workers = 2\npreload_app = true\n")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    assert len(molds(server)) == 1
    (project.folder / "prefork.toml").write_text("workers = 2\n")
    server.send_signal(signal.SIGHUP)
    settled(server, 3)
    until(lambda: not molds(server), "the mold is gone")


def test_gevent_is_refused_with_the_reason(start: Start) -> None:
    server = start("--preload", "-k", "gevent", ready=False)
    assert server.wait() == 2
    server.stderr.wait("preload_app.*gevent has to replace parts of the standard library")


# 20 MB of objects; each request touches a few of them, spread over all.
LARGE = """
import itertools
DATA = {i: (f"key {i}", [i, f"value {i}"]) for i in range(60_000)}
turns = itertools.count()


def app(environ, start_response):
    key, (number, value) = DATA[next(turns) * 7919 % 60_000]
    start_response("200 OK", [("Content-Length", str(len(value)))])
    return [value.encode()]
"""


def test_workers_share_what_the_mold_has_imported(start: Start, project: Project) -> None:
    """In small what docs/processes.md says of 60 MB and 10,000 requests."""
    project.write(LARGE)
    apart = start(workers=4)
    together = start("--preload", workers=4)
    sums = []
    for server in (apart, together):
        with ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(16)]
            for _ in range(20):
                for client in clients:
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                for client in clients:
                    assert client.response().status == 200
            sums.append(sum(map(proportional, workers(server, 4))))
    assert sums[1] <= 0.45 * sums[0], sums


def proportional(pid: int) -> int:
    """The process's share of memory, in kB: a page that n processes share counts 1/n for each."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", text, re.M)[0])


def test_sigchld_ignored(start: Start, project: Project) -> None:
    """By who starts the server, and by the application: the mold cannot wait for what it forks."""
    project.write(
        f"import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n{APP}".replace(
            "MARK}", "signal.getsignal(signal.SIGCHLD).name}"
        )
    )
    ignoring = ["sh", "-c", 'trap "" CHLD; exec "$0" "$@"', *program()]
    server = start("--preload", executable=ignoring)
    word, pid = answer(server)
    assert word == "SIG_IGN"
    os.kill(pid, signal.SIGKILL)
    server.stderr.wait("was killed by SIGKILL")
    answer(server)
    server.pardon()
    server.stop()  # hears of the next worker's death, too, however early
    checked = subprocess.run(
        [*ignoring, "site_app:app", "--check-config"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")

"""--min-workers: real servers get workers when there is more to do, and let them go when there is not."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from launcher import Server, program, until
from procfs import children, state
from rawclient import Connection

from prefork.net import control

from .conftest import APP, Project, Start, answer
from .test_upgrade import end, upgraded

# /gate is answered once the file is there.
GATED = APP.replace(
    '    path = environ["PATH_INFO"]\n',
    '    path = environ["PATH_INFO"]\n'
    '    while path == "/gate" and not os.path.exists("open"):\n'
    "        time.sleep(0.005)\n",
)
# The same decisions, sooner.
SOON = """
from prefork.master import demand

demand.BRISK_INTERVAL = 0.05
demand.SLOW_INTERVAL = 0.4
demand.HOLD = 0.1
demand.PATIENCE = demand.PATIENCE_LIMIT = {patience}
"""
CLASSES = [
    ("-k", "sync"),
    ("-k", "sync", "--preload"),
    ("-k", "threads", "--threads", "2"),
    ("-k", "gevent", "--worker-connections", "2"),
]
every_class = pytest.mark.parametrize("flags", CLASSES, ids=["sync", "preload", "threads", "gevent"])

Begin = Callable[..., Server]


@pytest.fixture
def begin(start: Start, project: Project) -> Begin:
    """begin(*flags, least=2, most=4, patience=600) -> a server that follows what there is to do."""

    def begin_server(*flags: str, least: int = 2, most: int = 4, patience: float = 600.0) -> Server:
        if "gevent" in flags:
            pytest.importorskip("gevent")
        project.write(GATED)
        (project.folder / "prefork.conf.py").write_text(SOON.format(patience=patience))
        return start(*flags, "--min-workers", str(least), workers=most)

    return begin_server


def places(flags: tuple[str, ...]) -> int:
    """Requests that a worker runs at once."""
    return 2 if "threads" in flags or "gevent" in flags else 1


def ask(server: Server, target: str, stack: ExitStack) -> Connection:
    """A client that waits for its answer."""
    client = stack.enter_context(server.connect())
    client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
    return client


def kept(client: Connection) -> bool:
    """Whether the server keeps the connection behind this answer."""
    response = client.request("GET", "/")
    assert response.status == 200
    return response.keeps


def head(server: Server) -> str:
    """The first line of prefork status."""
    done = subprocess.run(
        [*program(), "status", str(server.pid)], check=False, capture_output=True, text=True, timeout=30
    )
    return done.stdout.splitlines()[0]


def serving(pid: int) -> int:
    said = next(control.ask(pid, "status"))
    return int(said["server"]["serving"])


@every_class
def test_grows_when_all_are_busy_and_shrinks_when_they_are_not(
    begin: Begin, project: Project, flags: tuple[str, ...]
) -> None:
    server = begin(*flags, patience=0.3)
    server.stderr.wait(r": 2 to 4 (sync|threads|gevent) workers, pid")
    assert head(server).endswith(": serving; generation 1, 2 of 2 to 4 workers serve")
    with ExitStack() as stack:
        # All at once: who is accepted by a worker that has no room waits for that one.
        clients = [ask(server, "/gate", stack) for _ in range(3 * places(flags))]
        server.stderr.wait(r"(3|4) workers instead of 2: all are busy")
        until(lambda: serving(server.pid) > 2, "one more serves")
        answer(server)  # and has room
        (project.folder / "open").touch()
        assert [client.response().status for client in clients] == [200] * len(clients)
    server.stderr.wait(r"2 workers instead of 3: at most \d\.\d were busy for \d s")
    until(lambda: len(server.worker_pids()) == 2, "two are left")
    assert head(server).endswith("2 of 2 to 4 workers serve")
    answer(server)


def test_several_at_once_where_many_wait(begin: Begin, project: Project) -> None:
    server = begin(least=2, most=8)
    with ExitStack() as stack:
        clients = [ask(server, "/gate", stack) for _ in range(8)]
        server.stderr.wait(r"8 workers instead of \d: all are busy")
        until(lambda: serving(server.pid) == 8, "all serve")
        assert 1 <= len([line for line in server.stderr.lines if "instead of" in line]) <= 4
        (project.folder / "open").touch()
        assert [client.response().status for client in clients] == [200] * 8


@pytest.mark.parametrize("flags", [CLASSES[0], CLASSES[3]], ids=["sync", "gevent"])
def test_clients_that_are_kept_come_to_those_that_are_new(
    begin: Begin, project: Project, flags: tuple[str, ...]
) -> None:
    server = begin(*flags, least=1, most=2)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(6)]
        assert all(kept(client) for client in clients)  # with the only one there is
        gated = [ask(server, "/gate", stack) for _ in range(places(flags))]
        server.stderr.wait("2 workers instead of 1: all are busy")
        until(lambda: serving(server.pid) == 2, "both serve")
        (project.folder / "open").touch()
        parted = [client.response().keeps for client in gated].count(False)
        until(lambda: not kept(clients[0]), "it is to come again")
        parted += 1 + [kept(client) for client in clients[1:]].count(False)
        assert parted == 4, "half of seven or eight"


def test_a_reload_has_as_many_as_there_were(begin: Begin, project: Project) -> None:
    server = begin()
    with ExitStack() as stack:
        clients = [ask(server, "/gate", stack) for _ in range(4)]
        server.stderr.wait("4 workers instead of")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait("generation 2 serves, 1 drains")
        (project.folder / "open").touch()
        assert [client.response().status for client in clients] == [200] * 4
        server.stderr.wait("ready: generation 2, 4 workers")


def test_an_upgrade_has_as_many_as_there_were(begin: Begin, project: Project) -> None:
    server = begin()
    with ExitStack() as stack:
        clients = [ask(server, "/gate", stack) for _ in range(4)]
        server.stderr.wait("4 workers instead of")
        server.send_signal(signal.SIGUSR2)
        (found,) = server.stderr.wait(r"upgrade: pid (\d+) has taken over")
        assert len(children(int(found[1]))) == 4
        (project.folder / "open").touch()
        assert [client.response().status for client in clients] == [200] * 4
    pid = upgraded(server)
    server.stderr.wait(r"ready.*: generation 1, 4 workers")
    end(server, pid)


def test_people_move_the_range(begin: Begin) -> None:
    server = begin(least=2, most=4)
    server.send_signal(signal.SIGTTIN)
    server.stderr.wait("3 workers instead of 2: 3 to 5 from now on")
    until(lambda: serving(server.pid) == 3, "it serves")
    assert head(server).endswith("3 of 3 to 5 workers serve")
    server.send_signal(signal.SIGTTOU)
    server.stderr.wait("2 workers instead of 3: 2 to 4 from now on")


def test_a_crash_is_no_demand(begin: Begin) -> None:
    server = begin()
    for _ in range(4):
        victim = server.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        server.stderr.wait(rf"worker {victim} was killed by SIGKILL")
        until(lambda: serving(server.pid) == 2, "two serve again")
    assert not [line for line in server.stderr.lines if "instead of" in line]
    server.pardon()


def test_a_request_past_its_timeout_is_a_place_that_is_taken(start: Start, project: Project) -> None:
    (project.folder / "prefork.conf.py").write_text(SOON.format(patience=600))
    server = start("--min-workers", "1", "--timeout", "0.5", workers=3)
    (first,) = server.worker_pids()
    with ExitStack() as stack:
        ask(server, "/hang", stack)
        server.stderr.wait("2 workers instead of 1: all are busy")
        answer(server)
        until(lambda: state(first) in "XZ", "who hung is gone", deadline=30)
        until(lambda: serving(server.pid) == 2, "two serve")
    answer(server)
    server.pardon()

"""deploy/supervisor/prefork.conf under a real supervisord."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import procfs
import pytest
from launcher import DEADLINE, program, until
from places import APPS, DEPLOY, Program, adapted, free_address
from proxies import open_folder
from rawclient import Connection

from benchmarks.traffic import Ask, Outcome, Swarm, Visitor

CONFIG = DEPLOY / "supervisor" / "prefork.conf"


class Supervised:
    """A supervisord with the file of deploy/; `host` is where its two masters listen, on 8000 and 8001."""

    def __init__(self, supervisord: str, supervisorctl: str, *, app: str = "behind:application") -> None:
        self.folder = open_folder()
        self.host = free_address()[0]
        self._supervisorctl = supervisorctl
        self._config = self.folder / "supervisord.conf"
        (self.folder / "seen").write_text("")
        (self.folder / "version").write_text("1")
        (prefork,) = program()
        # The service's user may not enter the interpreter's home; the tests' own can.
        user = "" if os.geteuid() else "user=root\n"
        site = adapted(
            CONFIG.read_text(),
            {
                "/srv/project/.venv/bin/prefork project.wsgi:application": f"{prefork} {app}",
                "-w 4": f"-w 2 --pythonpath {APPS}",
                "127.0.0.1:80": f"{self.host}:80",
                "directory=/srv/project": f"directory={self.folder}",
                "user=www-data\n": user,
                "startsecs=2": "startsecs=1",
                "startretries=3": "startretries=1",
                'PYTHONUNBUFFERED="1"': f'PYTHONUNBUFFERED="1",PREFORK_TEST_VERSION="{self.folder}/version"',
                "/var/log/supervisor/": f"{self.folder}/",
            },
        )
        self._config.write_text(
            f"""[supervisord]
nodaemon=true
logfile={self.folder}/supervisord.log
pidfile={self.folder}/supervisord.pid
childlogdir={self.folder}
{user}
[unix_http_server]
file={self.folder}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{self.folder}/supervisor.sock
{site}
"""
        )
        self.program = Program([supervisord, "-n", "-c", str(self._config)])
        self.program.wait_listening(str(self.folder / "supervisor.sock"))

    def control(self, *words: str) -> str:
        """What supervisorctl says; its exit code is 3 for `status` of what does not run."""
        done = subprocess.run(
            [self._supervisorctl, "-c", str(self._config), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    def states(self) -> dict[str, str]:
        """State by process: {"project:web-0": "RUNNING"}."""
        return dict(line.split()[:2] for line in self.control("status").splitlines())

    def wait(self, pattern: str, *, count: int = 2, since: int = 0) -> None:
        """Until supervisord has said so, for both processes."""
        self.program.said.wait(pattern, count=count, since=since)

    def log(self, number: int) -> str:
        return (self.folder / f"web-{number}.log").read_text()

    def close(self) -> None:
        self.program.end()
        shutil.rmtree(self.folder)


@pytest.fixture
def supervised(outside_program: Callable[[str], str]) -> Iterator[Callable[..., Supervised]]:
    """supervised(app=...) -> a running Supervised."""
    started: list[Supervised] = []

    def start(**options: str) -> Supervised:
        names = outside_program("supervisord"), outside_program("supervisorctl")
        started.append(Supervised(*names, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_a_life(supervised: Callable[..., Supervised]) -> None:
    """Start, status, HUP under load without a lost request, logs, stop without an orphan."""
    place = supervised()
    place.wait("entered RUNNING state")
    assert place.states() == {"project:web-0": "RUNNING", "project:web-1": "RUNNING"}
    ask = Ask("/echo?n=1", expect=b"1")
    visitors = [Visitor(lambda: ask)] * 8 + [Visitor(lambda: ask, keep_alive=False)] * 2
    with Swarm((place.host, 8000), visitors) as first, Swarm((place.host, 8001), visitors) as second:
        assert first.wait_total(100)
        assert second.wait_total(100)
        for generation in (2, 3):
            (place.folder / "version").write_text(str(generation))
            place.control("signal", "HUP", "project:*")
            ready = f"ready: generation {generation}"
            until(lambda text=ready: text in place.log(0) and text in place.log(1), ready)
            assert first.wait_more(50)
    for swarm in (first, second):
        assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()
    assert fetch((place.host, 8000), "/version") == b"3"
    place.control("stop", "project:*")
    assert set(place.states().values()) == {"STOPPED"}
    until(lambda: not any_left(place), "no process of prefork is left")


def test_a_killed_master_is_started_again(supervised: Callable[..., Supervised]) -> None:
    """Its workers notice, end and let the address go: the next one can bind."""
    place = supervised()
    place.wait("entered RUNNING state")
    mark = place.program.said.mark
    os.kill(int(place.control("pid", "project:web-0")), signal.SIGKILL)
    place.wait("web-0 entered RUNNING state", count=1, since=mark)
    until(lambda: place.log(0).count("ready after") == 2, "web-0 serves again")
    assert fetch((place.host, 8000), "/echo?n=again") == b"again"


BOOT_FAILURES = [("nowhere:application", 4), ("behind:nothing", 4)]


@pytest.mark.parametrize(("app", "code"), BOOT_FAILURES)
def test_boot_failure(supervised: Callable[..., Supervised], app: str, code: int) -> None:
    """What cannot be imported is said in the log and left: FATAL after startretries when it ended within
    startsecs, else EXITED, since this code is no unexpected one."""
    place = supervised(app=app)
    place.wait(rf"entered FATAL state|exit status {code}; expected")
    assert set(place.states().values()) <= {"FATAL", "EXITED"}
    assert f"(exit status {code}; " in "\n".join(place.program.said.lines)
    assert app.partition(":")[2] in place.log(0) or app.partition(":")[0] in place.log(0)


def any_left(place: Supervised) -> bool:
    """Whether a process whose working directory is the place's still runs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink() == place.folder and procfs.state(int(entry.name)) not in "ZX":
                    return True
            except OSError:
                continue
    return False


def fetch(address: tuple[str, int], target: str) -> bytes:
    """The body of one answer."""
    with Connection(address, deadline=DEADLINE) as client:
        return client.request("GET", target, ("Connection", "close")).body

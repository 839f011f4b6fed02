"""What systemd hears of a real server: the exact sequence, for every thing that can happen to it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launcher import DEADLINE, Server, until
from procfs import session, state

from .conftest import Project, Start, answer


class Manager:
    """The end of NOTIFY_SOCKET that a service manager holds (sd_notify(3))."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.settimeout(DEADLINE)
        self.env = {"NOTIFY_SOCKET": address}

    def hear(self) -> tuple[int, str]:
        """The next message: who has sent it, and what it says; times and pids are cut."""
        data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        pid = int.from_bytes(ancillary[0][2][:4], "little")
        lines = []
        for line in data.decode().splitlines():
            key, _, value = line.partition("=")
            lines.append(key if key in ("MONOTONIC_USEC", "STATUS") else f"{key}={value}")
        return pid, " ".join(lines)

    def words(self, count: int) -> list[str]:
        return [self.hear()[1] for _ in range(count)]

    def has_more(self) -> bool:
        self.socket.setblocking(False)
        try:
            return bool(self.hear())
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(DEADLINE)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify") if request.param == "path" else f"@prefork-{os.getpid()}")
    with found.socket:
        yield found


@pytest.fixture
def begin(start: Start, manager: Manager) -> Callable[..., Server]:
    def begin(*flags: str, **options: object) -> Server:
        return start(*flags, env=manager.env, **options)

    return begin


READY = "READY=1 STATUS"
RELOADING = "RELOADING=1 MONOTONIC_USEC STATUS"
STOPPING = "STOPPING=1 STATUS"


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["fork", "mold"])
def test_start_reload_stop(
    begin: Callable[..., Server], manager: Manager, project: Project, flags: tuple[str, ...]
) -> None:
    server = begin(*flags)
    assert manager.words(1) == [READY]
    server.send_signal(signal.SIGHUP)
    assert manager.words(2) == [RELOADING, READY]
    project.write("import nothing_of_that_name\n")
    server.send_signal(signal.SIGHUP)
    assert manager.words(2) == [RELOADING, READY]
    server.stderr.wait("ModuleNotFoundError")
    server.pardon()
    server.stop()
    assert manager.words(1) == [STOPPING]
    assert not manager.has_more()


def test_refused_settings(begin: Callable[..., Server], manager: Manager, project: Project) -> None:
    conf = project.folder / "conf.py"
    conf.write_text("")
    server = begin("-c", "conf.py")
    conf.write_text("timeout = 'soon'\n")
    server.send_signal(signal.SIGHUP)
    assert manager.words(3) == [READY, RELOADING, READY]
    server.stderr.wait("reload refused")
    server.pardon()


def test_start_that_fails_is_never_ready(
    begin: Callable[..., Server], manager: Manager, project: Project
) -> None:
    project.write("import nothing_of_that_name\n")
    server = begin(ready=False)
    assert server.wait() == 4
    assert not manager.has_more()


def test_upgrade(begin: Callable[..., Server], manager: Manager, project: Project) -> None:
    server = begin(workers=1)
    assert manager.hear() == (server.pid, READY)
    project.write("def app(:\n")
    server.send_signal(signal.SIGUSR2)
    assert manager.words(2) == ["STATUS", READY]  # upgrading; the old one serves on
    server.stderr.wait("upgrade failed, this master serves on")
    server.pardon()
    project.mark("second")
    mark = server.stderr.mark
    server.send_signal(signal.SIGUSR2)
    assert manager.hear() == (server.pid, "STATUS")
    (found,) = server.stderr.wait(r"upgrade: pid (\d+) has taken over", since=mark)
    pid = int(found[1])
    # Whom the manager knows says who comes next; only then is that one heard.
    assert manager.hear() == (server.pid, f"MAINPID={pid}")
    assert manager.hear() == (pid, READY)
    assert server.wait() == 0
    assert not manager.has_more()  # no STOPPING: the service does not stop
    assert answer(server)[0] == "second"
    os.kill(pid, signal.SIGTERM)
    assert manager.hear() == (pid, STOPPING)
    until(lambda: state(pid) in "XZ" and not session(server.pid), "nothing is left")


def test_watchdog_goes_with_the_upgrade(start: Start, manager: Manager) -> None:
    server = start(workers=1, env={**manager.env, "WATCHDOG_USEC": "400000"})
    assert manager.words(3) == [READY, "WATCHDOG=1", "WATCHDOG=1"]
    server.send_signal(signal.SIGUSR2)
    server.stderr.wait(r"upgrade: pid \d+ has taken over")
    pid, word = manager.hear()
    while word != "WATCHDOG=1" or pid == server.pid:
        pid, word = manager.hear()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not session(server.pid), "nothing is left")


def test_watchdog_starves_when_no_worker_makes_progress(start: Start, manager: Manager) -> None:
    """The master is stopped: nothing feeds it. (Stalled workers: tests/master/test_service.py.)"""
    server = start(workers=1, env={**manager.env, "WATCHDOG_USEC": "200000"})
    assert manager.words(2) == [READY, "WATCHDOG=1"]
    server.send_signal(signal.SIGSTOP)
    until(lambda: state(server.pid) == "T", "it is stopped")
    while manager.has_more():
        pass
    manager.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        manager.hear()
    server.send_signal(signal.SIGCONT)

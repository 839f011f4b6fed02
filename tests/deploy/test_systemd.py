"""prefork under systemd: the messages it sends, and systemd itself as process 1."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from backends import start_backend
from launcher import DEADLINE, Server, until
from places import APPS
from rawclient import Connection
from systemd import Booted, version

from benchmarks.traffic import Ask, Outcome, Swarm, Visitor
from prefork.service import NOTIFY_RELOAD


class Manager:
    """The end of NOTIFY_SOCKET that a service manager holds (sd_notify(3))."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.env = {"NOTIFY_SOCKET": str(folder / "notify")}
        self.heard: list[dict[str, str]] = []

    def hear(self) -> dict[str, str]:
        """The next message."""
        self.socket.settimeout(DEADLINE)
        text = self.socket.recv(1 << 16).decode()
        message = dict(line.split("=", 1) for line in text.splitlines())
        self.heard.append(message)
        return message

    def wait(self, key: str, value: str = "1") -> dict[str, str]:
        """The next message that says so."""
        while True:
            message = self.hear()
            if message.get(key) == value:
                return message

    def states(self) -> list[str]:
        """What systemd acts on, in the order in which it was heard."""
        words = ("READY", "RELOADING", "STOPPING")
        return [word for message in self.heard for word in words if message.get(word) == "1"]

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path)
    yield found
    found.close()


@pytest.fixture
def notifying(tmp_path: Path, manager: Manager) -> Iterator[Callable[..., Server]]:
    """notifying(env) -> a server that a manager of this test has started."""
    with ExitStack() as stack:

        def start(**env: str) -> Server:
            return start_backend(stack, tmp_path, env={**manager.env, **env}).server

        yield start


def test_sequence(notifying: Callable[..., Server], manager: Manager) -> None:
    """READY; RELOADING with its time and READY again; STOPPING; with the status in words."""
    server = notifying()
    ready = manager.wait("READY")
    assert ready.get("MAINPID", str(server.pid)) == str(server.pid)
    before = time.monotonic_ns() // 1000
    server.send_signal(signal.SIGHUP)
    reloading = manager.wait("RELOADING")
    # systemd compares with the moment of its signal: an older one is another reload's (systemd.service(5)).
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    manager.wait("READY")
    server.send_signal(signal.SIGTERM)
    manager.wait("STOPPING")
    assert server.wait() == 0
    assert manager.states() == ["READY", "RELOADING", "READY", "STOPPING"]
    assert any("STATUS" in message for message in manager.heard)


def test_ready_comes_when_it_serves(tmp_path: Path, manager: Manager) -> None:
    """Not before: whoever is ordered after this unit may ask at once. Nothing is ready when nothing boots."""
    server = Server(["nowhere:application", "-b", f"unix:{tmp_path}/x.sock"], env=manager.env, cwd=tmp_path)
    assert server.wait() == 4
    server.kill()
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            assert b"READY=1" not in manager.socket.recv(1 << 16)


def test_a_refused_reload_ends(notifying: Callable[..., Server], manager: Manager, tmp_path: Path) -> None:
    """New code that cannot be loaded: systemd hears READY all the same, or `systemctl reload` would hang."""
    server = notifying(PREFORK_TEST_VERSION=str(tmp_path / "fragile"))
    manager.wait("READY")
    (tmp_path / "fragile").unlink()
    server.forgive("")
    server.send_signal(signal.SIGHUP)
    manager.wait("RELOADING")
    manager.wait("READY")
    assert server.get("/").status == 200
    server.stop()


def test_watchdog(notifying: Callable[..., Server], manager: Manager) -> None:
    """Fed more often than every half of its time, while idle too."""
    server = notifying(WATCHDOG_USEC="600000")
    manager.wait("READY")
    manager.wait("WATCHDOG")
    last = time.monotonic()
    for _ in range(3):
        manager.wait("WATCHDOG")
        now = time.monotonic()
        assert now - last < 0.6
        last = now
    server.stop()


def test_children_are_not_told(notifying: Callable[..., Server], manager: Manager) -> None:
    """The application does not inherit the manager's socket: what it starts is not the service."""
    server = notifying(WATCHDOG_USEC="60000000")
    facts = server.get("/variables").text
    assert "NOTIFY_SOCKET" not in facts
    assert "WATCHDOG_USEC" not in facts


# systemd itself


class Service:
    """deploy's units for apps/behind.py in a machine whose process 1 is systemd."""

    def __init__(self, booted: Booted) -> None:
        self.inside = booted.inside
        self.door = str(booted.shared / "web.sock")
        self.inside.ask(
            f"""
            mkdir -p /srv/web /etc/systemd/system/web.service.d
            cd /srv/web
            python3 -m venv .venv
            .venv/bin/pip install -q $PREFORK
            cp {APPS}/behind.py .
            echo 1 > version
            echo PREFORK_TEST_VERSION=/srv/web/version > /etc/default/web
            .venv/bin/prefork install-service behind:application --bind {self.door} -- -w 2
            # Sooner than in life, and more often than systemd would let it.
            printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nWatchdogSec=2\\nRestartSec=100ms\\n' \\
                > /etc/systemd/system/web.service.d/test.conf
            systemctl daemon-reload
            systemctl start web.socket web.service
            """,
            deadline=60,
        )

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.inside.ask(f"systemctl show --value -p {name} web.service 2>&1").splitlines()[-1]

    def fetch(self, target: str) -> str:
        with Connection(self.door, deadline=DEADLINE) as client:
            return client.request("GET", target, ("Connection", "close")).text


@pytest.fixture(scope="module")
def service(booted: Booted) -> Iterator[Service]:
    found = Service(booted)
    yield found
    found.inside.ask("systemctl stop web.service web.socket")


ASK = Ask("/echo?n=1", expect=b"1")
VISITORS = [*[Visitor(lambda: ASK)] * 8, *[Visitor(lambda: ASK, keep_alive=False)] * 4]


def test_started(service: Service) -> None:
    """Active only when it serves, as a user that exists for it alone."""
    assert service.show("ActiveState") == "active"
    assert service.fetch("/") == "hello\n"
    pid = service.show("MainPID")
    uid = re.findall(r"^Uid:\s+(\d+)", service.inside.ask(f"cat /proc/{pid}/status"), re.M)
    assert 61184 <= int(uid[0]) <= 65519  # systemd's range for DynamicUser=


def test_reload_loses_nothing(service: Service) -> None:
    """`systemctl reload` returns when the new code is served."""
    with Swarm(service.door, VISITORS) as swarm:
        assert swarm.wait_total(100)
        for number in range(2, 5):
            service.inside.ask(f"echo {number} > /srv/web/version; systemctl reload web")
            assert service.fetch("/version") == str(number)
            assert swarm.wait_more(100)
    assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()


def test_a_refused_reload_is_told(service: Service) -> None:
    """New code that cannot be loaded: `systemctl reload` fails where a command waits for the outcome,
    and the old code serves on."""
    if version() >= NOTIFY_RELOAD:
        pytest.skip("Type=notify-reload has no word for a reload that failed")
    before = service.fetch("/version")
    service.inside.ask("mv /srv/web/version /srv/web/gone")
    assert service.inside.run("systemctl reload web").returncode != 0
    assert service.fetch("/version") == before
    service.inside.ask("mv /srv/web/gone /srv/web/version; systemctl reload web")


def test_restart_refuses_nobody(service: Service) -> None:
    """The socket is systemd's: who comes while prefork is away waits in it."""
    pid = service.show("MainPID")
    with Swarm(service.door, VISITORS) as swarm:
        assert swarm.wait_total(100)
        service.inside.ask("systemctl restart web")
        assert swarm.wait_more(100)
    assert service.show("MainPID") != pid
    assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()


def test_a_killed_master_is_replaced(service: Service) -> None:
    restarts = int(service.show("NRestarts"))
    service.inside.ask(f"kill -KILL {service.show('MainPID')}")
    replaced(service, restarts)


def test_a_stopped_master_is_noticed(service: Service) -> None:
    """The watchdog: a master that makes no progress is ended and replaced."""
    restarts = int(service.show("NRestarts"))
    service.inside.ask(f"kill -STOP {service.show('MainPID')}")
    replaced(service, restarts)


def replaced(service: Service, restarts: int) -> None:
    """systemd has started it once more, and it serves."""
    until(
        lambda: int(service.show("NRestarts")) == restarts + 1 and service.show("ActiveState") == "active",
        "there is another master",
    )
    assert service.fetch("/") == "hello\n"


def test_a_wrong_setting_is_not_tried_again(service: Service) -> None:
    """Exit code 2: failed, with the reason in the log, and left so."""
    service.inside.ask("echo PREFORK_WORKERS=many >> /etc/default/web")
    assert service.inside.run("systemctl restart web").returncode != 0
    assert service.show("ExecMainStatus") == "2"
    assert service.show("ActiveState") == "failed"
    service.inside.ask("sed -i /PREFORK_WORKERS/d /etc/default/web; systemctl restart web")
    assert service.fetch("/") == "hello\n"


def test_stopped(service: Service) -> None:
    """Everything of it ends in time, by itself."""
    pid = service.show("MainPID")
    service.inside.ask("systemctl stop web.service")
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"
    assert service.inside.run(f"test -e /proc/{pid}").returncode == 1
    service.inside.ask("systemctl start web.service")

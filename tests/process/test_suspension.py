"""Stopped processes are not mistaken for hung ones when they go on."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from launcher import Server, until
from procfs import state

from .conftest import Project, Start, answer, settled

CLASSES = [("-k", "sync"), ("-k", "threads", "--threads", "2"), ("-k", "gevent")]
every_class = pytest.mark.parametrize("flags", CLASSES, ids=["sync", "threads", "gevent"])
SPAN = 1.5  # seconds of standing still, more than the timeouts below


def stand_still(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(state(pid) == "T" for pid in pids), "they stand still")
    threading.Event().wait(SPAN)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def begin(server: Server, seconds: float):
    client = server.connect()
    client.send(f"GET /sleep/{seconds} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    server.stdout.wait("asleep")
    return client


@pytest.fixture(autouse=True)
def told(project: Project) -> None:
    project.write(
        project.path.read_text().replace(
            "        time.sleep(", "        os.write(1, b'asleep\\n')\n        time.sleep("
        )
    )


def test_continued_to_be_ended(start: Start) -> None:
    """systemctl stop and timeout(1) send TERM and CONT to whatever they end: no word of a standstill then."""
    server = start(workers=1)
    os.kill(server.pid, signal.SIGSTOP)
    until(lambda: state(server.pid) == "T", "it stands still")
    os.kill(server.pid, signal.SIGTERM)
    threading.Event().wait(0.2)
    os.kill(server.pid, signal.SIGCONT)
    assert server.wait() == 0
    server.stderr.wait_end()
    assert not [line for line in server.stderr.lines if "stood still" in line]


@every_class
def test_a_stopped_worker(start: Start, flags: tuple[str, ...]) -> None:
    server = start(*flags, "--timeout", "1", workers=1)
    (worker,) = server.worker_pids()
    with begin(server, 0.5) as client:
        stand_still(worker)
        assert client.response().status == 200
    assert server.worker_pids() == [worker]


@every_class
def test_everybody_stopped(start: Start, flags: tuple[str, ...]) -> None:
    server = start(*flags, "--timeout", "1", workers=1)
    (worker,) = server.worker_pids()
    with begin(server, 0.5) as client:
        stand_still(server.pid, worker)
        assert client.response().status == 200
    assert server.worker_pids() == [worker]
    server.stderr.wait(r"this process stood still for up to \d\.\d s: deadlines are put off")


def test_a_stopped_master(start: Start) -> None:
    server = start("--timeout", "1", workers=2)
    stand_still(server.pid)
    answer(server)
    server.send_signal(signal.SIGHUP)
    settled(server, 2)


def test_a_worker_stopped_while_it_boots(start: Start, project: Project) -> None:
    server = start("--boot-timeout", "1", workers=1)
    mended = project.path.read_text().replace('"first"', '"second"')
    project.write(
        "import os, time\nos.write(1, b'importing %d\\n' % os.getpid())\ntime.sleep(0.3)\n" + mended
    )
    server.send_signal(signal.SIGHUP)
    (found,) = server.stdout.wait(r"importing (\d+)")
    stand_still(int(found[1]))
    settled(server, 2)
    assert answer(server)[0] == "second"

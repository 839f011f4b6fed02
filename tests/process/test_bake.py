"""--bake: a new generation that does worse than the one before is taken back, and nobody loses a server."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest
from launcher import Server, program, until

from prefork.net import control

from .conftest import APP, Project, Start, answer, settled

CLASSES = [("-k", "sync"), ("-k", "threads", "--threads", "2"), ("-k", "gevent")]
FAILING = APP.replace('"first"', '"second"').replace(
    '    path = environ["PATH_INFO"]\n',
    '    path = environ["PATH_INFO"]\n'
    '    if path == "/broken":\n'
    "        start_response('500 Internal Server Error', [('Content-Length', '0')])\n"
    "        return []\n",
)


def states(server: Server, pids: set[int]) -> set[str]:
    said = next(control.ask(server.pid, "status"))
    return {worker["state"] for worker in said["workers"] if worker["pid"] in pids}


@pytest.mark.parametrize("flags", CLASSES, ids=["sync", "threads", "gevent"])
def test_errors_take_it_back(start: Start, project: Project, flags: tuple[str, ...]) -> None:
    server = start(*flags, "--bake", "60")
    before = set(server.worker_pids())
    project.write(FAILING)
    waiting = subprocess.Popen(
        [*program(), "reload", str(server.pid), "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    settled(server, 2)
    assert answer(server)[0] == "second"
    assert before < set(server.worker_pids())  # in reserve
    until(lambda: states(server, before) == {"parked"}, "and status says so")
    for _ in range(6):
        assert server.get("/broken").status == 500
    out, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert re.fullmatch(
        r"prefork: generation 2 serves with 2 workers after \d\.\d\d s, and is watched for 60 s \(bake\)\n",
        out,
    )
    assert re.fullmatch(
        r"prefork: error: reload failed: taken back: \d of its \d answers were 5xx \(0 of \d before\)\n", err
    )
    server.stderr.wait("generation 2 is taken back, 1 serves again: 6 of its 7 answers were 5xx")
    until(lambda: set(server.worker_pids()) == before, "only the processes of before are left")
    word, pid = answer(server)
    assert word == "first"
    assert pid in before
    server.pardon()


def test_crashes_take_it_back(start: Start, project: Project) -> None:
    server = start("--bake", "60")
    before = set(server.worker_pids())
    project.mark("second")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    for count, victim in enumerate(set(server.worker_pids()) - before, 1):
        os.kill(victim, signal.SIGKILL)
        server.stderr.wait(r"was killed by SIGKILL", count=count)
    server.stderr.wait("generation 2 is taken back, 1 serves again: 2 of its workers died in 0 requests")
    settled(server, 1, since=server.stderr.mark - 1)
    assert answer(server)[0] == "first"
    server.pardon()


def test_one_that_does_well_stays(start: Start, project: Project) -> None:
    server = start("--bake", "0.5")
    before = set(server.worker_pids())
    project.mark("second")
    done = subprocess.run(
        [*program(), "reload", str(server.pid), "--wait"], check=True, capture_output=True, text=True
    )
    first, second = done.stdout.splitlines()
    assert "is watched for 0.5 s (bake)" in first
    assert re.fullmatch(r"prefork: generation 2 serves with 2 workers after \d\.\d\d s", second)
    server.stderr.wait(r"generation 2 does well after 0\.5 s \(bake\)")
    assert answer(server)[0] == "second"
    until(lambda: not before & set(server.worker_pids()), "the old ones are gone")


def test_term_while_it_is_watched(start: Start, project: Project) -> None:
    server = start("--bake", "60")
    project.mark("second")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    server.stop()


def test_kept_alive_client_of_one_in_reserve_is_let_go(start: Start, project: Project) -> None:
    server = start("--bake", "60", workers=1)
    with server.connect() as client:
        assert client.request("GET", "/").text.startswith("first")
        project.mark("second")
        server.send_signal(signal.SIGHUP)
        settled(server, 2)
        client.offer(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        last = client.response()
        assert last.text.startswith("first")
        assert last.get("connection") == "close"

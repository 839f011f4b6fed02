"""What users lose while operators work and processes die: 32 kept-alive and 8 one-shot users, each judged.

Shortened by default; PREFORK_TEST_DRILLS=full runs them at the length that the project promises (100 reloads,
20 s of kills). The client and the users are those of benchmarks/drill.py, which does the same for people.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launcher import Server, until
from procfs import session

from prefork.net import control

from .conftest import Start, settled, where

# Last, so that an installed prefork is found before the source tree of it.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.exercises import Site
from benchmarks.stats import percentile
from benchmarks.traffic import Ask, Outcome, Swarm, Visitor
from benchmarks.traffic.scenario import script, think

FULL = os.environ.get("PREFORK_TEST_DRILLS") == "full"
KEPT, ONE_SHOT = 32, 8
CLASSES = {
    "sync": ("-k", "sync"),
    "threads": ("-k", "threads", "--threads", "4"),
    "gevent": ("-k", "gevent"),
}
every_class = pytest.mark.parametrize("flags", CLASSES.values(), ids=CLASSES)
and_preloaded = pytest.mark.parametrize(
    "flags",
    [*CLASSES.values(), (*CLASSES["sync"], "--preload"), (*CLASSES["threads"], "--preload")],
    ids=[*CLASSES, "sync-preload", "threads-preload"],
)

Crowd = Callable[[Server], Swarm]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def begin(start: Start, site: Site) -> Callable[..., Server]:
    """begin(*flags) -> a server of 4 workers with the mixed application."""

    def begin_server(*flags: str, **options: object) -> Server:
        if "gevent" in flags:
            pytest.importorskip("gevent")
        return start(*flags, app="mixed:app", workers=4, **options)

    return begin_server


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """crowd(server) -> its users, at work."""
    swarms: list[Swarm] = []

    def gather(server: Server) -> Swarm:
        users = [
            Visitor(script(seed), keep_alive=seed < KEPT, think=think(seed))
            for seed in range(KEPT + ONE_SHOT)
        ]
        assert not isinstance(server.address, str)
        swarm = Swarm(server.address, users, timeout=15.0)
        swarm.start()
        swarms.append(swarm)
        assert swarm.wait_total(100)
        return swarm

    yield gather
    for swarm in swarms:
        swarm.stop()


def nothing_lost(swarm: Swarm) -> None:
    tally = swarm.stop()
    assert not tally.lost, tally.describe()


def code_of(server: Server) -> str:
    response = server.get("/code")
    assert response.status == 200
    return response.text


def serving(server: Server) -> int:
    """Workers that serve, as the server knows them."""
    said = next(control.ask(server.pid, "status"))
    return int(said["server"]["serving"])


@and_preloaded
def test_reloads(begin: Callable[..., Server], crowd: Crowd, site: Site, flags: tuple[str, ...]) -> None:
    server = begin(*flags)
    swarm = crowd(server)
    began = time.monotonic()
    swarm.wait_more(1000 if FULL else 200)
    loud = time.monotonic()
    for turn in range(2, 102 if FULL else 6):
        site.write(str(turn))
        server.send_signal(signal.SIGHUP)
        settled(server, turn)
        assert {code_of(server) for _ in range(4)} == {str(turn)}
        swarm.wait_more(40)
    nothing_lost(swarm)
    if FULL:
        quiet = percentile(swarm.tally.took("page", since=began, until=loud), 0.99)
        noisy = percentile(swarm.tally.took("page", since=loud), 0.99)
        assert noisy <= 3 * quiet, f"p99 of pages {quiet * 1e3:.1f} ms before, {noisy * 1e3:.1f} ms during"


BROKEN = {
    "syntax": ("def nothing(:\n", r"SyntaxError"),
    "dependency": ("import nothing_of_that_name\n", r"nothing_of_that_name"),
    "hang": ("time.sleep(60)\n", r"within 3 s \(boot_timeout\)"),
    "exit": ("os._exit(9)\n", r"exited with code 9 before it"),
    "crash": ("os.kill(os.getpid(), 11)\n", r"was killed by SIGSEGV.* before it"),
    "attribute": ("del app\n", r"no .*app"),
    "warm-up": ("def page(environ):\n    1 / 0\nROUTES['/page'] = page\n", r"warm-up /page was answered 500"),
}


@and_preloaded
def test_broken_reloads(
    begin: Callable[..., Server], crowd: Crowd, site: Site, flags: tuple[str, ...]
) -> None:
    server = begin(*flags, "--boot-timeout", "3", "--warmup", "/page")
    swarm = crowd(server)
    for text, cause in BROKEN.values():
        site.write("2", broken="\n" + text)
        mark = server.stderr.mark
        server.send_signal(signal.SIGHUP)
        server.stderr.wait(rf"reload failed, generation 1 serves on: .*{cause}", since=mark)
        assert code_of(server) == "1"
        swarm.wait_more(40)
    nothing_lost(swarm)
    server.pardon()
    site.write("2")
    server.send_signal(signal.SIGHUP)
    settled(server, 2 + len(BROKEN))
    assert code_of(server) == "2"


# Up and down for no reason at all, as fast as workers come and go.
RESTLESS = """
import itertools
from prefork.master import demand

sizes = itertools.cycle((4, 3, 2, 1, 3, 1))


def look(self, loads, generation, waiting, now, *, firm):
    self.wake = now + 0.1
    if len(loads) == generation.size:
        return demand.Verdict(next(sizes), "it is time")


demand.Demand.look = look
"""


@and_preloaded
def test_workers_that_come_and_go(
    begin: Callable[..., Server], crowd: Crowd, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    (tmp_path / "prefork.conf.py").write_text(RESTLESS)
    server = begin(*flags, "--min-workers", "1")
    swarm = crowd(server)
    for turn in range(1, 40 if FULL else 6):
        server.stderr.wait(r"1 worker instead of \d: it is time", count=turn)
        swarm.wait_more(40)
    nothing_lost(swarm)


@every_class
def test_killed_workers(begin: Callable[..., Server], crowd: Crowd, flags: tuple[str, ...]) -> None:
    server = begin(*flags)
    swarm = crowd(server)
    chance = random.Random(1)
    victims = []
    slowest = 0.0
    for _ in range(40 if FULL else 6):
        victims.append(chance.choice(server.worker_pids()))
        os.kill(victims[-1], signal.SIGKILL)
        killed = time.monotonic()
        server.stderr.wait(rf"worker {victims[-1]} was killed by SIGKILL")
        until(lambda: serving(server) == 4, "four workers serve again")
        slowest = max(slowest, time.monotonic() - killed)
        swarm.wait_more(60)
        if FULL:
            time.sleep(max(0.0, 0.5 - (time.monotonic() - killed)))
    tally = swarm.stop()
    died_with_it = {Outcome.RESET_BEFORE, Outcome.RESET_MIDDLE, Outcome.RACE}
    assert {record.outcome for record in tally.records} <= died_with_it, tally.describe()
    by = {record.worker for record in tally.records if record.reused}  # else it is an earlier connection's
    assert by <= {*map(str, victims)}, tally.describe()
    # 40 users over 4 workers: no more than those who were with the worker that died.
    assert tally.lost <= 16 * len(victims), tally.describe()
    assert slowest < (0.2 if FULL else 2.0)
    server.pardon()


@every_class
def test_killed_master(begin: Callable[..., Server], start: Start, flags: tuple[str, ...]) -> None:
    server = begin(*flags, "--graceful-timeout", "10")
    host, port = server.address
    with server.connect() as client:
        client.send(b"GET /slow?ms=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: running(server) == 1, "it runs")
        server.send_signal(signal.SIGKILL)
        server.process.wait()
        assert client.response().body == b"slow\n"
    successor = start("-b", f"{host}:{port}", *flags, app="mixed:app", workers=2, handed=False, ready=False)
    settled(successor, 1)
    until(lambda: not session(server.pid), "nobody of the old one is left", deadline=10)


def running(server: Server) -> int:
    said = next(control.ask(server.pid, "status"))
    return int(said["totals"]["running"])


@every_class
def test_recycling(begin: Callable[..., Server], crowd: Crowd, flags: tuple[str, ...]) -> None:
    server = begin(*flags, "--max-requests", "50", "--max-requests-jitter", "10")
    before = set(server.worker_pids())
    swarm = crowd(server)
    assert swarm.wait_total(20000 if FULL else 1500, timeout=300)
    nothing_lost(swarm)
    until(lambda: not before & set(server.worker_pids()), "each has been replaced")


@every_class
def test_resizing(begin: Callable[..., Server], crowd: Crowd, flags: tuple[str, ...]) -> None:
    server = begin(*flags)
    swarm = crowd(server)
    size = 4
    for number, target in ((signal.SIGTTIN, 8), (signal.SIGTTOU, 1), (signal.SIGTTIN, 4)):
        while size != target:
            before, size = size, size + (1 if number == signal.SIGTTIN else -1)
            mark = server.stderr.mark
            server.send_signal(number)
            server.stderr.wait(rf"{size} workers? instead of {before}", since=mark)
        settle_at(server, size)
        swarm.wait_more(100)
    nothing_lost(swarm)


def settle_at(server: Server, size: int) -> None:
    until(lambda: len(server.worker_pids()) == size, f"{size} workers are there")
    until(lambda: serving(server) == size, f"{size} workers serve")


@every_class
def test_term(begin: Callable[..., Server], crowd: Crowd, flags: tuple[str, ...]) -> None:
    # Bound by prefork: only then may it turn new clients away before it closes. A listener that was handed
    # over may be somebody else's still, so nothing is done to it, and the kernel resets who comes between the
    # last look and the close, when nobody else holds it.
    server = begin(*flags, "-b", "127.0.0.1:0", handed=False)
    where(server)
    swarm = crowd(server)
    assert not isinstance(server.address, str)
    ask = Ask("/slow?ms=2000", kind="running", expect=b"slow\n")
    with Swarm(server.address, [Visitor(lambda: ask, think=lambda: 3600.0)]) as slow:
        until(lambda: any("ms=2000" in text for text in targets(server)), "it runs")
        server.send_signal(signal.SIGTERM)
        assert slow.wait_total(1)
    assert slow.tally.counts[Outcome.OK] == 1, slow.tally.describe()
    assert server.wait() == 0
    tally = swarm.stop()
    assert tally.lost == tally.counts[Outcome.REFUSED], tally.describe()


def targets(server: Server) -> list[str]:
    said = next(control.ask(server.pid, "status"))
    return [each["target"] for worker in said["workers"] for each in worker["requests_now"]]

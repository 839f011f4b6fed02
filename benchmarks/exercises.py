"""What is done to a server while users are on it; drill.py counts what they lose.

An exercise is a function that acts on a Ground (a running server, its site's source, its users) and returns
what it saw beside the count: remarks. It says NotPossible where the server has no such thing.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import proctree
from benchmarks.launch import APPS, Running, get
from benchmarks.stats import percentile
from benchmarks.traffic import Ask, Outcome, Swarm, Visitor
from benchmarks.traffic.response import MalformedAnswer

SETTLED_ANSWERS = 12  # in a row from the new code, before a reload counts as done
RELOAD_SECONDS = 15.0
KILL_PAUSE = 0.5
RESTORE_SECONDS = 5.0
WATCH_SECONDS = 3.0
BROKEN_SECONDS = 16.0  # granian replaces its workers one after the other before it notices, and ends
SLOW_IMPORT_SECONDS = 3.0
POLL_SECONDS = 0.005


class NotPossible(Exception):
    """The server has no such feature. The text says what is missing."""


@dataclass(frozen=True)
class Controls:
    """What an operator can do to a server from outside; None with the reason in `lacks`."""

    reload: signal.Signals | None = None
    more: signal.Signals | None = None
    fewer: signal.Signals | None = None
    recycles: tuple[str, ...] = ()  # the arguments that end a worker after 50 requests
    lacks: str = ""

    def need(self, control: signal.Signals | None, what: str) -> signal.Signals:
        if control is None:
            raise NotPossible(f"no {what}{f': {self.lacks}' if self.lacks else ''}")
        return control


GUNICORN = Controls(signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, ("--max-requests", "50"))
UWSGI = Controls(
    signal.SIGHUP,
    recycles=("--max-requests", "50", "--min-worker-lifetime", "0"),
    lacks="workers are added by its cheaper modes",
)
NO_MASTER = Controls(lacks="there is no master")
CONTROLS: dict[str, Controls] = {
    "prefork": GUNICORN,
    "gunicorn": GUNICORN,
    "uwsgi": UWSGI,
    "granian": Controls(signal.SIGHUP, lacks="it answers no such signal and counts no requests"),
    "bjoern": NO_MASTER,
    "fastwsgi": NO_MASTER,
    "waitress": NO_MASTER,
    "cheroot": NO_MASTER,
    "gevent": NO_MASTER,
}


class Site:
    """The source of the application under drill: a copy that can be changed and broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._source = (APPS / "mixed.py").read_text()
        self.write("1")

    def write(self, code: str, *, import_seconds: float = 0.0, broken: str = "") -> None:
        """Put a version in place whole: a reload must never read half a file."""
        source = self._source.replace('CODE = "1"', f'CODE = "{code}"')
        source = source.replace("IMPORT_SECONDS = 0.0", f"IMPORT_SECONDS = {import_seconds}")
        fresh = self.folder / "mixed.py.new"
        fresh.write_text(source + broken)
        # Some caches compare whole seconds and sizes only.
        stamp = time.time() + len(list(self.folder.glob("*"))) + int(code) * 2
        os.utime(fresh, (stamp, stamp))
        fresh.rename(self.folder / "mixed.py")


@dataclass
class Ground:
    """Where a drill takes place."""

    running: Running
    site: Site
    controls: Controls
    swarm: Swarm
    times: int
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def pid(self) -> int:
        return self.running.pid

    def code(self) -> str:
        """The version that a new connection meets, or what it meets instead."""
        try:
            answer = get(self.running.job.port, "/code", timeout=10.0)
        except (OSError, MalformedAnswer) as e:
            return type(e).__name__
        return answer.body.decode() if answer.status == 200 else f"status {answer.status}"

    def workers(self) -> list[int]:
        """The processes that answer, as they name themselves: no guess about who is whose child."""
        found = set()
        for _ in range(60):
            try:
                answer = get(self.running.job.port, "/code", timeout=10.0)
            except (OSError, MalformedAnswer):
                continue
            found.add(int(answer.headers.get(b"x-worker", b"0")))
        return sorted(found - {0})

    def await_code(self, code: str) -> float | None:
        """Seconds until only the new code is met; None when it never is."""
        began = time.monotonic()
        in_a_row = 0
        while time.monotonic() - began < RELOAD_SECONDS:
            in_a_row = in_a_row + 1 if self.code() == code else 0
            if in_a_row == SETTLED_ANSWERS:
                return time.monotonic() - began
            time.sleep(POLL_SECONDS)
        return None

    def p99_ms(self, since: float, until: float = float("inf")) -> float:
        return percentile(self.swarm.tally.took("page", since=since, until=until), 0.99) * 1000


Exercise = Callable[[Ground], str]


def reload(ground: Ground) -> str:
    """New code, again and again."""
    number = ground.controls.need(ground.controls.reload, "reload")
    began = time.monotonic()
    ground.swarm.wait_more(400)
    loud = time.monotonic()
    longest = 0.0
    for turn in range(2, ground.times + 2):
        ground.site.write(str(turn))
        os.kill(ground.pid, number)
        took = ground.await_code(str(turn))
        if took is None:
            return f"reload {turn - 1} never brought the new code ({ground.code()} instead)"
        longest = max(longest, took)
    quiet_p99, loud_p99 = ground.p99_ms(began, loud), ground.p99_ms(loud)
    return (
        f"{ground.times} reloads, slowest {longest * 1000:.0f} ms; "
        f"p99 of pages {quiet_p99:.1f} ms before, {loud_p99:.1f} ms during"
    )


def broken_reload(ground: Ground) -> str:
    """Code that cannot be imported."""
    number = ground.controls.need(ground.controls.reload, "reload")
    ground.site.write("2", broken="\nimport nothing_of_that_name\n")
    os.kill(ground.pid, number)
    end = time.monotonic() + BROKEN_SECONDS
    while time.monotonic() < end and ground.running.alive:
        time.sleep(POLL_SECONDS)
    alive = "alive" if ground.running.alive else f"gone with status {ground.running.process.returncode}"
    return f"serves {ground.code()!r} where the old code is '1'; {alive}"


def slow_import(ground: Ground) -> str:
    """Code that takes three seconds to import, as large projects do."""
    number = ground.controls.need(ground.controls.reload, "reload")
    began = time.monotonic()
    ground.site.write("2", import_seconds=SLOW_IMPORT_SECONDS)
    os.kill(ground.pid, number)
    took = ground.await_code("2")
    if took is None:
        return f"never served the new code ({ground.code()} instead)"
    waits = ground.swarm.tally.took("page", since=began)
    return f"new code after {took:.1f} s; slowest page meanwhile {percentile(waits, 1.0) * 1000:.0f} ms"


def kill_workers(ground: Ground) -> str:
    """kill -9 of a random worker every half second."""
    slowest = 0.0
    killed = 0
    for _ in range(ground.times):
        workers = ground.workers()
        before = len(proctree.pids(ground.pid))
        if not workers or not ground.running.alive:
            break
        victim = ground.chance.choice(workers)
        if victim == ground.pid:
            raise NotPossible("no worker processes: killing one is killing the server")
        os.kill(victim, signal.SIGKILL)
        killed += 1
        slowest = max(slowest, _restored(ground, victim, before))
        time.sleep(KILL_PAUSE)
    alive = (
        ""
        if ground.running.alive
        else f"; the server went with it, status {ground.running.process.returncode}"
    )
    return f"{killed} kills, count restored within {slowest * 1000:.0f} ms{alive}"


def _restored(ground: Ground, victim: int, before: int) -> float:
    """Seconds from the kill until as many processes live as before, without the dead one."""
    began = time.monotonic()
    while time.monotonic() - began < RESTORE_SECONDS:
        now = proctree.pids(ground.pid)
        if victim not in now and len(now) >= before:
            return time.monotonic() - began
        time.sleep(POLL_SECONDS)
    return RESTORE_SECONDS


def scale(ground: Ground) -> str:
    """From 4 workers to 8, to 1, and back."""
    more = ground.controls.need(ground.controls.more, "way to add workers")
    fewer = ground.controls.need(ground.controls.fewer, "way to take workers away")
    seen = []
    for number, times in ((more, 4), (fewer, 7), (more, 3)):
        for _ in range(times):
            os.kill(ground.pid, number)
            time.sleep(0.05)  # signals of one number do not queue
        time.sleep(WATCH_SECONDS / 2)
        seen.append(str(len(proctree.pids(ground.pid)) - 1))
    return "processes beside the first: " + ", ".join(seen)


def recycle(ground: Ground) -> str:
    """Workers that end after 50 requests (the arguments are added at start)."""
    before = set(ground.workers())
    ground.swarm.wait_more(400 * ground.times, timeout=60.0)
    fresh = set(ground.workers()) - before
    return f"{len(fresh)} of the workers at the end are new"


def term(ground: Ground) -> str:
    """TERM while users are on it and a two-second request runs; afterwards only refusals are right."""
    slow = Swarm(ground.running.address, [_slow_user()], timeout=8.0)
    slow.start()
    time.sleep(0.3)
    began = time.monotonic()
    os.kill(ground.pid, signal.SIGTERM)
    slow.wait_total(1, timeout=8.0)
    ground.swarm.stop()  # under way: each ends somehow
    try:
        ground.running.process.wait(10.0)
        gone = f"gone after {time.monotonic() - began:.1f} s"
    except subprocess.TimeoutExpired:
        gone = "still there after 10 s"
    tally = slow.stop()
    outcome = next(iter(tally.counts), Outcome.TIMEOUT)
    return f"the running request: {outcome.value}; {gone}"


def _slow_user() -> Visitor:
    return Visitor(lambda: Ask("/slow?ms=2000", kind="running", expect=b"slow\n"), think=lambda: 3600.0)


EXERCISES: dict[str, Exercise] = {
    "reload": reload,
    "broken-reload": broken_reload,
    "slow-import": slow_import,
    "kill": kill_workers,
    "scale": scale,
    "recycle": recycle,
    "term": term,
}

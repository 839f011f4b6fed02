"""How each kind of case is measured. A probe starts the server itself and gives a Reading."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine, proctree, wrk
from benchmarks.cases import Case, Probe
from benchmarks.launch import Running, free_port, get
from benchmarks.servers import Job, Server, Tools
from benchmarks.stats import percentile
from benchmarks.traffic import Arrivals, Ask, Outcome, Swarm, Visitor
from benchmarks.traffic.response import Answer

SETTLE_SECONDS = 0.3  # after the first answer: other workers boot, start-up work ends
MEMORY_SETTLE_SECONDS = 1.0
MEMORY_REQUESTS = 10_000
WAKEUP_SECONDS = 4.0
ARRIVAL_SECONDS = 0.0005  # between two of the idle connections
CALM_REQUESTS = 200
CALM_TIMEOUT = 3.0
GIVE_UP_SECONDS = 8.0  # without an answer, among the idle ones


class WrongAnswer(Exception):
    """The server answered something else than the case asks for. The text says what."""


@dataclass
class Reading:
    """One server's turn at one case. `metrics` are what judge.py may name; `errors` count by kind."""

    metrics: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def clean(self) -> bool:
        return not self.errors


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over a run."""

    tools: Tools
    cores: machine.Cores
    scratch: Path
    seconds: int = 3
    warm_seconds: float = 1.0

    def running(self, server: Server, case: Case, *, access_log: Path | None = None) -> Running:
        job = Job(
            target=case.target,
            port=free_port(),
            workers=case.workers,
            threads=case.threads,
            connections=case.connections,
            preload=case.preload,
            access_log=access_log,
            answer=case.answer,
            request_body=case.request_body,
        )
        # The limit program knows one kind of request: a case with a body has no other path to greet it on.
        first = "/" if server.name != "limit" and case.target == "plain:app" else case.path
        return Running(server.command, job, self.tools, cores=self.cores, scratch=self.scratch, first=first)


def measure(bench: Bench, server: Server, case: Case) -> Reading:
    """Give this server its turn. Raises CannotRun, StartFailed, WrongAnswer, WrkFailed."""
    return PROBES[case.probe](bench, server, case)


def _throughput(bench: Bench, server: Server, case: Case) -> Reading:
    log = bench.scratch / f"access-{server.name}.log" if case.access_log else None
    if log:
        log.write_bytes(b"")
    with bench.running(server, case, access_log=log) as running:
        witness = _witness(running, case)
        time.sleep(SETTLE_SECONDS)
        warm = _wrk(bench, running, case, bench.warm_seconds) if bench.warm_seconds else None
        busy = machine.busy_seconds(bench.cores.server)
        with proctree.Ledger(running.pid) as ledger:
            load = _wrk(bench, running, case, bench.seconds)
        busy = machine.busy_seconds(bench.cores.server) - busy
        reading = Reading(errors=dict(load.errors))
        if witness.closes_unsaid and reading.errors.get("read", 0) <= load.requests + case.connections:
            # Legal, and a read error to wrk, once a request.
            reading.errors.pop("read", None)
            reading.note = "closes without saying so, or to end an answer: errors cannot be told from ends"
        if not running.alive:
            reading.errors["died"] = 1
        size = witness.size
        if load.requests and load.received < load.requests * size:
            reading.errors["short"] = load.requests - load.received // size
        if load.requests:
            reading.metrics = {
                "cpu_us": ledger.cpu_ns / 1000 / load.requests,
                "rps": load.requests / load.seconds,
                "p50_ms": load.p50_us / 1000,
                "p99_ms": load.p99_us / 1000,
                "pss_mb": proctree.memory_kib(running.pid) / 1024,
                # What else ran on the server's core, as a share of the time: a disturbed round is seen.
                "foreign": max(0.0, busy - ledger.cpu_ns / 1e9) / load.seconds,
            }
        else:
            reading.errors["no answers"] = 1
    if log:
        # Whole only now that the server has ended. Below 1: some requests were not logged.
        asked = load.requests + (warm.requests if warm else 0)
        reading.metrics["lines_per_request"] = log.read_bytes().count(b"\n") / max(1, asked)
    return reading


def _wrk(bench: Bench, running: Running, case: Case, seconds: float) -> wrk.Load:
    return wrk.run(case, running.job.port, seconds, core=bench.cores.load, scratch=bench.scratch)


@dataclass(frozen=True)
class Witness:
    """A right answer, seen before the load."""

    size: int  # bytes of its body
    closes_unsaid: bool  # its end is the connection's, or the connection ends and the head does not say so


def _witness(running: Running, case: Case) -> Witness:
    """Ask what wrk will ask, and look at the answer as wrk does not."""
    seen: list[Witness] = []

    def check(answer: Answer) -> str | None:
        says_close = b"close" in answer.headers.get(b"connection", b"").lower()
        framed = b"content-length" in answer.headers or b"transfer-encoding" in answer.headers
        seen.append(Witness(max(1, len(answer.body)), not framed or (case.closes and not says_close)))
        return _wrong_size(answer, case)

    body = b"z" * case.request_body if case.request_body else None
    ask = Ask(case.path, case.method, case.name, case.headers, body, check=check)
    with Swarm(running.address, [Visitor(lambda: ask)]) as swarm:
        swarm.wait_total(2, timeout=10.0)
    tally = swarm.tally
    # Connections that the server closes while idle are its manners, not an error; a wrong answer is.
    if tally.counts[Outcome.WRONG] or tally.counts[Outcome.SERVER_ERROR] or not seen:
        raise WrongAnswer("; ".join(part.strip() for part in tally.describe().splitlines()[:2]))
    return min(seen, key=lambda witness: witness.size)


def _wrong_size(answer: Answer, case: Case) -> str | None:
    if case.answer and len(answer.body) != case.answer:
        return f"{len(answer.body)} bytes, not {case.answer}"
    return None


def _tail(bench: Bench, server: Server, case: Case) -> Reading:
    assert case.mix is not None
    fast, slow = Ask("/", kind="fast", expect=b"Hello, World!\n"), Ask(case.mix.slow, kind="slow")
    turns = itertools.count(1)
    every = case.mix.every

    def script() -> Ask:
        return slow if next(turns) % every == 0 else fast

    with bench.running(server, case) as running:
        time.sleep(SETTLE_SECONDS)
        with machine.pinned(bench.cores.load):
            calm = _calm(running, Arrivals(lambda: fast, case.mix.rate, case.connections))
        swarm = Swarm(running.address, [Arrivals(script, case.mix.rate, case.connections)])
        with machine.pinned(bench.cores.load), proctree.Ledger(running.pid) as ledger, swarm:
            swarm.wait_total(int(case.mix.rate * max(bench.seconds, 2)), timeout=bench.seconds * 4 + 20)
            tally = swarm.stop()
    took = tally.took("fast")
    errors = {outcome.value: n for outcome, n in tally.counts.items() if outcome is not Outcome.OK}
    if tally.unbegun:
        errors["not begun"] = tally.unbegun
    return Reading(
        {
            "p50_ms": percentile(took, 0.5) * 1000,
            "p99_ms": percentile(took, 0.99) * 1000,
            "max_ms": percentile(took, 1.0) * 1000,
            "calm_p50_ms": percentile(calm, 0.5) * 1000,
            "cpu_us": ledger.cpu_ns / 1000 / max(1, tally.total),
        },
        errors,
    )


def _calm(running: Running, arrivals: Arrivals) -> list[float]:
    """Latencies at the same pace while nobody is slow."""
    with Swarm(running.address, [arrivals], timeout=CALM_TIMEOUT) as swarm:
        swarm.wait_total(CALM_REQUESTS, timeout=CALM_TIMEOUT)
    return swarm.tally.took()


def _idle(bench: Bench, server: Server, case: Case) -> Reading:
    hello = Ask("/", kind="idle", expect=b"Hello, World!\n")
    with bench.running(server, case) as running:
        # Warm first, so that what the server allocates once is not booked on the connections.
        with Swarm(running.address, [Visitor(lambda: hello)] * 16) as warm:
            warm.wait_total(500, timeout=20.0)
        time.sleep(SETTLE_SECONDS)
        before = proctree.memory_kib(running.pid)
        # Each asks once, then thinks for an hour. Spread, because a rush at the door is another question.
        sleepers = [
            Visitor(lambda: hello, think=lambda: 3600.0, delay=number * ARRIVAL_SECONDS)
            for number in range(case.connections)
        ]
        with (
            machine.pinned(bench.cores.load),
            Swarm(running.address, sleepers, timeout=GIVE_UP_SECONDS) as swarm,
        ):
            reached = swarm.wait_total(case.connections, timeout=40.0)
            time.sleep(MEMORY_SETTLE_SECONDS)
            after = proctree.memory_kib(running.pid)
            took = _busy_among_idle(running, hello)
            tally = swarm.stop()
    held = tally.kept
    errors = {outcome.value: n for outcome, n in tally.counts.items() if outcome is not Outcome.OK}
    if not reached:
        errors["unanswered"] = case.connections - tally.total
    metrics = {"held": float(held), "p99_ms": percentile(took, 0.99) * 1000}
    if held >= case.connections // 2:
        metrics["bytes_each"] = (after - before) * 1024 / held
    note = "" if held >= case.connections // 2 else f"holds {held} of {case.connections}"
    return Reading(metrics, errors, note)


def _busy_among_idle(running: Running, hello: Ask) -> list[float]:
    with Swarm(running.address, [Visitor(lambda: hello)] * 4) as busy:
        busy.wait_total(1000, timeout=10.0)
    return busy.tally.took()


def _start(bench: Bench, server: Server, case: Case) -> Reading:
    with bench.running(server, case) as running:
        return Reading({"first_ms": running.first_answer_s * 1000})


def _memory(bench: Bench, server: Server, case: Case) -> Reading:
    hello = Ask("/", kind="load", expect=b"Hello, World!\n")
    with bench.running(server, case) as running:
        _await_workers(running, case.workers)
        time.sleep(MEMORY_SETTLE_SECONDS)
        idle = proctree.memory_kib(running.pid)
        # A connection a request: so that every worker gets its share, also where a kept one stays with one
        # worker.
        askers = [Visitor(lambda: hello, keep_alive=False)] * 16
        with machine.pinned(bench.cores.load), Swarm(running.address, askers) as swarm:
            swarm.wait_total(MEMORY_REQUESTS, timeout=60.0)
            tally = swarm.stop()
        loaded = proctree.memory_kib(running.pid)
        processes = len(proctree.pids(running.pid))
    errors = {outcome.value: n for outcome, n in tally.counts.items() if outcome is not Outcome.OK}
    return Reading(
        {"idle_mb": idle / 1024, "loaded_mb": loaded / 1024, "processes": float(processes)}, errors
    )


def _await_workers(running: Running, workers: int) -> None:
    """Until the tree has at least a process a worker and has stopped growing; at most ten seconds."""
    end = time.monotonic() + 10.0
    steady, last = 0, 0
    while time.monotonic() < end and steady < 5:
        count = len(proctree.pids(running.pid))
        steady = steady + 1 if count == last and count >= workers else 0
        last = count
        time.sleep(0.1)


def _wakeups(bench: Bench, server: Server, case: Case) -> Reading:
    with bench.running(server, case) as running:
        _await_workers(running, case.workers)
        get(running.job.port, "/")
        time.sleep(MEMORY_SETTLE_SECONDS)
        before = proctree.switches(running.pid)
        with proctree.Ledger(running.pid) as ledger:
            time.sleep(WAKEUP_SECONDS)
        count = sum(times - before.get(tid, 0) for tid, times in proctree.switches(running.pid).items())
    return Reading(
        {"per_second": count / WAKEUP_SECONDS, "cpu_us_per_second": ledger.cpu_ns / 1000 / WAKEUP_SECONDS}
    )


PROBES: dict[Probe, Callable[[Bench, Server, Case], Reading]] = {
    Probe.THROUGHPUT: _throughput,
    Probe.TAIL: _tail,
    Probe.IDLE: _idle,
    Probe.START: _start,
    Probe.MEMORY: _memory,
    Probe.WAKEUPS: _wakeups,
}

"""python -m benchmarks.drill: what users lose while a server is reloaded, scaled, shot at and stopped.

32 kept-alive and 8 one-shot users walk the mixed scenario (traffic/scenario.py) with think time, and every
request is classified. The same for prefork and for its peers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import launch, machine
from benchmarks.exercises import CONTROLS, EXERCISES, Ground, NotPossible, Site
from benchmarks.servers import BY_NAME, CannotRun, Command, Job, Server, Tools
from benchmarks.traffic import Outcome, Swarm, Tally, Visitor
from benchmarks.traffic.scenario import script, think
from benchmarks.turns import TURN_SECONDS, TurnTooLong, time_limit

WORKERS = 4
THREADS = 4
SERVERS: tuple[str, ...] = (
    "prefork",
    "prefork-threads",
    "prefork-gevent",
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-gevent",
    "uwsgi-router",
    "granian",
    "bjoern",
    "fastwsgi",
    "waitress",
    "cheroot",
    "gevent-pywsgi",
)
# After TERM nobody listens: that users are refused then is right.
EXPECTED = {"term": frozenset({Outcome.REFUSED})}
# What a killed process was working on cannot be saved: these are shown, not judged.
COSTS_REQUESTS = frozenset({"kill"})


@dataclass(frozen=True)
class Result:
    """One exercise with one server."""

    server: str
    exercise: str
    counts: dict[str, int]
    lost: int
    remark: str
    first: str = ""  # of the failures, in words


def main() -> int:
    options = parse_arguments()
    cores = machine.choose_cores(None, None)
    os.sched_setaffinity(0, {cores.load})
    launch.raise_file_limit()
    results: list[Result] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="drill-") as scratch:
        try:
            for name in options.exercise or EXERCISES:
                for server in options.server or SERVERS:
                    result = attempt(BY_NAME[server], name, options, Path(scratch), cores)
                    results.append(result)
                    print(line(result), flush=True)
                    if options.verbose and result.first:
                        print(result.first)
                    keep(results, options)
        except KeyboardInterrupt:
            print("drill: interrupted; what was counted is kept", file=sys.stderr)
    ours = [r for r in results if r.server.startswith("prefork") and r.exercise not in COSTS_REQUESTS]
    return 1 if any(result.lost for result in ours) else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drill", description=__doc__)
    parser.add_argument(
        "--server", action="append", choices=list(BY_NAME), metavar="NAME", help=", ".join(SERVERS)
    )
    parser.add_argument(
        "--exercise", action="append", choices=list(EXERCISES), metavar="NAME", help=", ".join(EXERCISES)
    )
    parser.add_argument("--times", type=int, default=5, help="reloads, kills, ... in an exercise (5)")
    parser.add_argument("--kept", type=int, default=32, help="users that keep their connection (32)")
    parser.add_argument("--oneshot", type=int, default=8, help="users with a connection for each request (8)")
    parser.add_argument("--busy", action="store_true", help="users do not think between requests")
    here = Path(sys.prefix)
    parser.add_argument(
        "--peers", type=Path, default=here, metavar="DIR", help="virtual environment of the peers"
    )
    parser.add_argument(
        "--prefork", type=Path, default=here, metavar="DIR", help="virtual environment of prefork"
    )
    parser.add_argument("--arg", action="append", default=[], help="one more argument for the server")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the first failures")
    return parser.parse_args()


def keep(results: list[Result], options: argparse.Namespace) -> None:
    """Write what there is so far: a drill that is interrupted still gives its tables."""
    if options.json:
        found = [dataclasses.asdict(result) for result in results]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(results))


def load(path: Path) -> list[Result]:
    """What --json has kept. Raises ValueError where it is something else."""
    found = json.loads(path.read_text())
    if not isinstance(found, list):
        raise ValueError(f"{path} was not kept by a drill")
    return [Result(**row) for row in found]


def attempt(
    server: Server, name: str, options: argparse.Namespace, scratch: Path, cores: machine.Cores
) -> Result:
    """One exercise with one server, which ends as a count or as a reason, whatever the server does."""
    try:
        with time_limit(TURN_SECONDS):
            return drill(server, name, options, scratch, cores)
    except (NotPossible, CannotRun, launch.StartFailed, subprocess.TimeoutExpired, TurnTooLong) as e:
        return Result(server.name, name, {}, 0, f"not run: {e}")
    except Exception as e:  # a fault of ours: the others are drilled all the same
        return Result(server.name, name, {}, 0, f"not run: {type(e).__name__}: {e}")


def users(options: argparse.Namespace) -> list[Visitor]:
    """Each walks with a seed of its own, so that a drill can be walked again."""
    count = options.kept + options.oneshot
    return [
        Visitor(script(seed), keep_alive=seed < options.kept, think=None if options.busy else think(seed))
        for seed in range(count)
    ]


def drill(
    server: Server, name: str, options: argparse.Namespace, scratch: Path, cores: machine.Cores
) -> Result:
    """Start the server, let the users in, do the exercise, count.

    Raises NotPossible, CannotRun, StartFailed.
    """
    controls = CONTROLS[server.package]
    folder = Path(tempfile.mkdtemp(dir=scratch))
    site = Site(folder)
    threads = None if server.name == "uwsgi-router" else THREADS
    job = Job("mixed:app", launch.free_port(), workers=WORKERS, threads=threads)
    tools = Tools(options.peers / "bin", options.prefork / "bin")
    if name == "recycle" and not controls.recycles:
        raise NotPossible("no --max-requests")
    extra = [*options.arg, *(controls.recycles if name == "recycle" else ())]
    command = with_arguments(server.command, extra) if extra else server.command
    running = launch.Running(
        command, fit(job, server), tools, cores=cores, scratch=folder, first="/code", cwd=folder
    )
    with running:
        swarm = Swarm(running.address, users(options), timeout=10.0)
        swarm.start()
        try:
            swarm.wait_total(100)
            time.sleep(0.5)
            remark = EXERCISES[name](Ground(running, site, controls, swarm, options.times))
        except ProcessLookupError:
            remark = f"the server was gone, status {running.process.returncode}"
        finally:
            tally = swarm.stop()
    return count(server.name, name, tally, remark)


def fit(job: Job, server: Server) -> Job:
    """One process for those that have no workers: their users are drilled all the same."""
    return dataclasses.replace(job, workers=1) if server.package in ("waitress", "cheroot") else job


def with_arguments(command: Command, extra: list[str]) -> Command:
    return lambda job, tools: [*command(job, tools), *extra]


def count(server: str, name: str, tally: Tally, remark: str) -> Result:
    expected = EXPECTED.get(name, frozenset())
    counts = {outcome.value: n for outcome, n in tally.counts.items()}
    lost = tally.lost - sum(tally.counts[outcome] for outcome in expected)
    return Result(server, name, counts, lost, remark, tally.describe() if lost else "")


def line(result: Result) -> str:
    if not result.counts:
        return f"{result.exercise:14} {result.server:17} {result.remark}"
    kinds = ", ".join(f"{n} {kind}" for kind, n in result.counts.items() if kind != Outcome.OK.value)
    verdict = f"lost {result.lost} of {sum(result.counts.values())}"
    shown = f"({kinds}) {result.remark}" if kinds else result.remark
    return f"{result.exercise:14} {result.server:17} {verdict:20} {shown}"


def markdown(results: list[Result]) -> str:
    kinds = [outcome.value for outcome in Outcome]
    lines = []
    for name in dict.fromkeys(result.exercise for result in results):
        shown = [result for result in results if result.exercise == name]
        lines += [f"### {name}: {EXERCISES[name].__doc__}".rstrip("."), ""]
        lines += ["| server | " + " | ".join(kinds) + " | |", "|---|" + "---:|" * len(kinds) + "---|"]
        for result in shown:
            label = f"**{result.server}**" if result.server.startswith("prefork") else result.server
            cells = [str(result.counts.get(kind, 0)) if result.counts else "-" for kind in kinds]
            lines.append(f"| {label} | " + " | ".join(cells) + f" | {result.remark} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""python -m benchmarks: measure prefork and its peers side by side, print, archive, draw, judge."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import archive, chart, judge, launch, machine, manners, report
from benchmarks.cases import BY_NAME as CASES
from benchmarks.cases import Case, Kind
from benchmarks.probes import Bench
from benchmarks.servers import BY_NAME as SERVERS
from benchmarks.servers import CannotRun, Job, Server, Tools
from benchmarks.turns import TURN_SECONDS, Progress, Turn, TurnTooLong, plan, play, time_limit

HERE = Path(__file__).parent
TARGETS = HERE / "targets.toml"
FILE_BYTES = 10 << 20
MOST_ROUNDS = 9  # of a run that is limited by --minutes


def main() -> int:
    options = parse_arguments(sys.argv[1:])
    try:
        targets = chosen_targets(options)
        run = archive.load(options.read) if options.read else measure(options, targets)
        if options.add:
            run = archive.merge(archive.load(options.add), run)
    except (judge.BadTarget, UsageError, OSError, ValueError) as e:
        print(f"benchmarks: {e}", file=sys.stderr)
        return 2
    return publish(run, targets, options)


class UsageError(Exception):
    """The command line asks for what does not exist, or the machine lacks what it needs."""


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    what = parser.add_argument_group("what")
    what.add_argument("--case", action="append", metavar="NAME", help="only this case (repeat for more)")
    what.add_argument("--server", action="append", metavar="NAME", help="only this server (repeat for more)")
    what.add_argument("--quick", action="store_true", help="a few cases and servers, in under 3 minutes")
    what.add_argument("--rounds", type=int, help="rounds (3; quick 2; with --minutes as many as fit)")
    what.add_argument("--seconds", type=int, help="seconds of load in a turn (3; quick and --minutes 1)")
    what.add_argument(
        "--minutes",
        type=int,
        help="begin nothing after so many: each case once, then more rounds of what varies, while they fit",
    )
    what.add_argument("--no-manners", action="store_true", help="do not look first how the servers behave")
    what.add_argument("--list", action="store_true", help="list cases and servers, and end")
    where = parser.add_argument_group("where")
    here = Path(sys.prefix)
    where.add_argument(
        "--peers", type=Path, default=here, metavar="DIR", help="virtual environment of the peers (this one)"
    )
    where.add_argument(
        "--prefork", type=Path, default=here, metavar="DIR", help="virtual environment of prefork (this one)"
    )
    where.add_argument("--server-core", type=int, help="core of the server (the first usable)")
    where.add_argument("--load-core", type=int, help="core of the load generator (the second usable)")
    out = parser.add_argument_group("results")
    out.add_argument("--json", type=Path, metavar="FILE", help="keep the run")
    out.add_argument("--svg", type=Path, metavar="FILE", help="draw CPU per request")
    out.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables for RESULTS.md")
    out.add_argument("--read", type=Path, metavar="FILE", help="measure nothing; take a kept run")
    out.add_argument("--add", type=Path, metavar="FILE", help="put this run's cases into a kept one's")
    out.add_argument(
        "--judge",
        action="append",
        metavar="EXPR",
        help="a ratio that must hold: 'hello: prefork/limit<=1.35'",
    )
    out.add_argument("--targets", action="store_true", help=f"judge all of {TARGETS.name} that was measured")
    options = parser.parse_args(argv)
    if options.list:
        print_lists()
        raise SystemExit(0)
    return options


def print_lists() -> None:
    for case in CASES.values():
        print(f"case    {case.name:18} {case.title}{' (quick)' if case.quick else ''}")
    for server in SERVERS.values():
        print(f"server  {server.name:18} {server.why}{' (quick)' if server.quick else ''}")


def chosen_targets(options: argparse.Namespace) -> list[judge.Target]:
    targets = [judge.parse(text, "--judge") for text in options.judge or ()]
    return targets + (judge.read(TARGETS) if options.targets else [])


def choose(options: argparse.Namespace, targets: list[judge.Target]) -> tuple[list[Case], list[Server]]:
    """The cases and servers of this run. `--judge` alone chooses what its expressions name."""
    named = [target for target in targets if target.source == "--judge"]
    cases, servers = options.case, options.server
    if named and not cases:
        cases = sorted({case for target in named for case in target.cases}, key=list(CASES).index)
    if named and not servers:
        servers = sorted({server for target in named for server in target.servers})
    for kind, names, known in (("case", cases, CASES), ("server", servers, SERVERS)):
        for name in names or ():
            if name not in known:
                raise UsageError(f"no {kind} {name!r}; there are: {', '.join(known)}")
    return (
        [
            case
            for case in CASES.values()
            if (case.name in cases if cases else case.quick or not options.quick)
        ],
        [s for s in SERVERS.values() if (s.name in servers if servers else s.quick or not options.quick)],
    )


def measure(options: argparse.Namespace, targets: list[judge.Target]) -> archive.Run:
    if not shutil.which("wrk"):
        raise UsageError("wrk is not installed (apt-get install wrk)")
    cases, servers = choose(options, targets)
    began = time.monotonic()
    until = began + options.minutes * 60 if options.minutes else math.inf
    rounds = options.rounds or (MOST_ROUNDS if options.minutes else 2 if options.quick else 3)
    seconds = options.seconds or (1 if options.quick or options.minutes else 3)
    cores = machine.choose_cores(options.server_core, options.load_core)
    if not cores.apart:
        print(
            "benchmarks: only one core: server and load share it, figures are not comparable", file=sys.stderr
        )
    os.sched_setaffinity(0, {cores.load})
    launch.raise_file_limit()
    run = archive.Run(
        began=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=f"python -m benchmarks {shlex.join(anonymous(sys.argv[1:]))}".strip(),
        rounds=rounds,
        seconds=seconds,
        minutes=options.minutes or 0,
        facts=machine.facts(cores),
        versions=versions(options, servers),
    )
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        tools = Tools(options.peers / "bin", options.prefork / "bin", build_limit(Path(scratch)))
        bench = Bench(tools, cores, Path(scratch), seconds, warm_seconds=min(1.0, seconds / 2))
        (bench.scratch / "10mb.bin").write_bytes(os.urandom(FILE_BYTES))
        run.commands = commands(servers, tools)
        turns = plan(cases, servers, rounds, steady_once=bool(options.minutes))
        if not turns:
            raise UsageError("none of these servers takes part in these cases (see --list)")
        rewrite = sys.stderr.isatty()
        progress = Progress(
            len(turns),
            sys.stderr.write,
            rewrite=rewrite,
            headline={case.name: case.headline for case in cases},
            until=until,
        )

        def tell(place: int, what: Turn | str) -> None:
            progress(place, what)
            run.rounds = max((turn.round for turn in run.results.turns), default=0)
            if options.json:
                archive.save(run, options.json)

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it gets the tables too
        try:
            if not options.no_manners:
                run.manners = observe(bench, servers)
            play(bench, turns, run.results, tell, until=until)
        except KeyboardInterrupt:
            print("\nbenchmarks: interrupted; what was measured follows", file=sys.stderr)
        if rewrite:
            sys.stderr.write("\n")
    return run


def anonymous(argv: Sequence[str]) -> list[str]:
    """The command line without the paths of this machine: results are published."""
    return [f".../{Path(word).name}" if word.startswith("/") else word for word in argv]


def versions(options: argparse.Namespace, servers: list[Server]) -> dict[str, str]:
    wanted = sorted({server.package for server in servers} - {"", "prefork"})
    wanted += ["gunicorn_h1c", "gevent", "django", "flask"]
    found = machine.versions(options.peers / "bin" / "python", wanted)
    return found | machine.versions(options.prefork / "bin" / "python", ["prefork"])


def build_limit(scratch: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return None
    program = scratch / "limit"
    subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-o", program, HERE / "limit.c"], check=True)
    return program


def commands(servers: list[Server], tools: Tools) -> dict[str, str]:
    """What a reader would type for the plainest case."""
    found = {}
    for server in servers:
        try:
            argv = server.command(Job("plain:app", 8000), tools)
        except CannotRun:
            continue
        found[server.name] = shlex.join(Path(word).name if word.startswith("/") else word for word in argv)
    return found


def observe(bench: Bench, servers: list[Server]) -> dict[str, dict[str, bool]]:
    case = Case("manners", "how the server behaves", target="manners:app")
    found = {}
    for server in servers:
        if server.kind is Kind.LIMIT:
            continue
        print(f"manners of {server.name}", file=sys.stderr)
        try:
            with time_limit(TURN_SECONDS), bench.running(server, case) as running:
                found[server.name] = manners.observe(running)
        except (CannotRun, launch.StartFailed):
            continue  # the first turn will say so
        except (TurnTooLong, ValueError) as e:
            print(f"manners of {server.name}: {e}", file=sys.stderr)
    return found


def publish(run: archive.Run, targets: list[judge.Target], options: argparse.Namespace) -> int:
    """Print and write what was asked for; 1 when a target falls short."""
    print(report.terminal(run))
    if options.json:
        archive.save(run, options.json)
    if options.svg:
        options.svg.write_text(chart.svg(run))
    if options.markdown:
        options.markdown.write_text(report.markdown(run))
    measured = set(run.results.cases())
    judgements = [judge.judge(target, run.results) for target in targets if target.cases <= measured]
    if targets:
        print("\n" + judge.render(judgements))
    return 1 if any(j.verdict is judge.Verdict.FALLS_SHORT for j in judgements) else 0


if __name__ == "__main__":
    sys.exit(main())

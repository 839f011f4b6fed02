"""python -m benchmarks.callgrind: instructions per request of the worker, whatever the machine's mood.

The server runs under valgrind's callgrind. Between marks (requests for which the application calls a C
function that callgrind watches for) batches of two sizes are sent, one request at a time on one connection;
the difference of the two counts over the difference in requests is the cost of one, and what the marks and
the reactor's idle moments cost falls out. A busy machine only adds (a client that is kept waiting lets the
worker go to sleep, which is a longer way), so of each size the least of a few counts is taken. It works in
forked workers, where callgrind_control does not reach. Only instructions in user space count; the kernel's
part of a request is in the measured CPU of the other cases.

The figures in instructions.json were read on the machine it names. CI prints today's beside them, so that a
change that makes the path longer is seen in the commit that does it; `--keep` writes today's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import machine
from benchmarks.cases import BY_NAME as CASES
from benchmarks.cases import Case
from benchmarks.launch import Running, StartFailed, free_port
from benchmarks.servers import BY_NAME as SERVERS
from benchmarks.servers import CannotRun, Command, Job, Tools
from benchmarks.traffic import Ask, Outcome, Swarm, Visitor

KEPT = Path(__file__).with_name("instructions.json")
SMALL, LARGE = 400, 1600
TIMES = 3  # of each, for the least
WARM = 300
NAMES = ("hello", "browser")
PATIENCE = 120.0  # for the first answer: start-up is counted too, some fifty times slower than bare
WATCHED = "sched_yield"  # the C library exports it, so it has a name in stripped builds too
DUMPS = "out.*.*"
TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


class CannotCount(Exception):
    """valgrind is missing or does not do its part. The text says what."""


def main() -> int:
    options = parse_arguments()
    try:
        today = {name: count(options, CASES[name]) for name in options.case or NAMES}
    except (CannotCount, CannotRun, StartFailed) as e:
        print(f"callgrind: {e}", file=sys.stderr)
        return 2
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    known = kept.get("servers", {}).get(options.server, {})
    print(render(options.server, today, known, kept.get("machine", "nowhere yet")))
    if options.keep:
        keep(options, today, kept)
    if options.within is None:
        return 0
    worse = [
        name for name in today if name in known and today[name] > known[name] * (1 + options.within / 100)
    ]
    return 1 if worse else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.callgrind", description=__doc__)
    parser.add_argument(
        "--case", action="append", choices=list(CASES), metavar="NAME", help="hello and browser"
    )
    parser.add_argument("--server", default="prefork", choices=list(SERVERS), metavar="NAME")
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.name}")
    parser.add_argument(
        "--within", type=float, metavar="PERCENT", help="exit 1 where today's is more above the kept one"
    )
    here = Path(sys.prefix)
    parser.add_argument(
        "--peers", type=Path, default=here, metavar="DIR", help="virtual environment of the peers"
    )
    parser.add_argument(
        "--prefork", type=Path, default=here, metavar="DIR", help="virtual environment of prefork"
    )
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="also list the N costliest functions"
    )
    return parser.parse_args()


def count(options: argparse.Namespace, case: Case) -> float:
    """Instructions in user space that one request of this case costs the worker."""
    if not shutil.which("valgrind"):
        raise CannotCount("valgrind is not installed (apt-get install valgrind)")
    tools = Tools(options.peers / "bin", options.prefork / "bin")
    cores = machine.choose_cores(None, None)
    os.environ["PYTHONHASHSEED"] = "0"  # the same dictionaries, the same collisions, every time
    with tempfile.TemporaryDirectory(prefix="callgrind-") as scratch:
        folder = Path(scratch)
        command = under_callgrind(SERVERS[options.server].command, folder)
        job = Job(case.target, free_port())
        with Running(command, job, tools, cores=cores, scratch=folder, patience=PATIENCE) as running:
            ask = Ask(case.path, case.method, case.name, case.headers)
            send(running, ask, WARM)
            batch(running, ask, 1, folder)
            small = min(total(batch(running, ask, SMALL, folder)) for _ in range(TIMES))
            large = min((batch(running, ask, LARGE, folder) for _ in range(TIMES)), key=total)
    if options.functions:
        print(f"{case.name}, by function:\n{costliest(large, options.functions, LARGE)}")
    return (total(large) - small) / (LARGE - SMALL)


def under_callgrind(command: Command, folder: Path) -> Command:
    """The same server, its Python started by valgrind, which runs programs and no scripts."""

    def wrapped(job: Job, tools: Tools) -> list[str]:
        argv = command(job, tools)
        first = Path(argv[0]).read_bytes().partition(b"\n")[0]
        interpreter = [first[2:].decode().strip()] if first.startswith(b"#!") else []
        callgrind = ["valgrind", "--tool=callgrind", "--vgdb=no", f"--dump-before={WATCHED}"]
        # Each dump by itself: else names stand in the first one only.
        callgrind.append("--compress-strings=no")
        return [*callgrind, f"--callgrind-out-file={folder}/out.%p", *interpreter, *argv]

    return wrapped


def send(running: Running, ask: Ask, requests: int) -> None:
    """One after the other on one connection: the same path through the reactor every time."""
    left = iter(range(requests - 1))
    visitor = Visitor(lambda: ask, think=lambda: 0.0 if next(left, None) is not None else 3600.0)
    with Swarm(running.address, [visitor], timeout=60.0) as swarm:
        swarm.wait_total(requests, timeout=120.0)
    if swarm.tally.counts[Outcome.OK] != requests:
        raise CannotCount(f"the server fails under valgrind: {swarm.tally.describe()}")


def batch(running: Running, ask: Ask, requests: int, folder: Path) -> str:
    """callgrind's dump of what was counted from the last mark to the one that follows these requests."""
    before = set(folder.glob(DUMPS))
    send(running, ask, requests)
    send(running, Ask("/mark", kind="mark"), 1)
    # The worker wrote its dump before it went on to answer.
    fresh = sorted(set(folder.glob(DUMPS)) - before)
    if len(fresh) != 1:
        raise CannotCount(f"{len(fresh)} dumps after a mark, not one")
    return fresh[0].read_text()


def total(dump: str) -> int:
    """The sum of a dump (callgrind's format: a `summary:` or `totals:` line)."""
    found = TOTAL.search(dump)
    if not found:
        raise CannotCount("a dump without a total")
    return int(found[1])


def costliest(dump: str, number: int, requests: int) -> str:
    """The functions in which most instructions of a dump were executed, by request.

    callgrind_annotate cannot read a second dump: it books everything on the outermost function.
    """
    spent: Counter[str] = Counter()
    function, skip = "?", False
    for line in dump.splitlines():
        if line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            skip = True  # the next line is what the called function cost
        elif line[:1] in "0123456789+-*" and line:
            if not skip:
                spent[function] += int(line.split()[1])
            skip = False
    return "\n".join(f"{cost / requests:10,.0f}  {name[:100]}" for name, cost in spent.most_common(number))


def render(server: str, today: dict[str, float], kept: dict[str, float], where: str) -> str:
    lines = [f"instructions per request of {server}; kept figures were read on {where}"]
    for name, value in today.items():
        before = kept.get(name)
        beside = f"kept {before:,.0f} ({(value / before - 1) * 100:+.1f} %)" if before else "nothing kept"
        lines.append(f"{name:10} {value:10,.0f}   {beside}")
    return "\n".join(lines)


def keep(options: argparse.Namespace, today: dict[str, float], kept: dict[str, object]) -> None:
    facts = machine.facts(machine.choose_cores(None, None))
    valgrind = machine.first_line(["valgrind", "--version"])
    where = f"{facts['cpu']}, Python {facts['python']}, {facts['compiler']}, {valgrind}"
    servers = kept.get("servers")
    known: dict[str, dict[str, float]] = servers if isinstance(servers, dict) else {}
    known[options.server] = known.get(options.server, {}) | {
        name: round(value) for name, value in today.items()
    }
    KEPT.write_text(json.dumps({"machine": where, "servers": known}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

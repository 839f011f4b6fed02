"""wrk, the load generator for throughput: its script, its run, its figures.

The script's `done` prints one JSON line with everything in microseconds, so nothing is read out of wrk's
rounded text. wrk runs no Lua during the load: without `request` and `response` functions it sends one
prepared request.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.machine import pinned

MARK = "wrk-summary "
END_SECONDS = 10  # beyond its time, before it counts as stuck

SCRIPT = """\
wrk.method = {method}
{headers}{body}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{mark}{{"requests": %d, "microseconds": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, ' ..
    '"status": %d, "timeout": %d, "p50": %d, "p99": %d, "max": %d}}\\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


class WrkFailed(Exception):
    """wrk is missing or gave no figures."""


@dataclass(frozen=True)
class Load:
    """What wrk saw. Latencies in microseconds; `errors` by kind, zero ones left out."""

    requests: int
    seconds: float
    received: int  # bytes, heads included
    p50_us: int
    p99_us: int
    max_us: int
    errors: dict[str, int]


def lua_string(text: str) -> str:
    """A Lua string literal of any text."""
    return (
        '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    )


def script(case: Case) -> str:
    """The wrk script of a case."""
    headers = "".join(
        f"wrk.headers[{lua_string(name)}] = {lua_string(value)}\n" for name, value in case.headers.items()
    )
    body = f'wrk.body = string.rep("z", {case.request_body})\n' if case.request_body else ""
    return SCRIPT.format(method=lua_string(case.method), headers=headers, body=body, mark=MARK)


def parse(output: str) -> Load:
    """Read the summary line. Raises WrkFailed with what wrk said instead."""
    for line in output.splitlines():
        if line.startswith(MARK):
            found = json.loads(line.removeprefix(MARK))
            return Load(
                requests=found["requests"],
                seconds=found["microseconds"] / 1e6,
                received=found["bytes"],
                p50_us=found["p50"],
                p99_us=found["p99"],
                max_us=found["max"],
                errors={
                    kind: found[kind]
                    for kind in ("connect", "read", "write", "status", "timeout")
                    if found[kind]
                },
            )
    raise WrkFailed(output.strip().rpartition("\n")[2] or "wrk said nothing")


def run(case: Case, port: int, seconds: float, *, core: int, scratch: Path) -> Load:
    """Load the server for so many seconds from this core."""
    path = scratch / f"{case.name}.lua"
    path.write_text(script(case))
    whole = math.ceil(seconds)
    argv = ["wrk", "-t1", f"-c{case.connections}", f"-d{whole}s", "-s", str(path)]
    argv.append(f"http://127.0.0.1:{port}{case.path}")
    try:
        with pinned(core):
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise WrkFailed("wrk is not installed (apt-get install wrk)") from None
    with process:
        try:
            said = _words(process, seconds if seconds < whole else whole + END_SECONDS)
        except BaseException:
            process.kill()
            raise
    return parse(said)


def _words(process: subprocess.Popen[str], seconds: float) -> str:
    """What wrk says when it ends. It counts in whole seconds; interrupted, it sums up what it has."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=END_SECONDS)[0]
    except subprocess.TimeoutExpired:
        raise WrkFailed(f"wrk did not end within {END_SECONDS} s of its time") from None

"""The machine that is measured on: cores, pinning, versions, and what else was busy."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

VERSION_SCRIPT = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Cores:
    """The server's and the load generator's; equal on a machine with one core."""

    server: int
    load: int

    @property
    def apart(self) -> bool:
        return self.server != self.load


def choose_cores(server: int | None, load: int | None) -> Cores:
    """The given cores, else the first two that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(
        usable[0] if server is None else server,
        usable[-1 if len(usable) < 2 else 1] if load is None else load,
    )


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Pin this thread, so that what it starts meanwhile is born pinned (affinity is inherited, sched(7))."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_seconds(core: int) -> float:
    """Time that a core was not idle since boot, stolen time included, in steps of a tick (proc(5))."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(n) for n in line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) / TICKS
    raise ValueError(f"no core {core} in /proc/stat")


def versions(python: Path, packages: list[str]) -> dict[str, str]:
    """What is installed for this interpreter; {} when it does not run."""
    try:
        done = subprocess.run(
            [python, "-c", VERSION_SCRIPT, *packages], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, str] = json.loads(done.stdout)
    return found


def facts(cores: Cores) -> dict[str, str]:
    """What a reader must know to compare these figures with others."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": f"{os.cpu_count()}; server on core {cores.server}, load on core {cores.load}",
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "compiler": first_line(["cc", "--version"]),
        "wrk": first_line(["wrk", "-v"]).partition(" Copyright")[0],
    }


def first_line(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "not found"
    return (done.stdout or done.stderr).partition("\n")[0].strip()

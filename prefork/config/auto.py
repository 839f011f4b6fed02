"""`--workers auto`: how many workers this machine, or this container, can feed, and how we know.

Owns the reading of CPU affinity, cgroup (v1 and v2) CPU quota and memory limit, and MemTotal. Reads only
below `root`, so that tests bring their own /proc and /sys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# What one worker is given at least where memory is limited: an assumption, room for a middle-sized project.
WORKER_MEMORY = 128 << 20

_MIB = 1 << 20
_NO_LIMIT = 1 << 60  # cgroup v1 writes a huge number where there is none


def workers(worker_class: str, *, root: str = "/", affinity: int | None = None) -> tuple[int, str]:
    """Return the number (1 or more) and one line that says how it came about.

    affinity: CPUs this process may run on; by default the kernel is asked (sched_getaffinity(2)).
    """
    cpus, cpus_from = _cpus(Path(root), affinity)
    # A sync worker waits for databases while others compute: gunicorn's advice. The other classes wait and
    # serve on in one process, so one for each CPU keeps all of them busy.
    if worker_class == "sync":
        count, rule = 2 * cpus + 1, f"2 x {cpus} CPU{'s' * (cpus > 1)} + 1"
    else:
        count, rule = cpus, f"one for each of {cpus} CPUs" if cpus > 1 else "1 CPU"
    reason = f"{rule} ({cpus_from})"
    memory, memory_from = _memory(Path(root))
    if memory is not None and memory // WORKER_MEMORY < count:
        count = max(1, memory // WORKER_MEMORY)
        reason += f", but {memory // _MIB} MiB of memory ({memory_from}) at {WORKER_MEMORY // _MIB} MiB each"
    return count, f"workers auto = {count}: {reason}"


def _cpus(root: Path, affinity: int | None) -> tuple[int, str]:
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for version, folder in _groups(root, "cpu") if (quota := _quota(version, folder))]
    quota = min(quotas, default=None)
    if quota is None or quota >= affinity:
        return affinity, f"affinity {affinity}, no smaller cgroup quota"
    # Up, not down: 1.5 CPUs are better used by two processes than by one.
    return max(1, -int(-quota // 1)), f"affinity {affinity}, cgroup quota {quota:g}"


def _quota(version: int, folder: Path) -> float | None:
    if version == 2:
        words = _read(folder / "cpu.max").split()
    else:
        words = [*_read(folder / "cpu.cfs_quota_us").split(), *_read(folder / "cpu.cfs_period_us").split()]
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()) or int(words[1]) == 0:
        return None  # "max", "-1", or no such file
    return int(words[0]) / int(words[1])


def _memory(root: Path) -> tuple[int | None, str]:
    limits = [
        (int(line.split()[1]) * 1024, "the machine's")
        for line in _read(root / "proc/meminfo").splitlines()
        if line.startswith("MemTotal:")
    ]
    for version, folder in _groups(root, "memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        word = _read(folder / name).strip()
        if word.isdigit() and int(word) < _NO_LIMIT:
            limits.append((int(word), f"cgroup {name}"))
    return min(limits, default=(None, ""))


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Yield (cgroup version, folder) of every group this process is in, from its own up to the mount's top:
    the limits of all of them hold, cgroups(7)."""
    paths = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            paths[2] = path
        elif controller in controllers.split(","):
            paths[1] = path
    for line in _read(root / "proc/self/mountinfo").splitlines():
        front, _, back = line.partition(" - ")
        fields, kind = front.split(), back.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version = {"cgroup": 1, "cgroup2": 2}.get(kind[0], 0)
        if version not in paths or (version == 1 and controller not in kind[2].split(",")):
            continue
        top, mount = fields[3].rstrip("/"), root / fields[4].lstrip("/")
        path = paths[version]
        # A container may see its own group as the mount's top while /proc names the path on the host.
        inside = path[len(top) :].strip("/") if path == top or path.startswith(f"{top}/") else ""
        steps = inside.split("/") if inside and ".." not in inside else []
        for depth in range(len(steps), -1, -1):
            yield version, mount.joinpath(*steps[:depth])


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""

"""Who listens on a port already: read from proc(5), only when binding has failed."""

from __future__ import annotations

from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN in the kernel's tcp_states.h


def describe(port: int) -> str:
    """Return " by nginx (pid 12)", or "" where that cannot be seen (other users' processes, not Linux)."""
    inodes = _inodes(port)
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    pids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    for pid in pids:  # the lowest is the parent of the others as a rule
        try:
            if any(str(link.readlink()) in wanted for link in Path(f"/proc/{pid}/fd").iterdir()):
                return f" by {Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
        except OSError:
            continue
    return ""


def _inodes(port: int) -> set[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found

"""How many processes of this cgroup the kernel's OOM killer has ended: cgroups(7), version 1 and 2."""

# ruff: noqa: PTH118, PTH123  (pathlib would cost every start 4 ms)
from __future__ import annotations

import os

RECENT = 1.0  # seconds in which a kill that was counted explains a death


class OomKills:
    """root: where proc(5) and sysfs(5) are mounted; for tests."""

    __slots__ = ("_counted_at", "_last", "_path", "_unclaimed")

    def __init__(self, root: str = "/") -> None:
        self._path = _find(root)
        self._last = self._read()
        self._unclaimed = 0
        self._counted_at = 0.0

    def claim(self, now: float) -> int:
        """A child was killed. Return the count of kills, if one of those just counted may have been this one;
        else 0. Each explains one death, and soon none: the next may be anybody's."""
        count = self._read()
        if now - self._counted_at > RECENT:
            self._unclaimed = 0
        if count > self._last:
            self._unclaimed += count - self._last
            self._last, self._counted_at = count, now
        if not self._unclaimed:
            return 0
        self._unclaimed -= 1
        return count

    def _read(self) -> int:
        try:
            with open(self._path, encoding="ascii") as file:
                for line in file:
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        return int(value)
        except (OSError, ValueError):
            pass  # no cgroups, or no right to look
        return 0


def _find(root: str) -> str:
    """The file that counts; "" where there is none."""
    try:
        with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return ""
    mounted = os.path.join(root, "sys/fs/cgroup")
    # In a hybrid system both are there, and the controller belongs to v1.
    for _, controllers, path in rows:
        if "memory" in controllers.split(","):
            return _first(os.path.join(mounted, "memory"), path, "memory.oom_control")
    for _, controllers, path in rows:
        if not controllers:
            return _first(mounted, path, "memory.events")
    return ""


def _first(mounted: str, path: str, name: str) -> str:
    """In a container the path is often the host's, while its own cgroup is mounted at the top."""
    for folder in (path.strip("/"), ""):
        found = os.path.join(mounted, folder, name)
        if os.path.exists(found):  # noqa: PTH110
            return found
    return ""
